package mirror

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/audit"
	"contactmirror/internal/chain"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	allHeads  = pg.Query[storedHead](sql.MirrorAllHeads)
	keyed     = pg.Column[int](sql.MirrorKeyed)
	unsealed  = pg.Column[bool](sql.MirrorUnsealed)
	sealHeads = pg.Command(sql.MirrorSeal)
)

type storedHead struct {
	Shard      int16
	AuditCount int64
	AuditHead  []byte
}

func (h *storedHead) head() (chain.Head, error) {
	link, ok := chain.ParseLink(h.AuditHead)
	if !ok && h.AuditHead != nil {
		return chain.Head{}, fmt.Errorf("audit_head of shard %d is no link", h.Shard)
	}
	return chain.Head{Count: h.AuditCount, Link: link}, nil
}

// ends is the ends of the chains that a batch's audit rows extend. They are read
// and written within the batch's transaction, below the savepoint that its
// rows are written in: what is rolled back was never linked.
type ends struct {
	linker *audit.Linker
	heads  map[int16]chain.Head
	// For each row, its number in the log and its salt.
	auditSeqs []int64
	salts     []byte
	numbered  int
}

func newEnds(key *chain.Key, contacts []*touched, rows int) *ends {
	e := &ends{linker: audit.NewLinker(key), heads: map[int16]chain.Head{}, auditSeqs: make([]int64, 0, rows), salts: make([]byte, rows*chain.SaltSize)}
	_, _ = rand.Read(e.salts) // never fails
	for _, t := range contacts {
		e.heads[t.key.Shard()] = chain.Head{}
	}
	return e
}

// queueLoad reads the ends, and draws the rows' numbers.
func (e *ends) queueLoad(batch *pgx.Batch) {
	shards, _, _ := e.columns()
	batch.Queue(sql.MirrorHeads, pgx.StrictNamedArgs{"shards": shards}).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[storedHead])
		for i := range found {
			if e.heads[found[i].Shard], err = found[i].head(); err != nil {
				return err
			}
		}
		return err
	})
	batch.Queue(sql.MirrorAuditSeqs, pgx.StrictNamedArgs{"rows": cap(e.auditSeqs)}).Query(func(rows pgx.Rows) (err error) {
		e.auditSeqs, err = pgx.AppendRows(e.auditSeqs, rows, pgx.RowTo[int64])
		return err
	})
}

// number gives the next row of the batch its number and its salt.
func (e *ends) number(r *audit.Row) {
	r.AuditSeq = e.auditSeqs[e.numbered]
	r.Salt = e.salts[e.numbered*chain.SaltSize:][:chain.SaltSize:chain.SaltSize]
	e.numbered++
}

// link links r. Rows of a shard are to be written in the order in which they were
// linked.
func (e *ends) link(r *audit.Row) error {
	head, err := e.linker.Link(r, e.heads[r.Shard])
	if err != nil {
		return err
	}
	e.heads[r.Shard] = head
	return nil
}

// queueWrite moves the stored ends to where the rows have brought them.
func (e *ends) queueWrite(batch *pgx.Batch) {
	shards, counts, links := e.columns()
	batch.Queue(sql.MirrorAdvance, pgx.StrictNamedArgs{"shards": shards, "audit_counts": counts, "audit_heads": links})
}

func (e *ends) columns() (shards []int16, counts []int64, links [][]byte) {
	for shard, head := range e.heads {
		shards, counts, links = append(shards, shard), append(counts, head.Count), append(links, head.Link[:])
	}
	return shards, counts, links
}

// seal seals the end of every chain with the worker's key, where another or none
// made its last link: from then on each must end in a link or a seal of this
// key, whether or not its shard has had an event since.
func (w *Worker) seal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	id := w.AuditKey.ID()
	open, err := unsealed.One(ctx, w.pool, pgx.StrictNamedArgs{"key_id": id[:]})
	if err == nil && open {
		err = pgx.BeginTxFunc(ctx, w.pool, pg.ReadCommitted, func(tx pgx.Tx) error { return sealAll(ctx, tx, w.AuditKey) })
	}
	if err != nil {
		return fmt.Errorf("mirror: seal the audit chains with the key: %w", err)
	}
	return nil
}

func sealAll(ctx context.Context, tx pgx.Tx, key *chain.Key) error {
	stored, err := allHeads.All(ctx, tx, nil)
	if err != nil {
		return err
	}
	var (
		linker = chain.NewLinker(key)
		shards []int16
		seals  [][]byte
	)
	for i := range stored {
		head, err := stored[i].head()
		if err != nil {
			return err
		}
		if head.Link.Key() != key.ID() {
			link := linker.Seal(stored[i].Shard, head)
			shards, seals = append(shards, stored[i].Shard), append(seals, link[:])
		}
	}
	_, err = sealHeads.Run(ctx, tx, pgx.StrictNamedArgs{"shards": shards, "audit_seals": seals})
	return err
}

// keyMissing tells the log when the chains end in links or seals of a key, and
// the worker was given none: it goes on, for events must be applied, and verify
// finds what it links from now on.
func (w *Worker) keyMissing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	none := chain.KeyID{}
	chains, err := keyed.One(ctx, w.pool, pgx.StrictNamedArgs{"no_key": none[:]})
	if err != nil {
		return fmt.Errorf("mirror: look for the audit chains' key: %w", err)
	}
	if chains > 0 {
		w.log.Warn("the audit log has been chained with a key, and none is set: from now on anybody who may write the tables can link rows; set CONTACTMIRROR_AUDIT_KEY", "chains", chains)
	}
	return nil
}

// sealUntilDone seals, again after every failure, which the batches meet too.
func (w *Worker) sealUntilDone(ctx context.Context) {
	do := w.seal
	if w.AuditKey == nil {
		do = w.keyMissing
	}
	var troubled pg.RetryLog
	for ctx.Err() == nil {
		err := do(ctx)
		if err == nil {
			return
		}
		if troubled.Due(err) {
			w.log.Log(ctx, pg.Level(err), "can't look at the audit chains' key yet", "error", pg.Explain(err))
		}
		wait(ctx, maxPause)
	}
}
