// Package erasure removes what is personal of one contact, as a person or a law
// may demand, and keeps what the mirror's promises need.
//
// Gone are the values of all columns: from the contact's row, from the audit
// log together with the salts, from raw bodies, quarantine and the hashes of
// duplicates. Left are ids, times, names of columns, what became of the
// soft-delete flag, and who caused the events. A column whose value was erased
// counts as changed to what is not known: it is pending, so the row is the fold
// of the log as before. Each audit row keeps the commitment to what it held, so
// the chain holds. Every event stays accounted for.
//
// A row in erasures stands for it from then on: whatever comes later of the
// contact, from a spool, a retry or SuperOffice itself, loses its values in the
// transaction that applies it, until the erasure is lifted. What waits in the
// queue keeps its body that long. What is never queued, ignored events and
// deliveries that can't be read, loses them in the transaction that stores it. A
// hard delete later on works as ever.
//
// An event that was accepted is never lost to an erasure: one in open quarantine
// keeps a redacted body, the envelope without values, and can be retried. So does
// a delivery in quarantine that never became an event, where it can be read as one
// and was verified under the contact's tenant; what can't be read keeps its row
// and reason only.
//
// It all happens in one transaction that holds the lock of the contact's shard,
// so no event is applied, and no entry retried, in between. It needs the schema's owner, or a role that
// the owner grants the function to: the service can't blank anything but what
// such a row has been left for. Copies out of the database's reach are out of
// this package's: backups, replicas that lag, the write-ahead log, and row
// versions that vacuum has not removed yet.
package erasure
