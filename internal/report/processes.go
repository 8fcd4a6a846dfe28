package report

import (
	"context"
	"fmt"
	"time"

	"contactmirror/internal/pg"
)

// Process is what one serve process last said of itself. Its times are by the
// process's clock, but HeartbeatAt.
type Process struct {
	processRow
	// Secrets are those that it verifies deliveries with, the ones for every tenant
	// first.
	Secrets []Secret `json:"secrets"`
}

type processRow struct {
	Process string `json:"process"`
	// DatabaseIdentity is that of the database in which the row was written. In another
	// one, after a restore, the row says nothing.
	DatabaseIdentity string `json:"database_identity"`

	Host      string    `json:"host"`
	PID       int32     `json:"pid"`
	Roles     []string  `json:"roles"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	// HeartbeatAt is by the database's clock.
	HeartbeatAt time.Time `json:"heartbeat_at"`
	ObservedAt  time.Time `json:"observed_at"`

	// AcceptedAt is when a delivery was last answered 200.
	AcceptedAt *time.Time `json:"accepted_at"`
	Refused    int64      `json:"refused"`
	// RefusedSince is since when no well-formed signature has matched, nil if the
	// last one did.
	RefusedSince  *time.Time `json:"refused_since"`
	SpoolingSince *time.Time `json:"spooling_since"`
	SpoolRecords  int64      `json:"spool_records"`
	SpoolBytes    int64      `json:"spool_bytes"`
	SpoolOldestAt *time.Time `json:"spool_oldest_at"`
	// Files moved aside are in the spool's directory, and are not drained.
	SpoolMovedAsideFiles    int32      `json:"spool_moved_aside_files"`
	SpoolMovedAsideOldestAt *time.Time `json:"spool_moved_aside_oldest_at"`
	// SpoolError is why the process can't open its spool. What is said of the spool is
	// what was known before.
	SpoolError        *string    `json:"spool_error"`
	SpoolFailingSince *time.Time `json:"spool_failing_since"`

	// AppliedAt is when a batch of events was last committed.
	AppliedAt         *time.Time `json:"applied_at"`
	ApplyError        *string    `json:"apply_error"`
	ApplyFailingSince *time.Time `json:"apply_failing_since"`
	// HorizonAdvancedAt is when the log horizon was last advanced by this process, or
	// found at the end of both logs.
	HorizonAdvancedAt   *time.Time `json:"horizon_advanced_at"`
	HorizonError        *string    `json:"horizon_error"`
	HorizonFailingSince *time.Time `json:"horizon_failing_since"`
}

// Secret is a webhook secret, by its position, and how it is used.
type Secret struct {
	// ContextIdentifier is * if it serves every tenant that has none of its own.
	ContextIdentifier string     `json:"context_identifier"`
	Ordinal           int32      `json:"ordinal"`
	NotBefore         *time.Time `json:"not_before"`
	NotAfter          *time.Time `json:"not_after"`
	// MatchedAt is when it last verified a delivery, nil if it has not since the
	// process started.
	MatchedAt *time.Time `json:"matched_at"`
	// RefusedSince is since when no well-formed signature of a delivery that names
	// a tenant of the list has matched, nil if the last one did.
	RefusedSince *time.Time `json:"refused_since"`
}

type secretRow struct {
	Process string
	Secret
}

// Silence is how long a process may be without a heartbeat and still count as
// running: several intervals.
const Silence = 30 * time.Second

// Silent reports whether the process has been without a heartbeat for too long
// at now, by the database's clock.
func (p Process) Silent(now time.Time) bool { return now.Sub(p.HeartbeatAt) > Silence }

// Processes returns the running processes, and those that ended without removing
// their row: after a crash, or with deliveries in the spool.
func Processes(ctx context.Context, db pg.DB) ([]Process, error) {
	rows, err := processesStmt.All(ctx, db, pg.NoArgs{})
	if err != nil {
		return nil, fmt.Errorf("report: processes: %w", err)
	}
	used, err := secretsStmt.All(ctx, db, pg.NoArgs{})
	if err != nil {
		return nil, fmt.Errorf("report: secrets of processes: %w", err)
	}
	all := make([]Process, len(rows))
	for i, row := range rows {
		all[i] = Process{processRow: row, Secrets: []Secret{}}
		for _, s := range used {
			if s.Process == row.Process {
				all[i].Secrets = append(all[i].Secrets, s.Secret)
			}
		}
	}
	return all, nil
}
