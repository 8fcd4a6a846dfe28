// Package audit reads the append-only log of what every contact event said and
// what became of it.
//
// The log is written by the sync worker, in the transaction that applies the
// events, and by nobody else. Its rows hold facts, not differences, so they are
// true whatever arrives later: [Facts] gives a contact's facts back to the fold,
// and [History] tells a person what happened. Nothing here changes a row.
package audit
