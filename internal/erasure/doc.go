// Package erasure answers what happens to an erased contact's event.
//
// A person or a law may demand that what is personal of a contact is removed. Gone are
// the values of all columns: from the contact's row, from the audit log together with
// the salts, from raw bodies, quarantine and the hashes of duplicates. Left are ids,
// times, names of columns, what became of the soft-delete flag, and who caused the
// events. A column whose value was erased counts as changed to what is not known: it
// is pending, so the row is the fold of the log as before. Each audit row keeps the
// commitment to what it held, so the chain holds. Names in Changes that are of no column
// may be any text, and count as values. Every event stays accounted for, and
// an event that was accepted is never lost to an erasure.
//
// The erasure is a row of the log, and so is its lifting; the table erasures is their
// index. From [Erase] to [Lift] everything that comes for the contact loses its values
// too. So an event has no values here if and only if an erasure of its contact is in
// force, or one was lifted after the event had come: whatever had become of the event
// by then, and in whatever order events were applied.
//
// Where the event is, what happens to it when the erasure comes, and what happens to
// one that comes there while the erasure is in force:
//
//	where             erased there                       comes there erased
//	applied           values and salt go, the names of   its row has the names only, and the
//	                  the columns stay; the body goes    body goes: Extent, Applied
//	queued            keeps its body, which the worker   the same
//	                  needs; then as applied
//	open quarantine   the body is redacted, and can      redacted likewise: Quarantined
//	                  still be applied
//	malformed, open   redacted if it reads as an event,  the same: Subjects and
//	                  else row and reason stay           sql/inbox_quarantine.sql
//	... again         counted in that entry              the same
//	retried           bytes go                           the same: Retried
//	discarded         bytes go                           redacted while it was open
//	ignored           the body goes, and its hash where  not stored: sql/inbox_put.sql
//	                  that is the event's key, if the
//	                  event is about a contact
//	duplicate         the hash goes                      not stored: sql/inbox_duplicate.sql
//	in a spool        nothing, until it is stored        the same
//	statistics        made again, after the commit       none of what has no values
//
// No hash of a body is kept, because values could be guessed by it. The same malformed
// body again, or the same ignored event without an EventId, is known by what the kept row
// says: contactmirror_entry_key, contactmirror_envelope_key. So two that differ in values
// only count as one. Bodies of ignored events about others, such as persons, are not
// searched: nothing tells which contact their values are of. Retention drops them.
//
// A malformed delivery is the contact's if it names its id and was verified under its
// tenant; of others nobody can tell, and [Account] lists them. A redacted body is the
// envelope without values, in the form that [event.Redact] makes and [event.ParseStored]
// reads as the same fact without its values. Which events came before
// the lifting is decided by the time of their receipt, by the clock of their receiver:
// so it does not matter where they wait meanwhile. A hard delete later on works as ever.
//
// The functions in migrations/00008_erasure.sql do what the service may not do itself,
// and check that its contact is erased. sql/mirror_tombstones.sql tells the worker
// which contacts are.
//
// An erasure is one transaction that holds the lock of the contact's shard, so no event
// is applied, and no entry retried, in between; another lock makes it and the storing of
// what is not queued wait for each other. It needs the schema's owner, or a role that
// the owner grants the function to: the service can't blank anything but what such a row
// has been left for. Copies out of the database's reach are out of this package's:
// backups, replicas that lag, the write-ahead log, and row versions that vacuum has not
// removed yet.
package erasure
