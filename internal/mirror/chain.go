package mirror

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/audit"
	"contactmirror/internal/chain"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	allHeadsStmt = pg.NewQuery[pg.NoArgs, audit.Head](sql.MirrorAllHeads)
	unsealedStmt = pg.NewColumn[unsealedArgs, bool](sql.MirrorUnsealed)
	sealStmt     = pg.NewCommand[sealArgs](sql.MirrorSeal)
)

type (
	unsealedArgs struct{ KeyID []byte }
	sealArgs     struct {
		Shards     []int16
		AuditSeals [][]byte
	}
)

// seal seals the end of every chain with the worker's key, where another or none
// made its last link: from then on each must end in a link or a seal of this
// key, whether or not its shard has had an event since.
func (w *Worker) seal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	id := w.AuditKey.ID()
	open, err := unsealedStmt.One(ctx, w.pool, unsealedArgs{id[:]})
	if err == nil && open {
		err = pgx.BeginTxFunc(ctx, w.pool, pg.ReadCommitted, func(tx pgx.Tx) error { return sealAll(ctx, tx, w.AuditKey) })
	}
	if err != nil {
		return fmt.Errorf("mirror: seal the audit chains with the key: %w", err)
	}
	return nil
}

func sealAll(ctx context.Context, tx pgx.Tx, key *chain.Key) error {
	stored, err := allHeadsStmt.All(ctx, tx, pg.NoArgs{})
	if err != nil {
		return err
	}
	var (
		linker = chain.NewLinker(key)
		shards []int16
		seals  [][]byte
	)
	for i := range stored {
		head, err := stored[i].Head()
		if err != nil {
			return err
		}
		if head.Link.Key() != key.ID() {
			link := linker.Seal(stored[i].Shard, head)
			shards, seals = append(shards, stored[i].Shard), append(seals, link[:])
		}
	}
	_, err = sealStmt.Run(ctx, tx, sealArgs{shards, seals})
	return err
}

// keyMissing tells the log when the chains end in links or seals of a key, and
// the worker was given none: it goes on, for events must be applied, and verify
// finds what it links from now on.
func (w *Worker) keyMissing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	chains, err := audit.Keyed(ctx, w.pool)
	if err != nil {
		return fmt.Errorf("mirror: %w", err)
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
