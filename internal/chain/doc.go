// Package chain makes the audit log tell when somebody has tampered with it:
// each row carries a link, a hash of the row and of the link before it in its
// shard, and the head of each shard's chain is stored next to the log.
//
// A link covers every column of its row, but the values that a person may ask
// to have erased only through a [Commitment]: a hash of them and of a random
// salt. Erasing removes values and salt and keeps the commitment, and the chain
// still holds. Values are hashed in an encoding of our own, never in the text
// of JSON, so that what jsonb does to members and numbers changes nothing.
//
// A link is an HMAC with a [Key] where one is configured, which is to be kept out
// of the database: without it nobody can make links that hold. Links name their
// key by a short id. Heads are signed too, with every configured key. A writer
// links with its key only after a head that one of its keys signed
// ([Linker.Signed]), so it never continues what somebody else has written without
// the key; after any other head its links have no key. Because every key signs,
// two writers agree on heads as long as they have one key in common: so keys can
// be changed while both run.
//
// What was written without a key proves nothing by itself. An [Adoption] accepts the
// chain of a shard as it is; it is made with a key, and takes a link's place
// in the chain, so neither it nor what it covers can be changed or removed
// without the key.
//
// What no chain can show is that its end was cut off and an older head with its
// signatures put back, or that all of it was rewritten by somebody who has the
// key: for that heads have to be kept elsewhere.
//
// The package is pure. It reads no table, makes no random bytes, and does not know
// which columns a row has: package audit and, independently of it, verify write
// them to an [Encoder]. audit writes the chain, verify checks it.
package chain
