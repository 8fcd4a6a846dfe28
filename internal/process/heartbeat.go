package process

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
	heartbeatStmt = pg.Command(sql.ProcessHeartbeat)
	leaveStmt     = pg.Command(sql.ProcessLeave)
)

const (
	// Interval is the time between two heartbeats.
	Interval = 5 * time.Second
	// timeout bounds a heartbeat, so that a database that hangs does not block it.
	timeout = 2 * time.Second
)

// Heartbeat writes the row of one process. Make one with [New], and [Heartbeat.Run] it.
type Heartbeat struct {
	db    pg.DB
	info  Info
	state func() State
	log   *slog.Logger

	interval time.Duration
	troubled pg.RetryLog
}

// New makes the heartbeat of a process. It calls state for each row that it
// writes, from one goroutine at a time.
func New(db pg.DB, info Info, state func() State, log *slog.Logger) *Heartbeat {
	return &Heartbeat{db: db, info: info, state: state, log: log, interval: Interval}
}

// Run writes the row at once and then every [Interval], until ctx ends.
func (h *Heartbeat) Run(ctx context.Context) error {
	tick := time.NewTicker(h.interval)
	defer tick.Stop()
	for {
		h.report(ctx, h.Write(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (h *Heartbeat) report(ctx context.Context, err error) {
	if ctx.Err() == nil && h.troubled.Due(err) {
		h.log.Log(ctx, pg.Level(err), "can't write the process's heartbeat", "error", pg.Explain(err))
	}
}

// Write writes the row once.
func (h *Heartbeat) Write(ctx context.Context) error {
	return h.write(ctx, h.state())
}

func (h *Heartbeat) write(ctx context.Context, s State) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := heartbeatStmt.Run(ctx, h.db, h.args(s)); err != nil {
		return fmt.Errorf("process: heartbeat: %w", err)
	}
	return nil
}

// Leave is called when the process stops in order and no longer receives. It
// removes the row. If the spool still holds deliveries, or files that were moved
// aside, or can't be opened, it writes the row a last time instead.
func (h *Heartbeat) Leave(ctx context.Context) error {
	if s := h.state(); s.SpoolRecords > 0 || s.SpoolMovedAsideFiles > 0 || s.SpoolError != nil {
		return h.write(ctx, s)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := leaveStmt.Run(ctx, h.db, pgx.StrictNamedArgs{"process": string(h.info.ID)}); err != nil {
		return fmt.Errorf("process: leave: %w", err)
	}
	return nil
}

func (h *Heartbeat) args(s State) pgx.StrictNamedArgs {
	roles := make([]string, len(h.info.Roles))
	for i, role := range h.info.Roles {
		roles[i] = string(role)
	}
	spoolError, spoolFailingSince := failure(s.SpoolError, s.SpoolFailingSince)
	applyError, applyFailingSince := failure(s.ApplyError, s.ApplyFailingSince)
	horizonError, horizonFailingSince := failure(s.HorizonError, s.HorizonFailingSince)
	args := pgx.StrictNamedArgs{
		"process": string(h.info.ID), "host": h.info.Host, "pid": h.info.PID, "roles": roles,
		"version": h.info.Version, "started_at": h.info.StartedAt, "observed_at": s.At,

		"accepted_at": nullable(s.AcceptedAt), "refused": s.Refused, "refused_since": nullable(s.RefusedSince),
		"spooling_since": nullable(s.SpoolingSince), "spool_records": s.SpoolRecords, "spool_bytes": s.SpoolBytes,
		"spool_oldest_at":         nullable(s.SpoolOldestAt),
		"spool_moved_aside_files": s.SpoolMovedAsideFiles, "spool_moved_aside_oldest_at": nullable(s.SpoolMovedAsideOldestAt),
		"spool_error": spoolError, "spool_failing_since": spoolFailingSince,

		"applied_at": nullable(s.AppliedAt), "apply_error": applyError, "apply_failing_since": applyFailingSince,
		"horizon_advanced_at": nullable(s.HorizonAdvancedAt), "horizon_error": horizonError, "horizon_failing_since": horizonFailingSince,
	}
	addSecrets(args, s.Secrets)
	return args
}

// addSecrets adds secrets as one array per column, for unnest.
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
		before[i], after[i] = nullable(s.NotBefore), nullable(s.NotAfter)
		matched[i], refused[i] = nullable(s.LastMatched), nullable(s.RefusedSince)
	}
	args["context_identifiers"], args["ordinals"] = tenants, ordinals
	args["not_before"], args["not_after"] = before, after
	args["matched_at"], args["secrets_refused_since"] = matched, refused
}

// failure returns err as text that PostgreSQL can store whatever bytes it quotes,
// and since when it occurs; nil for both if err is nil.
func failure(err error, since time.Time) (*string, *time.Time) {
	if err == nil {
		return nil, nil
	}
	text := strings.ReplaceAll(strings.ToValidUTF8(pg.Explain(err), "\ufffd"), "\x00", "\ufffd")
	return &text, &since
}

// nullable returns nil for the zero time.
func nullable(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
