// Package audit reads the append-only log of what every contact event said and
// what became of it.
//
// The log is written by the sync worker, in the transaction that applies the
// events, and by nobody else. Its rows hold facts, not differences, so they are
// true whatever arrives later: [Facts] gives a contact's facts back to the fold,
// and [History] tells a person what happened. Nothing here changes a stored row.
//
// [Row] describes a row once, for everything that writes or reads one but verify. To
// add a column: add a field and a line to the list of columns, run go generate ./sql,
// and add the column to the migration and to verify.
package audit
