// Package contact holds what the mirror knows of SuperOffice contacts and the
// one rule by which it changes: the fold.
//
// A [Fact] is what one event says of one contact. Facts of a contact are
// totally ordered by [Order], which is made of what the source said and never
// of when something arrived. [State.Apply] takes the next fact in that order;
// [Merge] takes facts that arrive late as well, and ends in the state that
// folding all facts in order would have given. So the mirrored row is a
// function of the set of facts: not of their arrival order, their repetition
// or their grouping into batches.
//
// Nothing is guessed: a column whose value is not known is pending, and keeps
// the last value known until one at least as new arrives. A hard delete is
// terminal. A fact whose values were erased says that its columns changed, and
// not to what.
//
// The package is pure. It does no I/O and reads no clock; event turns deliveries
// into facts, mirror writes states into tables. Of PostgreSQL it knows the types of
// the columns: the one place that turns a [Value] into pgx's data types, and back,
// is here.
package contact
