package verify

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/chain"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var adoptionsStmt = pg.NewQuery[pg.NoArgs, storedAdoption](sql.VerifyAdoptions)

// storedAdoption is a row of audit_adoptions.
type storedAdoption struct {
	Shard        int16
	Ordinal      int64
	ThroughSeq   int64
	AdoptedRows  int64
	Digest       []byte
	AdoptedCount int64
	AdoptedHead  []byte
	Link         []byte
	AdoptedAt    pgtype.Timestamptz
	Actor        string
	Reason       string
}

// adoption is what the link of a covers.
func (a *storedAdoption) adoption() *chain.Adoption {
	adopted := &chain.Adoption{
		Shard: a.Shard, Ordinal: a.Ordinal, Through: a.ThroughSeq, Rows: a.AdoptedRows,
		Head: chain.Head{Count: a.AdoptedCount}, At: time.UnixMicro(micros(a.AdoptedAt)), Actor: a.Actor, Reason: a.Reason,
	}
	adopted.Head.Link, _ = chain.ParseLink(a.AdoptedHead)
	copy(adopted.Digest[:], a.Digest)
	return adopted
}

func loadAdoptions(ctx context.Context, db pg.DB) ([]storedAdoption, error) {
	found, err := adoptionsStmt.All(ctx, db, pg.NoArgs{})
	if err != nil {
		return nil, fmt.Errorf("read the adoptions of the chains: %w", err)
	}
	return found, nil
}

// due is how many of the coming adoptions are before the row with this number. One that
// was forged may claim to be later than those that follow it.
func (s *shardChain) due(auditSeq int64) int {
	for i := len(s.adoptions) - 1; i >= 0; i-- {
		if s.adoptions[i].ThroughSeq < auditSeq {
			return i + 1
		}
	}
	return 0
}

// adopt takes the next n adoptions of a shard.
func (c *chains) adopt(s *shardChain, n int) {
	for _, a := range s.adoptions[:n] {
		c.adopted(s, &a)
	}
	s.adoptions = s.adoptions[n:]
}

// adopted takes an adoption of a shard, all of whose rows have been seen. If it holds,
// nothing before it matters any more, and its link is the head.
func (c *chains) adopted(s *shardChain, a *storedAdoption) {
	link, ok := chain.ParseLink(a.Link)
	digest := s.digest.Sum()
	s.digest.Add(a.Link)
	made, known := false, true
	if ok {
		made, known = c.linker.Adopted(a.adoption(), link)
	}
	of := fmt.Sprintf("the adoption %d, of %s", a.Ordinal, a.AdoptedAt.Time.UTC().Format(time.RFC3339))
	s.keyed = true
	switch {
	case known && !made:
		s.breaks(Altered, nil, "no key given made "+of+": it was altered or forged")
		return
	case a.AdoptedRows != s.rows || string(a.Digest) != string(digest[:]):
		s.breaks(Altered, nil, fmt.Sprintf("its rows up to number %d are no longer those of %s", a.ThroughSeq, of))
		return
	}
	clear(s.unchecked)
	if !known {
		s.unchecked[link.Key()]++
	}
	c.found.Adopted += s.unproved
	c.found.Adoptions = append(c.found.Adoptions, Adoption{a.Shard, s.rows, s.unproved, a.ThroughSeq, a.AdoptedAt.Time, a.Actor, a.Reason})
	s.broken, s.suspect, s.unkeyed, s.unproved = nil, nil, nil, 0
	s.head = chain.Head{Count: a.AdoptedCount, Link: link}
	if s.against != nil && s.against.Rows == a.AdoptedCount && s.against.Head == hex.EncodeToString(a.Link) {
		s.contained = true
	}
}
