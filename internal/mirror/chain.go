package mirror

import (
	"context"
	"fmt"
	"time"

	"contactmirror/internal/audit"
	"contactmirror/internal/pg"
)

// signInterval is how often the heads of all chains are checked, and signed with keys
// that have not signed them yet: those of shards without events too.
const signInterval = 30 * time.Second

// prepare signs the heads of an empty log, once and before the first batch.
func (w *Worker) prepare(ctx context.Context) error {
	w.preparing.Lock()
	defer w.preparing.Unlock()
	if w.prepared {
		return nil
	}
	if err := audit.SignEmpty(ctx, w.pool, w.AuditKeys); err != nil {
		return fmt.Errorf("mirror: %w", err)
	}
	w.prepared = true
	return nil
}

// keyMissing tells the log when the chains are written with a key, and the worker was
// given none: it goes on, for events must be applied, and verify finds what it links
// from now on.
func (w *Worker) keyMissing(ctx context.Context) error {
	chains, err := audit.Keyed(ctx, w.pool)
	if err != nil {
		return fmt.Errorf("mirror: %w", err)
	}
	if chains > 0 {
		w.log.Warn("the audit log is chained with a key, and none is set: its rows prove nothing from now on; set CONTACTMIRROR_AUDIT_KEY, and see contactmirror help audit adopt", "chains", chains)
	}
	return nil
}

// watchHeads checks and signs the heads as long as ctx lasts; without keys it only
// looks, once, whether the chains have any. An error is one that the batches meet too.
func (w *Worker) watchHeads(ctx context.Context) {
	var troubled pg.RetryLog
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, batchTimeout)
		err := w.checkHeads(bounded)
		cancel()
		pause := signInterval
		switch {
		case ctx.Err() != nil:
		case err == nil && len(w.AuditKeys) == 0:
			return
		case err != nil:
			pause = maxPause
			if troubled.Due(err) {
				w.log.Log(ctx, pg.Level(err), "can't check the heads of the audit chains", "error", pg.Explain(err))
			}
		}
		wait(ctx, pause)
	}
}

func (w *Worker) checkHeads(ctx context.Context) error {
	if len(w.AuditKeys) == 0 {
		return w.keyMissing(ctx)
	}
	if err := w.prepare(ctx); err != nil { // an empty log's are not broken
		return err
	}
	broken, err := audit.Sign(ctx, w.pool, w.AuditKeys)
	w.warnOfBreaks(broken)
	return err
}

// warnOfBreaks tells the log of each broken chain, once.
func (w *Worker) warnOfBreaks(broken []audit.Break) {
	if len(broken) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range broken {
		if w.warned[b.Shard] {
			continue
		}
		w.warned[b.Shard] = true
		w.log.Warn("the head of an audit chain was signed by no configured key: rows of its shard are linked without a key until contactmirror audit adopt; see contactmirror verify",
			"shard", b.Shard, "since_audit_seq", b.Since)
	}
}
