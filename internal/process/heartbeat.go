// Package heartbeat tells the database, every few seconds, that a process runs
// and how it is.
//
// The row in receivers is for those who look from elsewhere: what stands in
// this process's spool is in no table, so nobody could otherwise say up to when
// everything received is in the database; and that every delivery is refused
// shows nowhere else. A receiver keeps its row for as long as it may hold what
// nobody else has: the row goes when its process ends in order with an empty
// spool, and stays after a crash.
//
// A beat that fails is made up for by the next one; nothing waits for it. It
// costs one statement on one row while nothing happens.
package heartbeat

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/pg"
	"contactmirror/internal/signature"
	"contactmirror/sql"
)

var (
	beat  = pg.Command(sql.HeartbeatBeat)
	leave = pg.Command(sql.HeartbeatLeave)
)

const (
	// Interval is the time between two beats.
	Interval = 5 * time.Second
	// timeout bounds a beat, so that a database that hangs is not waited for.
	timeout = 2 * time.Second
)

// Process is what does not change while a process runs.
type Process struct {
	ID        ID
	Host      string
	PID       int
	Roles     []string
	Version   string
	StartedAt time.Time
}

// Condition is how a process is at a moment. Zero times and nil mean that there
// is nothing to tell.
type Condition struct {
	// At is when it was so. Everything that was answered "spooled" before, and
	// has not been drained, is in the spool's figures.
	At time.Time

	SpoolRecords int64
	SpoolBytes   int64
	SpoolOldest  time.Time
	// MovedAsideFiles hold deliveries that were answered "spooled" and do not
	// drain. MovedAsideOldest is zero exactly where there are none.
	MovedAsideFiles  int
	MovedAsideOldest time.Time
	InboxAwaySince   time.Time

	WorkerError        error
	WorkerFailingSince time.Time

	LastAccepted time.Time
	RefusedSince time.Time
	Refused      int64
	Secrets      []signature.Use
}

// Heart beats for one process. Make one with [New], and [Heart.Run] it.
type Heart struct {
	db   pg.DB
	self Process
	look func() Condition
	log  *slog.Logger

	interval time.Duration
	troubled pg.RetryLog
}

// New makes a heart that writes what look returns. look is called for each
// beat, by one goroutine at a time.
func New(db pg.DB, self Process, look func() Condition, log *slog.Logger) *Heart {
	return &Heart{db: db, self: self, look: look, log: log, interval: Interval}
}

// Run beats at once and then every [Interval], until ctx ends.
func (h *Heart) Run(ctx context.Context) error {
	tick := time.NewTicker(h.interval)
	defer tick.Stop()
	for {
		h.report(ctx, h.Beat(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (h *Heart) report(ctx context.Context, err error) {
	if ctx.Err() == nil && h.troubled.Due(err) {
		h.log.Log(ctx, pg.Level(err), "can't write the receiver's heartbeat", "error", pg.Explain(err))
	}
}

// Beat writes the process's condition once.
func (h *Heart) Beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := beat.Run(ctx, h.db, h.args(h.look())); err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}

// Leave is for when the process ends in order, and nothing is received any
// more. Its row goes, unless its spool or a file that was moved aside holds
// deliveries: then the last beat says how many.
func (h *Heart) Leave(ctx context.Context) error {
	if c := h.look(); c.SpoolRecords > 0 || c.MovedAsideFiles > 0 {
		return h.Beat(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := leave.Run(ctx, h.db, pgx.StrictNamedArgs{"receiver_id": string(h.self.ID)}); err != nil {
		return fmt.Errorf("heartbeat: leave: %w", err)
	}
	return nil
}

func (h *Heart) args(c Condition) pgx.StrictNamedArgs {
	args := pgx.StrictNamedArgs{
		"receiver_id": string(h.self.ID), "host": h.self.Host, "pid": h.self.PID, "roles": h.self.Roles,
		"version": h.self.Version, "started_at": h.self.StartedAt, "observed_at": c.At,
		"spool_records": c.SpoolRecords, "spool_bytes": c.SpoolBytes, "spool_oldest_at": given(c.SpoolOldest),
		"moved_aside_files": c.MovedAsideFiles, "moved_aside_oldest_at": given(c.MovedAsideOldest),
		"inbox_away_since": given(c.InboxAwaySince),
		"worker_error":     nil, "worker_failing_since": nil,
		"last_accepted_at": given(c.LastAccepted), "refused_since": given(c.RefusedSince), "refused": c.Refused,
	}
	if c.WorkerError != nil {
		args["worker_error"], args["worker_failing_since"] = storable(pg.Explain(c.WorkerError)), c.WorkerFailingSince
	}
	addSecrets(args, c.Secrets)
	return args
}

// addSecrets lays secrets out in columns, as unnest takes them.
func addSecrets(args pgx.StrictNamedArgs, secrets []signature.Use) {
	n := len(secrets)
	var (
		tenants  = make([]string, n)
		ordinals = make([]int, n)
		before   = make([]*time.Time, n)
		after    = make([]*time.Time, n)
		matched  = make([]*time.Time, n)
		refused  = make([]*time.Time, n)
	)
	for i, s := range secrets {
		tenants[i], ordinals[i] = s.Tenant, s.Ordinal
		before[i], after[i] = given(s.NotBefore), given(s.NotAfter)
		matched[i], refused[i] = given(s.LastMatched), given(s.RefusedSince)
	}
	args["context_identifiers"], args["ordinals"] = tenants, ordinals
	args["not_before"], args["not_after"] = before, after
	args["last_matched_at"], args["secrets_refused_since"] = matched, refused
}

// storable is text that PostgreSQL takes, whatever an error quotes.
func storable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
}

// given is nil for a zero time.
func given(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
