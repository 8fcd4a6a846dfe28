package audit

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/chain"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	headsStmt   = pg.NewQuery[headsArgs, Head](sql.AuditHeads)
	seqsStmt    = pg.NewColumn[seqsArgs, int64](sql.AuditSeqs)
	advanceStmt = pg.NewCommand[advanceArgs](sql.AuditAdvance)
)

type (
	headsArgs   struct{ Shards []int16 }
	seqsArgs    struct{ Rows int }
	advanceArgs struct {
		Shards          []int16
		AuditCounts     []int64
		AuditHeads      [][]byte
		AuditSignatures [][]byte
		AuditBreaks     []*int64
		AuditSeqs       []int64
	}
)

// Appender appends rows to the log, in a transaction that holds the locks of their
// shards. All that it reads and writes is of that transaction: what is rolled back
// was never linked.
//
// First [Appender.QueueLoad], then [Appender.Append] for each row, then
// [Appender.QueueWrite], and [Copy] of the rows.
type Appender struct {
	keyed  bool
	linker *Linker
	heads  map[int16]*head
	last   map[int16]int64 // number of the last row appended
	// For each row, its number in the log and its salt.
	auditSeqs []int64
	salts     []byte
	appended  int
}

// head is the head of a shard's chain, and whether it may be continued with a key.
type head struct {
	chain.Head
	// signed is whether one of the appender's keys signed the stored head.
	signed bool
	// keyed is whether the chain has to do with keys at all.
	keyed bool
	// broken is from which number on rows are linked without a key although there is
	// one; nil where that is in order.
	broken *int64
}

// NewAppender makes an appender of up to so many rows of shards. Rows are linked with
// the first key after heads that one of keys signed, and without a key after others.
func NewAppender(keys chain.Keys, shards []int16, rows int) *Appender {
	a := &Appender{
		keyed: len(keys) > 0, linker: NewLinker(keys), heads: map[int16]*head{}, last: map[int16]int64{},
		auditSeqs: make([]int64, 0, rows), salts: make([]byte, rows*chain.SaltSize),
	}
	_, _ = rand.Read(a.salts) // never fails
	for _, shard := range shards {
		a.heads[shard] = &head{}
	}
	return a
}

// QueueLoad reads the heads of the chains, and draws the rows' numbers.
func (a *Appender) QueueLoad(batch *pgx.Batch) {
	headsStmt.Queue(batch, headsArgs{slices.Collect(maps.Keys(a.heads))}, func(found []Head) error {
		for i := range found {
			f := &found[i]
			a.heads[f.Shard] = &head{
				Head: f.Head(), signed: f.Signed(a.linker.chain), keyed: a.keyed || f.AuditSignatures != nil, broken: f.AuditBreak,
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
	h := a.heads[r.Shard]
	link := a.linker.Link
	switch {
	case h.signed:
		h.broken = nil
	case h.keyed && h.broken == nil:
		h.broken = new(r.AuditSeq)
		fallthrough
	default:
		link = a.linker.LinkUnkeyed
	}
	next, err := link(r, h.Head)
	if err != nil {
		return err
	}
	h.Head = next
	a.last[r.Shard] = r.AuditSeq
	return nil
}

// QueueWrite moves the stored heads to where the rows have brought them.
func (a *Appender) QueueWrite(batch *pgx.Batch) {
	var args advanceArgs
	for shard, h := range a.heads {
		var signatures []byte
		if h.signed {
			signatures = a.linker.chain.Sign(shard, h.Head)
		}
		args.Shards, args.AuditCounts = append(args.Shards, shard), append(args.AuditCounts, h.Count)
		args.AuditHeads, args.AuditSignatures = append(args.AuditHeads, h.Link[:]), append(args.AuditSignatures, signatures)
		args.AuditBreaks, args.AuditSeqs = append(args.AuditBreaks, h.broken), append(args.AuditSeqs, a.last[shard])
	}
	advanceStmt.Queue(batch, args)
}

// Broken lists the shards whose rows were linked without a key although there is one.
func (a *Appender) Broken() (broken []Break) {
	for shard, h := range a.heads {
		if h.broken != nil {
			broken = append(broken, Break{shard, *h.broken})
		}
	}
	return broken
}

// Append appends r to the log, in a transaction that holds the lock of its shard.
func Append(ctx context.Context, tx pgx.Tx, keys chain.Keys, r *Row) error {
	a := NewAppender(keys, []int16{r.Shard}, 1)
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
