// Package rebuild makes the mirror, or a part of it, anew from the audit log,
// which holds every fact that it was ever made of.
//
// The work is done before anything is locked: the log is folded at one instant,
// and what differs from the mirror goes into a shadow. Then the shards are
// locked, the contacts of which something was logged or erased meanwhile are folded
// again, and the rows that differ are written, and only these, in one
// transaction. Readers see the mirror as it was and then as it should be, never
// anything between; views, grants and subscriptions stay as they are, and so
// does the time at which each row was first seen.
//
// It may be repeated, and then writes nothing. It logs nothing, for it adds no
// fact. A contact whose facts can't be read is left alone, and told of.
package rebuild
