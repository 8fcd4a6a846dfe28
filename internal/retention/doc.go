// Package retention drops the bodies that deliveries came in, once they are old
// enough, and makes room for those to come.
//
// The bodies of contact events and of ignored ones have a retention each, see [Keep].
// They are in partitions of a day of receipt, in UTC. A partition is dropped as a
// whole, for the price of deleting a file, once its day is older than the cut-off, so
// a body lives a day longer than asked for at most. Rows are deleted one by one in the
// default partitions, which hold bodies that no partition was made for, and in a
// partition that holds a body that must stay. Resolved quarantine entries lose their
// bytes with the bodies of contact events.
//
// What the mirror still needs is never dropped: the body of an event that is
// queued or in open quarantine, and an entry that is open. Events, duplicates,
// audit rows and the rows in quarantine stay, so nothing is deduped, explained
// or accounted for differently. The work is done by functions of the schema's
// owner, which check all this themselves: the service has no right to delete a
// body. No lock is waited for longer than half a second, because the receiver would
// queue after it; what could not be locked is tried again later.
package retention
