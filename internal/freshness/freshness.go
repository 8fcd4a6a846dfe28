// Package freshness keeps complete_through up to date: the receipt time before which
// everything is applied that the receivers of the mirror were sent.
//
// The database works it out and stores it, so that it never goes back, whatever
// becomes of the processes that it depends on. Every running process tries to bring it
// up to date every few seconds, and one at a time does. The rules are those of the
// function contactmirror_advance_freshness.
package freshness

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var advanceStmt = pg.NewColumn[advanceArgs, bool](sql.FreshnessAdvance)

type advanceArgs struct{ MaxAge time.Duration }

const (
	// Interval is the least time between two calls.
	Interval = 2 * time.Second
	// share is the part of the time that may be spent on it: it reads the whole queue,
	// which may be long.
	share = 10
	// timeout bounds a call, so that a server that hangs is noticed.
	timeout = 20 * time.Second
)

// Advance brings complete_through up to date. It does nothing while another session
// does it.
func Advance(ctx context.Context, pool *pgxpool.Pool) error {
	return advance(ctx, pool, 0)
}

// advance does nothing where that was done within maxAge.
func advance(ctx context.Context, pool *pgxpool.Pool, maxAge time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := advanceStmt.Commit(ctx, pool, advanceArgs{maxAge}); err != nil {
		return fmt.Errorf("freshness: advance complete_through: %w", err)
	}
	return nil
}

// Advancer calls [Advance] as long as it runs. Make one with [New], and [Advancer.Run]
// it.
type Advancer struct {
	pool *pgxpool.Pool
	log  *slog.Logger
}

// New makes an advancer of pool's database.
func New(pool *pgxpool.Pool, log *slog.Logger) *Advancer { return &Advancer{pool, log} }

// Run brings complete_through up to date every [Interval], unless another process has
// done so, until ctx ends. Where it takes long, it does so more rarely.
func (a *Advancer) Run(ctx context.Context) error {
	var troubled pg.RetryLog
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		began := time.Now()
		err := advance(ctx, a.pool, Interval/2)
		if ctx.Err() == nil && troubled.Due(err) {
			a.log.Log(ctx, pg.Level(err), "can't bring complete_through up to date", "error", pg.Explain(err))
		}
		pause.Reset(max(Interval, share*time.Since(began)))
	}
}
