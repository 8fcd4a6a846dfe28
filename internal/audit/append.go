package audit

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/chain"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	keyedStmt   = pg.NewColumn[keyedArgs, int](sql.AuditKeyed)
	headsStmt   = pg.NewQuery[headsArgs, Head](sql.AuditHeads)
	seqsStmt    = pg.NewColumn[seqsArgs, int64](sql.AuditSeqs)
	advanceStmt = pg.NewCommand[advanceArgs](sql.AuditAdvance)
)

type (
	keyedArgs   struct{ NoKey []byte }
	headsArgs   struct{ Shards []int16 }
	seqsArgs    struct{ Rows int }
	advanceArgs struct {
		Shards      []int16
		AuditCounts []int64
		AuditHeads  [][]byte
	}
)

// Head is the stored end of a shard's chain.
type Head struct {
	Shard      int16
	AuditCount int64
	AuditHead  []byte
}

// Head is h as the chain takes it.
func (h *Head) Head() (chain.Head, error) {
	link, ok := chain.ParseLink(h.AuditHead)
	if !ok && h.AuditHead != nil {
		return chain.Head{}, fmt.Errorf("audit: audit_head of shard %d is no link", h.Shard)
	}
	return chain.Head{Count: h.AuditCount, Link: link}, nil
}

// Keyed returns how many chains end in a link or a seal of a key.
func Keyed(ctx context.Context, db pg.DB) (int, error) {
	var none chain.KeyID
	n, err := keyedStmt.One(ctx, db, keyedArgs{none[:]})
	if err != nil {
		return 0, fmt.Errorf("audit: look for the chains' key: %w", err)
	}
	return n, nil
}

// Appender appends rows to the log, in a transaction that holds the locks of their
// shards. All that it reads and writes is of that transaction: what is rolled back
// was never linked.
//
// First [Appender.QueueLoad], then [Appender.Append] for each row, then
// [Appender.QueueWrite], and [Copy] of the rows.
type Appender struct {
	linker *Linker
	heads  map[int16]chain.Head
	// For each row, its number in the log and its salt.
	auditSeqs []int64
	salts     []byte
	appended  int
}

// NewAppender makes an appender of up to so many rows of shards, whose links are made
// with key; nil for none.
func NewAppender(key *chain.Key, shards []int16, rows int) *Appender {
	a := &Appender{linker: NewLinker(key), heads: map[int16]chain.Head{}, auditSeqs: make([]int64, 0, rows), salts: make([]byte, rows*chain.SaltSize)}
	_, _ = rand.Read(a.salts) // never fails
	for _, shard := range shards {
		a.heads[shard] = chain.Head{}
	}
	return a
}

// QueueLoad reads the ends of the chains, and draws the rows' numbers.
func (a *Appender) QueueLoad(batch *pgx.Batch) {
	shards, _, _ := a.columns()
	headsStmt.Queue(batch, headsArgs{shards}, func(found []Head) (err error) {
		for i := range found {
			if a.heads[found[i].Shard], err = found[i].Head(); err != nil {
				return err
			}
		}
		return nil
	})
	seqsStmt.QueueAppend(batch, seqsArgs{cap(a.auditSeqs)}, &a.auditSeqs)
}

// Append gives r its number and its salt, and links it as the next row of its shard;
// with erase set, after it has lost its values, see [Linker.Erase]. The rows of a shard
// are to be written in the order in which they were appended.
func (a *Appender) Append(r *Row, erase bool) error {
	r.AuditSeq = a.auditSeqs[a.appended]
	r.Salt = a.salts[a.appended*chain.SaltSize:][:chain.SaltSize:chain.SaltSize]
	a.appended++
	if erase {
		if err := a.linker.Erase(r); err != nil {
			return err
		}
	}
	head, err := a.linker.Link(r, a.heads[r.Shard])
	if err != nil {
		return err
	}
	a.heads[r.Shard] = head
	return nil
}

// QueueWrite moves the stored ends to where the rows have brought them.
func (a *Appender) QueueWrite(batch *pgx.Batch) {
	shards, counts, links := a.columns()
	advanceStmt.Queue(batch, advanceArgs{shards, counts, links})
}

func (a *Appender) columns() (shards []int16, counts []int64, links [][]byte) {
	for shard, head := range a.heads {
		shards, counts, links = append(shards, shard), append(counts, head.Count), append(links, head.Link[:])
	}
	return shards, counts, links
}

// Append appends r to the log, in a transaction that holds the lock of its shard.
func Append(ctx context.Context, tx pgx.Tx, key *chain.Key, r *Row) error {
	a := NewAppender(key, []int16{r.Shard}, 1)
	var load, write pgx.Batch
	a.QueueLoad(&load)
	err := tx.SendBatch(ctx, &load).Close()
	if err == nil {
		err = a.Append(r, false)
	}
	if err == nil {
		a.QueueWrite(&write)
		err = tx.SendBatch(ctx, &write).Close()
	}
	if err != nil {
		return fmt.Errorf("audit: append %s of %v: %w", r.Event, r.Key(), err)
	}
	return Copy(ctx, tx, []Row{*r})
}
