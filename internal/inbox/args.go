package inbox

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/erasure"
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

// quarantineArgs lays deliveries out in columns, the same bytes once.
func quarantineArgs(batch []*request) (pgx.StrictNamedArgs, error) {
	var (
		place    = map[[sha256.Size]byte]int{}
		received []time.Time
		reasons  []string
		tenants  []*string
		headers  []string // not bytes, which some query modes would send as bytea
		bodies   [][]byte
		hashes   [][]byte
		count    []int32
		subjects []string
		redacted [][]byte
	)
	for _, r := range batch {
		hash := sha256.Sum256(r.Body)
		if i, twice := place[hash]; twice {
			count[i]++
			continue
		}
		place[hash] = len(bodies)
		tenant, kept := r.kept()
		header, err := json.Marshal(kept)
		if err != nil {
			return nil, fmt.Errorf("headers: %w", err)
		}
		if tenant != nil && strings.IndexByte(*tenant, 0) >= 0 {
			tenant = nil // a text can't hold a NUL; the bytes are kept
		}
		received, reasons, tenants = append(received, r.ReceivedAt), append(reasons, r.Reason), append(tenants, tenant)
		headers, bodies = append(headers, string(header)), append(bodies, r.Body)
		hashes, count = append(hashes, hash[:]), append(count, 1)
		ids, without := erasure.Subjects(tenant, r.Body)
		subjects, redacted = append(subjects, arrayOf(ids)), append(redacted, without)
	}
	return pgx.StrictNamedArgs{
		"received_at": received, "reasons": reasons, "context_identifiers": tenants, "headers": headers,
		"bodies": bodies, "body_sha256": hashes, "deliveries": count, "subjects": subjects, "redacted": redacted,
	}, nil
}

// arrayOf writes ids as PostgreSQL does, for an array of arrays can't be ragged.
func arrayOf(ids []int64) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatInt(id, 10)
	}
	return "{" + strings.Join(texts, ",") + "}"
}
