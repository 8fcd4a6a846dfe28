// Package report answers an operator's questions about the whole mirror: what
// was accepted, what became of it, and what waits. It only reads.
package report

import (
	"context"
	"fmt"
	"time"

	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	accountingStmt   = pg.NewQuery[pg.NoArgs, Tenant](sql.ReportAccounting)
	mirrorStmt       = pg.NewQuery[pg.NoArgs, Mirror](sql.ReportMirror)
	unbalancedStmt   = pg.NewColumn[pg.NoArgs, int64](sql.ReportUnbalanced)
	processesStmt    = pg.NewQuery[pg.NoArgs, processRow](sql.ReportProcesses)
	transactionsStmt = pg.NewQuery[pg.NoArgs, Transaction](sql.ReportTransactions)
	chainsStmt       = pg.NewQuery[pg.NoArgs, BrokenChain](sql.ReportChains)
	secretsStmt      = pg.NewQuery[pg.NoArgs, secretRow](sql.ReportSecrets)
)

// Status is the state of the whole mirror.
type Status struct {
	Mirror
	Tenants []Tenant `json:"tenants"`
	// Processes are the running processes, and those that ended without removing
	// their row: after a crash, or with deliveries in the spool.
	Processes []Process `json:"processes"`
	// Transactions are those that halt the change feed, or will.
	Transactions []Transaction `json:"transactions"`
	// BrokenChains are the shards of the audit log whose rows are linked without a key
	// although there is one.
	BrokenChains []BrokenChain `json:"broken_audit_chains"`
}

// BrokenChain is a shard whose chain has a head that no configured key signed.
type BrokenChain struct {
	Shard int16 `json:"shard"`
	// SinceAuditSeq is the number in the log from which on no key proves its rows.
	SinceAuditSeq int64 `json:"since_audit_seq"`
}

// Mirror counts what belongs to no one tenant's account.
type Mirror struct {
	// Now is the database's clock.
	Now time.Time `json:"now"`
	// NewestEventAt is when the newest stored event was received, nil before the first.
	NewestEventAt *time.Time `json:"newest_event_at"`
	Contacts      int64      `json:"contacts"`
	SoftDeleted   int64      `json:"soft_deleted"`
	HardDeleted   int64      `json:"hard_deleted"`
	// Pending is how many contacts have a column whose value is not known.
	Pending    int64 `json:"pending"`
	Duplicates int64 `json:"duplicates"`
	// OpenDeliveries and OpenEvents stand in quarantine: deliveries that never
	// became events, and events that could not be applied.
	OpenDeliveries int64 `json:"open_deliveries"`
	OpenEvents     int64 `json:"open_events"`
	// OldestOpenAt is when the oldest of both was received, nil when there is none.
	OldestOpenAt *time.Time `json:"oldest_open_at"`
	// CompleteThrough is the receipt time before which everything is applied that
	// receivers were sent, of every tenant; nil before the first heartbeat of a
	// receiver. It never goes back.
	CompleteThrough *time.Time `json:"complete_through"`
	// CompleteThroughAsOf is when it was last brought up to date.
	CompleteThroughAsOf *time.Time `json:"complete_through_as_of"`
	// HeldBy is what holds it back beyond the ordinary lag of heartbeats.
	HeldBy []string `json:"held_by"`
	// ReceiversAlive and WorkersAlive are the processes that receive, and those that
	// apply events, with a recent heartbeat.
	ReceiversAlive   int64  `json:"receivers_alive"`
	WorkersAlive     int64  `json:"workers_alive"`
	DatabaseIdentity string `json:"database_identity"`
}

// Transaction is one with an id that halts the change feed, or will.
type Transaction struct {
	// PID is the process id of its session; nil if it is prepared, and has a GID.
	PID      *int32  `json:"pid"`
	GID      *string `json:"gid"`
	Database string  `json:"database"`
	UserName string  `json:"user"`
	// Since is when it began; nil if this role may not know.
	Since *time.Time `json:"since"`
	// Halts reports whether the feed waits for it now, HaltingSince since when the feed
	// waits at all.
	Halts        bool       `json:"halts"`
	HaltingSince *time.Time `json:"halting_since"`
}

// Tenant is a row of event_accounting, with the oldest event that waits.
type Tenant struct {
	ContextIdentifier string     `json:"context_identifier"`
	Accepted          int64      `json:"accepted"`
	Ignored           int64      `json:"ignored"`
	Queued            int64      `json:"queued"`
	Quarantined       int64      `json:"quarantined"`
	Applied           int64      `json:"applied"`
	NoOp              int64      `json:"no_op"`
	Superseded        int64      `json:"superseded"`
	AfterDelete       int64      `json:"after_delete"`
	Balanced          bool       `json:"balanced"`
	OldestQueuedAt    *time.Time `json:"oldest_queued_at"`
}

// Read returns the state of the mirror as it is now.
func Read(ctx context.Context, db pg.DB) (Status, error) {
	totals, err := mirrorStmt.All(ctx, db, pg.NoArgs{})
	if err != nil {
		return Status{}, fmt.Errorf("report: %w", err)
	}
	tenants, err := accountingStmt.All(ctx, db, pg.NoArgs{})
	if err != nil {
		return Status{}, fmt.Errorf("report: accounting: %w", err)
	}
	processes, err := Processes(ctx, db)
	if err != nil {
		return Status{}, err
	}
	transactions, err := transactionsStmt.All(ctx, db, pg.NoArgs{})
	if err != nil {
		return Status{}, fmt.Errorf("report: transactions: %w", err)
	}
	chains, err := chainsStmt.All(ctx, db, pg.NoArgs{})
	if err != nil {
		return Status{}, fmt.Errorf("report: audit chains: %w", err)
	}
	return Status{Mirror: totals[0], Tenants: tenants, Processes: processes, Transactions: transactions, BrokenChains: chains}, nil
}

// Unbalanced is how many tenants' accounts do not add up: more than none means
// that an accepted event has been lost or doubled. It counts what is queued.
func Unbalanced(ctx context.Context, db pg.DB) (int64, error) {
	n, err := unbalancedStmt.One(ctx, db, pg.NoArgs{})
	if err != nil {
		return 0, fmt.Errorf("report: unbalanced accounts: %w", err)
	}
	return n, nil
}
