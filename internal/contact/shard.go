package contact

import "encoding/binary"

// Shards is the number of shards that contacts are spread over. It is fixed by
// the first migration: shard numbers are stored.
const Shards = 32

// Shard is the shard of k: 64-bit FNV-1a over the tenant's bytes, a NUL and the
// id as eight bytes, big end first. It is pinned, and computed here rather than
// in SQL because PostgreSQL does not promise to keep its own hash functions.
func (k Key) Shard() int16 {
	hash := uint64(14695981039346656037)
	add := func(b byte) { hash = (hash ^ uint64(b)) * 1099511628211 }
	for i := range len(k.Tenant) {
		add(k.Tenant[i])
	}
	add(0)
	for _, b := range binary.BigEndian.AppendUint64(nil, uint64(k.ID)) {
		add(b)
	}
	return int16((hash ^ hash>>32) % Shards)
}
