package inbox

import (
	"crypto/sha256"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// putArgs lays a batch out in columns, as unnest takes it.
func putArgs(batch []*request) pgx.StrictNamedArgs {
	n := len(batch)
	var (
		tenants   = make([]string, n)
		ids       = make([]pgtype.UUID, n)
		names     = make([]string, n)
		entities  = make([]*string, n)
		keys      = make([]*int64, n)
		occurred  = make([]*time.Time, n)
		ticks     = make([]*int64, n)
		received  = make([]time.Time, n)
		keyless   = make([][]byte, n)
		bodies    = make([][]byte, n)
		shards    = make([]*int16, n)
		shardRoom = make([]int16, n)
	)
	for i, r := range batch {
		e := r.Event
		tenants[i], names[i], entities[i], keys[i] = e.Tenant, e.Name, e.Entity, e.PrimaryKey
		ids[i] = uuidOf(r)
		received[i], keyless[i], bodies[i] = r.ReceivedAt, r.key.keyless, r.Body
		if e.Occurred != nil {
			at, tick := e.Occurred.Time(), int64(*e.Occurred)
			occurred[i], ticks[i] = &at, &tick
		}
		if !e.Ignored() {
			shardRoom[i] = e.Contact.Key.Shard()
			shards[i] = &shardRoom[i]
		}
	}
	return pgx.StrictNamedArgs{
		"context_identifiers": tenants, "event_ids": ids, "events": names, "entities": entities, "primary_keys": keys,
		"occurred_at": occurred, "occurred_ticks": ticks, "received_at": received, "keyless_sha256": keyless,
		"bodies": bodies, "shards": shards,
	}
}

func duplicateArgs(batch []*request) pgx.StrictNamedArgs {
	n := len(batch)
	var (
		tenants  = make([]string, n)
		ids      = make([]pgtype.UUID, n)
		names    = make([]string, n)
		keys     = make([]*int64, n)
		keyless  = make([][]byte, n)
		received = make([]time.Time, n)
		retries  = make([]*int32, n)
		hashes   = make([][]byte, n)
	)
	for i, r := range batch {
		hash := sha256.Sum256(r.Body)
		tenants[i], names[i], keys[i] = r.Event.Tenant, r.Event.Name, r.Event.PrimaryKey
		ids[i] = uuidOf(r)
		keyless[i], received[i], retries[i], hashes[i] = r.key.keyless, r.ReceivedAt, r.Retry, hash[:]
	}
	return pgx.StrictNamedArgs{
		"context_identifiers": tenants, "event_ids": ids, "events": names, "primary_keys": keys, "keyless_sha256": keyless,
		"received_at": received, "retries": retries, "body_sha256": hashes,
	}
}

func uuidOf(r *request) pgtype.UUID {
	if r.Event.ID == nil {
		return pgtype.UUID{}
	}
	return pgtype.UUID{Bytes: *r.Event.ID, Valid: true}
}
