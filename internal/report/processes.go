package report

import (
	"context"
	"fmt"
	"time"

	"contactmirror/internal/pg"
)

// Receiver is what one serve process last said of itself.
type Receiver struct {
	receiverRow
	// Secrets are those that it verifies deliveries by, the ones for every tenant
	// first.
	Secrets []Secret `json:"secrets"`
}

type receiverRow struct {
	ReceiverID string    `json:"receiver_id"`
	Host       string    `json:"host"`
	PID        int32     `json:"pid"`
	Roles      []string  `json:"roles"`
	Version    string    `json:"version"`
	StartedAt  time.Time `json:"started_at"`
	// HeartbeatAt is by the database's clock, ObservedAt by the process's.
	HeartbeatAt time.Time `json:"heartbeat_at"`
	ObservedAt  time.Time `json:"observed_at"`

	SpoolRecords  int64      `json:"spool_records"`
	SpoolBytes    int64      `json:"spool_bytes"`
	SpoolOldestAt *time.Time `json:"spool_oldest_at"`

	// MovedAsideFiles are in the spool's directory, and do not drain.
	MovedAsideFiles    int32      `json:"moved_aside_files"`
	MovedAsideOldestAt *time.Time `json:"moved_aside_oldest_at"`

	InboxAwaySince     *time.Time `json:"inbox_away_since"`
	WorkerError        *string    `json:"worker_error"`
	WorkerFailingSince *time.Time `json:"worker_failing_since"`
	LastAcceptedAt     *time.Time `json:"last_accepted_at"`
	// RefusedSince is since when no well-formed signature has matched, nil where
	// the last one did.
	RefusedSince *time.Time `json:"refused_since"`
	Refused      int64      `json:"refused"`
}

// Secret is a webhook secret by its place, and how it is used.
type Secret struct {
	// ContextIdentifier is * where it serves every tenant without its own.
	ContextIdentifier string     `json:"context_identifier"`
	Ordinal           int32      `json:"ordinal"`
	NotBefore         *time.Time `json:"not_before"`
	NotAfter          *time.Time `json:"not_after"`
	// LastMatchedAt is nil where it verified nothing since the process started.
	LastMatchedAt *time.Time `json:"last_matched_at"`
	// RefusedSince is since when no well-formed signature of a delivery that names
	// a tenant of the list has matched, nil where the last one did.
	RefusedSince *time.Time `json:"refused_since"`
}

type secretRow struct {
	ReceiverID string
	Secret
}

// Silence is how long a process may say nothing and still count as running:
// several heartbeats.
const Silence = 30 * time.Second

// Silent reports whether the process has said nothing for too long, as seen by
// the database's clock at now.
func (r Receiver) Silent(now time.Time) bool { return now.Sub(r.HeartbeatAt) > Silence }

// Receivers returns the processes that run, and those that ended without saying
// so or with deliveries in their spool.
func Receivers(ctx context.Context, db pg.DB) ([]Receiver, error) {
	rows, err := receivers.All(ctx, db, nil)
	if err != nil {
		return nil, fmt.Errorf("report: receivers: %w", err)
	}
	used, err := secrets.All(ctx, db, nil)
	if err != nil {
		return nil, fmt.Errorf("report: receivers: %w", err)
	}
	all := make([]Receiver, len(rows))
	for i, row := range rows {
		all[i] = Receiver{receiverRow: row, Secrets: []Secret{}}
		for _, s := range used {
			if s.ReceiverID == row.ReceiverID {
				all[i].Secrets = append(all[i].Secrets, s.Secret)
			}
		}
	}
	return all, nil
}
