package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/chain"
	"contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	lockHeadsStmt = pg.NewQuery[pg.NoArgs, storedHead](sql.VerifyLockHeads)
	newestStmt    = pg.NewQuery[pg.NoArgs, newest](sql.VerifyNewest)
	adoptStmt     = pg.NewCommand[adoptArgs](sql.VerifyAdopt)
)

type (
	newest struct {
		AuditSeq int64
		Now      time.Time
		MayAdopt bool
	}
	adoptArgs struct {
		ThroughSeq      int64
		AdoptedAt       time.Time
		Actor, Reason   string
		Shards          []int16
		Ordinals        []int64
		AdoptedRows     []int64
		Digests         [][]byte
		AdoptedCounts   []int64
		AdoptedHeads    [][]byte
		Links           [][]byte
		AuditSignatures [][]byte
	}
)

// ErrMayNotAdopt tells that the role may not adopt chains.
var ErrMayNotAdopt = errors.New("this database role may not adopt the audit log; the schema's owner may")

// AdoptOptions say how [Adopt] goes about it.
type AdoptOptions struct {
	// Keys are those of the log, of which there is at least one: the first makes the
	// adoptions.
	Keys   chain.Keys
	Actor  operator.Actor
	Reason string
	// DryRun changes nothing.
	DryRun bool
	// Progress is as in [Options].
	Progress func(read, total int64)
}

// Adopted is what [Adopt] has accepted, or would.
type Adopted struct {
	At     time.Time      `json:"at"`
	DryRun bool           `json:"dry_run"`
	Shards []AdoptedShard `json:"shards"`
}

// AdoptedShard is one shard's chain.
type AdoptedShard struct {
	Shard int16 `json:"shard"`
	Rows  int64 `json:"rows"`
	// NotProved is how many of the rows no key proves, and no earlier adoption covers.
	NotProved int64 `json:"not_proved"`
	// Reason is what verify finds wrong; empty of a shard without rows.
	Reason string `json:"reason"`
}

// NotProved is how many rows of all shards no key proves.
func (a *Adopted) NotProved() (n int64) {
	for _, s := range a.Shards {
		n += s.NotProved
	}
	return n
}

// Adopt accepts, as they are, the chains of the shards that do not hold by the keys
// given, and lets them go on with the first key. It reads the whole log, and no event
// is applied meanwhile. It only adopts what it has read: a row that is changed later
// is found.
func Adopt(ctx context.Context, pool *pgxpool.Pool, o AdoptOptions) (*Adopted, error) {
	var done *Adopted
	err := pgx.BeginTxFunc(ctx, pool, pg.ReadCommitted, func(tx pgx.Tx) (err error) {
		done, err = adopt(ctx, tx, o)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("adopt the audit log: %w", err)
	}
	return done, nil
}

func adopt(ctx context.Context, tx pgx.Tx, o AdoptOptions) (*Adopted, error) {
	stored, err := lockHeadsStmt.All(ctx, tx, pg.NoArgs{})
	if err != nil {
		return nil, fmt.Errorf("lock the heads of the chains: %w", err)
	}
	adoptions, err := loadAdoptions(ctx, tx)
	if err != nil {
		return nil, err
	}
	now, err := newestStmt.All(ctx, tx, pg.NoArgs{})
	switch {
	case err != nil:
		return nil, err
	case !now[0].MayAdopt:
		return nil, ErrMayNotAdopt
	}
	c := newChains(stored, adoptions, Options{Keys: o.Keys})
	for _, s := range c.shards {
		s.digest = chain.NewDigest()
	}
	if _, err := checkChains(ctx, tx, c, newProgress(stored, 1, o.Progress).step); err != nil {
		return nil, err
	}
	done := &Adopted{At: now[0].Now, DryRun: o.DryRun, Shards: []AdoptedShard{}}
	args := adoptArgs{ThroughSeq: now[0].AuditSeq, AdoptedAt: now[0].Now, Actor: string(o.Actor), Reason: o.Reason}
	for _, s := range c.shards {
		reason, needed := c.toAdopt(s)
		if !needed {
			continue
		}
		args.add(c.linker, s)
		done.Shards = append(done.Shards, AdoptedShard{s.stored.Shard, s.rows, s.unproved, reason})
	}
	if o.DryRun || len(done.Shards) == 0 {
		return done, nil
	}
	if _, err := adoptStmt.Run(ctx, tx, args); err != nil {
		return nil, err
	}
	return done, operator.Record(ctx, tx, operator.Entry{
		Actor: o.Actor, Action: operator.AdoptAudit,
		Detail: operator.Detail{"reason": o.Reason, "through_audit_seq": args.ThroughSeq, "shards": args.Shards, "not_proved": done.NotProved()},
	})
}

// toAdopt reports whether, and why, the chain of a shard does not hold by the keys. The
// first worker with a key signs those of an empty log.
func (c *chains) toAdopt(s *shardChain) (reason string, needed bool) {
	switch {
	case !c.chained && c.found.Rows == 0:
		return "", false
	case s.broken != nil:
		return s.broken.String(), true
	case len(s.unchecked) > 0:
		return "rows were linked with a key that was not given", true
	case s.unkeyed != nil:
		return "rows were linked without a key", true
	case !c.linker.Signed(s.stored.Shard, s.head, s.stored.AuditSignatures):
		return "", true
	}
	return "", false
}

// add adopts the chain of s, whose rows have all been read.
func (a *adoptArgs) add(linker *chain.Linker, s *shardChain) {
	link, _ := chain.ParseLink(s.stored.AuditHead)
	head := chain.Head{Count: max(s.stored.AuditCount, s.lastPlace), Link: link}
	adoption := chain.Adoption{
		Shard: s.stored.Shard, Ordinal: s.ordinal + 1, Through: a.ThroughSeq, Rows: s.rows, Digest: s.digest.Sum(),
		Head: head, At: a.AdoptedAt, Actor: a.Actor, Reason: a.Reason,
	}
	head.Link = linker.Adopt(&adoption)
	a.Shards, a.Ordinals, a.AdoptedRows = append(a.Shards, adoption.Shard), append(a.Ordinals, adoption.Ordinal), append(a.AdoptedRows, adoption.Rows)
	a.Digests, a.AdoptedCounts = append(a.Digests, adoption.Digest[:]), append(a.AdoptedCounts, head.Count)
	a.AdoptedHeads, a.Links = append(a.AdoptedHeads, s.stored.AuditHead), append(a.Links, head.Link[:])
	a.AuditSignatures = append(a.AuditSignatures, linker.Sign(adoption.Shard, head))
}
