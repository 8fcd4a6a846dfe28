// Package chain makes the audit log tell when somebody has tampered with it:
// each row carries a link, a hash of the row and of the link before it in its
// shard, and the last link of each shard stands beside the log.
//
// A link covers every column of its row, but the values that a person may ask
// to have erased only through a [Commitment]: a hash of them and of a random
// salt. Erasing removes values and salt and keeps the commitment, and the chain
// still holds. Values are hashed in an encoding of our own, never in the text
// of JSON, so that what jsonb does to members and numbers changes nothing.
//
// A link is made with a [Key] where one is configured, which is to be kept out
// of the database: without it nobody can make links that hold. Links name their
// key by a short id. A key that takes over from none, or from another, first
// seals the end of each chain ([Linker.Seal]). So what was written before the
// key came is held as it stood then, and a chain that ends in a link or a seal
// of the key can't have been rewritten without it.
//
// What no chain can show is that its end was cut off, or that all of it was made
// anew by somebody who has the key: for that its heads have to be kept elsewhere.
//
// The package is pure. It reads no table, makes no random bytes, and does not know
// which columns a row has: package audit and, independently of it, verify write
// them to an [Encoder]. mirror writes the chain, verify checks it.
package chain
