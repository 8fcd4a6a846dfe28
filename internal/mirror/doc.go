// Package mirror is the sync worker: it folds queued events into contacts and
// writes the audit log.
//
// One transaction locks a few shards, claims a batch of their events, loads the
// contacts they are about, folds, and writes contacts, tombstones and audit
// rows; the queue rows go in the same commit. So an event is applied exactly
// once whatever dies when, and any number of workers, in one process or many,
// may run: whoever holds a contact's shard is alone on it. The fold makes the
// order of claims irrelevant.
//
// A claim takes an equal share of each tenant that waits. Of a tenant that has more
// queued than its share a backlog drains, by several loops; what the others send
// meanwhile is taken by one more loop as soon as it comes.
//
// An event is set aside only for what is in that event alone: PostgreSQL refuses
// its data, its body can't be read again, or what it leads to can't be written
// out. Its contact and all others go on. Any other error stops the batch, is
// retried smaller with growing pauses and shows in [Worker.Health]: the queue is
// never poured into quarantine. The receiver is unknown here; a wake-up only saves the
// wait for the next poll.
package mirror
