// Package retention drops the bodies that deliveries came in, once they are old
// enough, and makes room for those to come.
//
// Bodies lie in partitions of a million events. A partition goes as a whole, for
// the price of deleting a file, once every event in it came before the cut-off;
// while it also holds events more than a day younger, the expired ones are
// deleted row by row, and so are those in the default partition. A body thus
// lives a day longer than asked for at most; one that waited in a spool goes
// with those it was stored with. Resolved quarantine entries of the same age lose
// their bytes too.
//
// What the mirror still needs is never dropped: the body of an event that is
// queued or in open quarantine, and an entry that is open. Events, duplicates,
// audit rows and the rows in quarantine stay, so nothing is deduped, explained
// or accounted for differently. The work is done by functions of the schema's
// owner, which check all this themselves: the service has no right to delete a
// body. No lock is waited for longer than half a second, because the receiver
// would queue behind it; what could not be had is tried again later.
package retention
