// Package settle closes the two logs behind those who write them.
//
// Rows become visible out of the order of their numbers. A [Settler] moves the
// horizon up, below which webhook_events and contact_audit_log are complete for
// good, and counts what lies below it, so that event_accounting has to count
// only the tails. The change feed reads up to the horizon. How it is known is
// written in the migration that made log_horizon, and decided in the database:
// nothing here can move it too far.
//
// Any number of processes may do it; one at a time does, and the others go on.
// It works when it is woken, in steps of a fraction of a second with pauses that
// leave the database to the traffic, until the logs are settled to their ends;
// then it asks for nothing. Without it, or while a long transaction holds the
// horizon back, the account is as exact and slower, and the feed waits.
package settle

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	advanceStmt = pg.NewQuery[pg.NoArgs, horizon](sql.SettleAdvance)
	sealStmt    = pg.NewColumn[sealArgs, *int64](sql.SettleSeal)
	recountStmt = pg.NewColumn[pg.NoArgs, string](sql.SettleRecount)
)

type sealArgs struct{ MaxRows int }

const (
	// tail is how many numbers may lie between the sealed counts and the horizon
	// before they are counted on: what the view counts in a few milliseconds.
	tail = 10_000
	// step is how many rows of each log one transaction counts at most, and least
	// how many where the server is so slow that more would take longer than brief.
	step, least = 20_000, 500
	brief       = 200 * time.Millisecond
	// soon is how long the transactions beside the one that woke a settler are
	// given to end, before it looks whether they have.
	soon = 50 * time.Millisecond
	// busy is the pause while traffic flows.
	busy = 200 * time.Millisecond
	// longest is the longest pause while something waits.
	longest = 5 * time.Second
	// timeout bounds a statement, so that a server that hangs is noticed.
	timeout = 20 * time.Second
)

// Settler settles the logs. Make one with [New], and [Settler.Run] it.
type Settler struct {
	pool *pgxpool.Pool
	log  *slog.Logger
	wake chan struct{}

	mu     sync.Mutex
	health Health
}

// Health tells whether passes succeed.
type Health struct {
	// AdvancedAt is when the horizon was last moved, or found at the end of both
	// logs; zero before the first time. Another process may move it instead.
	AdvancedAt time.Time
	// Err is why the last pass failed, nil if it did not.
	Err error
	// Since is when passes began to fail.
	Since time.Time
}

// New makes a settler on the database behind pool.
func New(pool *pgxpool.Pool, log *slog.Logger) *Settler {
	s := &Settler{pool: pool, log: log, wake: make(chan struct{}, 1)}
	s.Wake() // for what a process before this one has left
	return s
}

// Wake says that rows may have come. It never blocks.
func (s *Settler) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Health reports whether passes succeed.
func (s *Settler) Health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health
}

// note keeps the end of a pass for [Settler.Health].
func (s *Settler) note(at progress, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if at.Moved || at.Settled {
		s.health.AdvancedAt = now
	}
	if err != nil && s.health.Err == nil {
		s.health.Since = now
	}
	s.health.Err = err
	if err == nil {
		s.health.Since = time.Time{}
	}
}

// lookInterval is how often the settler looks unasked: a failover or a restore can
// take log_horizon back without a row to follow.
const lookInterval = 30 * time.Second

// Run settles what comes until ctx ends.
func (s *Settler) Run(ctx context.Context) error {
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-look.C:
		}
		s.settle(ctx)
	}
}

// settle goes on until everything is settled, and sealed but for a short tail.
func (s *Settler) settle(ctx context.Context) {
	pause, size := soon, step
	var troubled pg.RetryLog
	for ctx.Err() == nil {
		began := time.Now()
		at, err := s.pass(ctx, size)
		took := time.Since(began)
		if ctx.Err() == nil {
			s.note(at, err)
		}
		if ctx.Err() == nil && troubled.Due(err) {
			s.log.Log(ctx, pg.Level(err), "can't settle the logs; the account is counted from further back, and the change feed waits", "error", pg.Explain(err))
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			pause = min(2*pause, longest)
		case at.sealed: // as much time for the others
			pause = max(soon, took)
			if size = min(2*size, step); took > brief {
				size = max(size/4, least)
			}
		case at.Settled:
			return
		case at.Moved:
			pause = busy
		default: // somebody is at it, or a transaction is still under way
			pause = min(2*pause, longest)
		}
		wait(ctx, pause)
	}
}

// horizon is what advance_log_horizon returns.
type horizon struct {
	// Moved reports whether the horizon has been moved now, Settled whether nothing
	// lies above it.
	Moved, Settled bool
	// Unsealed is how many numbers the sealed counts are behind it.
	Unsealed int64
}

type progress struct {
	horizon
	sealed bool // a step has been counted now
}

// pass moves the horizon and counts a step of size where the tail has grown long.
func (s *Settler) pass(ctx context.Context, size int) (at progress, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	rows, err := advanceStmt.All(ctx, s.pool, pg.NoArgs{})
	if err != nil {
		return progress{}, fmt.Errorf("settle: advance the horizon: %w", err)
	}
	if len(rows) == 0 {
		return progress{}, nil
	}
	at.horizon = rows[0]
	if at.Unsealed < tail {
		return at, nil
	}
	counted, err := sealStmt.One(ctx, s.pool, sealArgs{size})
	if err != nil {
		return at, fmt.Errorf("settle: seal: %w", err)
	}
	at.sealed = counted != nil
	return at, nil
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Recount returns the tenants whose sealed counts are not those of the rows that
// they stand for, in one snapshot. It reads both logs whole.
func Recount(ctx context.Context, db pg.DB) ([]string, error) {
	tenants, err := recountStmt.All(ctx, db, pg.NoArgs{})
	if err != nil {
		return nil, fmt.Errorf("settle: recount: %w", err)
	}
	return tenants, nil
}
