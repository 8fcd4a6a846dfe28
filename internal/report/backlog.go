package report

import (
	"context"
	"fmt"
	"time"

	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var backlogStmt = pg.NewQuery[backlogArgs, Backlog](sql.ReportBacklog)

type backlogArgs struct{ Limit int }

// BacklogLimit is how far [ReadBacklog] counts, in rows.
const BacklogLimit = 50_000

// Backlog is what waits, of all tenants.
type Backlog struct {
	// Queued is exact up to 50,000 events, and above that the database's own
	// estimate, which lags a little.
	Queued int64
	// OldestQueuedAt is when the oldest of those counted was received, nil where
	// nothing waits.
	OldestQueuedAt *time.Time
	// OpenDeliveries and OpenEvents stand in quarantine; they are counted up to
	// 50,000.
	OpenDeliveries, OpenEvents int64
	// HorizonWaitsSince is since when the change feed has waited for a transaction to
	// end, nil if it does not.
	HorizonWaitsSince *time.Time
	// BrokenChains is how many shards have a broken audit chain, see [BrokenChain].
	BrokenChains int64
}

// ReadBacklog is cheap however long the queue is: it may be asked for every few
// seconds.
func ReadBacklog(ctx context.Context, db pg.DB) (Backlog, error) {
	rows, err := backlogStmt.All(ctx, db, backlogArgs{BacklogLimit})
	if err != nil {
		return Backlog{}, fmt.Errorf("report: backlog: %w", err)
	}
	return rows[0], nil
}
