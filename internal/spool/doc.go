// Package spool keeps deliveries in files while the inbox can't take them.
//
// An append returns once its bytes are on disk (fsync) in a file that the next
// start finds, and appends that wait at the same moment share one fsync; what it
// returned for survives a kill, a power cut and any number of restarts. A file is
// a segment of records, each with its length and checksum. Draining hands the
// records out, oldest segment first, and removes a segment once all of it has
// been taken; a drain that is interrupted hands some of them out again, so
// the consumer must be idempotent.
//
// A segment gets its name once its first batch is durable. So an empty one has lost
// its deliveries, as a power cut leaves it on a disk that reports an fsync it did not
// make. Records that a segment loses while a process has it are missed by their
// number. A segment that is cut exactly at the end of a later record while no process
// runs can't be told from a whole one: only a count kept elsewhere could show that,
// and it would be on the same disk, need another fsync for each batch, and be lost
// with the records that it counts.
//
// What can't be drained never blocks the rest. A record that can't be taken now is
// postponed: it stays in the spool, behind the others. A segment that can't be read or is
// empty, and what is left of one after its readable records, is moved aside as
// NAME.damaged; records that the inbox refuses for what is in them as NAME.refused. A segment that
// can't be moved either is left out, and is moved as soon as it can be. Bytes that
// are of no record are kept wherever they are: a write that was cut off by a kill
// can't be told from an accepted record whose header is damaged. These files are
// counted in [State] until an operator has them delivered again or discards them.
//
// The spool is bounded, as a whole, for each tenant, and for the records without a
// tenant together. It never drops a record to make room for another, and it does not
// know what is in them.
package spool
