// Package refold folds the audit log anew, contact by contact, and lays what
// comes out beside what the mirror holds.
//
// [Each] reads facts in a stream, grouped by contact, so a log of any length
// needs the memory of a few hundred contacts. It looks at one instant of the
// database, through the transactions of a [Snapshot], and so agrees with itself
// while events are being applied. verify reports the differences; rebuild writes
// them away. Nothing here writes, and nothing is shared with the worker's own
// reading and writing of rows: what checks a thing should not be made of it.
package refold
