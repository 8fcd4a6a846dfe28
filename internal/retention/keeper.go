package retention

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/pg"
	"contactmirror/sql"
)

const (
	// extendInterval is how often partitions are made ahead. There are some for a
	// week to come, so it only bounds how soon a failed attempt is repeated.
	extendInterval = time.Minute
	// pruneInterval is how often expired bodies are looked for.
	pruneInterval = time.Hour
)

var extendStmt = pg.NewColumn[pg.NoArgs, int32](sql.RetentionExtend)

// Extend makes the partitions that will be needed next, and returns how many it
// made. It makes none, and will do so when called again, while the tables are
// held by somebody.
func Extend(ctx context.Context, pool *pgxpool.Pool) (int, error) {
	made, err := call(ctx, pool, func(tx pgx.Tx) (int32, error) { return extendStmt.One(ctx, tx, pg.NoArgs{}) })
	if err != nil {
		return 0, fmt.Errorf("retention: make partitions ahead: %w", err)
	}
	return int(made), nil
}

// Keeper keeps partitions ready and, where a retention is set, bodies no longer
// than that. Several may run, in any number of processes.
type Keeper struct {
	pool *pgxpool.Pool
	keep Keep
	log  *slog.Logger

	failing bool
}

// NewKeeper makes a keeper on the database behind pool.
func NewKeeper(pool *pgxpool.Pool, keep Keep, log *slog.Logger) *Keeper {
	return &Keeper{pool: pool, keep: keep, log: log}
}

// Run works until ctx ends, and returns nil. What fails is logged and tried
// again a minute later: bodies are stored all the same.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(extendInterval)
	defer tick.Stop()
	var pruned time.Time
	for {
		if _, err := Extend(ctx, k.pool); k.succeeded(ctx, err) && !k.keep.Forever() && time.Since(pruned) >= pruneInterval && k.prune(ctx) {
			pruned = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// prune reports whether everything that has expired could be dropped.
func (k *Keeper) prune(ctx context.Context) bool {
	a, err := Prune(ctx, k.pool, Options{Keep: k.keep})
	if a.Bodies+a.Quarantined > 0 || a.Dropped > 0 {
		k.log.Info("dropped expired bodies", "received_before", a.Before, "ignored_received_before", a.IgnoredBefore, "partitions", a.Dropped, "bodies", a.Bodies, "quarantined", a.Quarantined)
	}
	return k.succeeded(ctx, err) && len(a.Busy) == 0
}

// succeeded reports whether err is nil, and logs when trouble comes and goes.
func (k *Keeper) succeeded(ctx context.Context, err error) bool {
	switch {
	case err != nil && ctx.Err() == nil && !k.failing:
		k.failing = true
		k.log.Warn("can't keep the partitions of bodies; trying again every minute", "error", pg.Explain(err))
	case err == nil && k.failing:
		k.failing = false
		k.log.Info("keeping the partitions of bodies again")
	}
	return err == nil
}
