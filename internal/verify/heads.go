package verify

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var headsStmt = pg.NewQuery[pg.NoArgs, storedHead](sql.VerifyHeads)

type storedHead struct {
	Shard      int16
	AuditCount int64
	AuditHead  []byte
	// AuditSignatures are those of keys on the head.
	AuditSignatures []byte
}

// Heads is the ends of all chains at one instant, to be kept where nobody who
// can write to the database can write.
type Heads struct {
	At time.Time `json:"at"`
	// Keys are the ids of the keys that were given.
	Keys   []string    `json:"audit_key_ids"`
	Shards []ShardHead `json:"shards"`
}

// ShardHead is the end of one shard's chain.
type ShardHead struct {
	Shard int16 `json:"shard"`
	// Rows is the number of links, and Head the last, in hexadecimal; empty
	// without one.
	Rows int64  `json:"rows"`
	Head string `json:"head"`
}

// ParseHeads reads exported heads.
func ParseHeads(content []byte) (*Heads, error) {
	var h Heads
	if err := json.Unmarshal(content, &h); err != nil {
		return nil, fmt.Errorf("exported heads: %w", err)
	}
	if len(h.Shards) != contact.Shards {
		return nil, fmt.Errorf("exported heads: %d shards, want %d", len(h.Shards), contact.Shards)
	}
	for i, s := range h.Shards {
		link, err := hex.DecodeString(s.Head)
		if err != nil || len(link) != chain.LinkSize && s.Rows != 0 || s.Shard != int16(i) || s.Rows < 0 {
			return nil, fmt.Errorf("exported heads: shard %d is no head", s.Shard)
		}
	}
	return &h, nil
}

func loadHeads(ctx context.Context, db pg.DB) ([]storedHead, error) {
	found, err := headsStmt.All(ctx, db, pg.NoArgs{})
	if err != nil {
		return nil, fmt.Errorf("read the ends of the chains: %w", err)
	}
	return found, nil
}

// export is the heads as they are to be kept.
func export(at time.Time, keys chain.Keys, stored []storedHead) *Heads {
	h := &Heads{At: at, Keys: []string{}}
	for _, id := range keys.IDs() {
		h.Keys = append(h.Keys, id.String())
	}
	for _, s := range stored {
		h.Shards = append(h.Shards, ShardHead{s.Shard, s.AuditCount, hex.EncodeToString(s.AuditHead)})
	}
	return h
}
