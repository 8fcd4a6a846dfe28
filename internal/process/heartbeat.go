package process

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"contactmirror/internal/pg"
	"contactmirror/internal/signature"
	"contactmirror/sql"
)

var (
	heartbeatStmt = pg.NewCommand[heartbeatArgs](sql.ProcessHeartbeat)
	leaveStmt     = pg.NewCommand[leaveArgs](sql.ProcessLeave)
)

type (
	heartbeatArgs struct {
		Process    string
		Host       string
		PID        int
		Roles      []string
		Version    string
		StartedAt  time.Time
		ObservedAt time.Time

		AcceptedAt              *time.Time
		Refused                 int64
		RefusedSince            *time.Time
		SpoolingSince           *time.Time
		SpoolRecords            int64
		SpoolBytes              int64
		SpoolOldestAt           *time.Time
		SpoolMovedAsideFiles    int
		SpoolMovedAsideOldestAt *time.Time
		SpoolError              *string
		SpoolFailingSince       *time.Time

		AppliedAt           *time.Time
		ApplyError          *string
		ApplyFailingSince   *time.Time
		HorizonAdvancedAt   *time.Time
		HorizonError        *string
		HorizonFailingSince *time.Time

		secretsArgs
	}
	// secretsArgs has an element for each secret.
	secretsArgs struct {
		ContextIdentifiers  []string
		Ordinals            []int
		NotBefore           []*time.Time
		NotAfter            []*time.Time
		MatchedAt           []*time.Time
		SecretsRefusedSince []*time.Time
	}
	leaveArgs struct {
		Process    string
		ObservedAt time.Time
	}
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
// removes the row, and notes that everything received until then is in the database. If the spool still holds deliveries, or files that were moved
// aside, or can't be opened, it writes the row a last time instead.
func (h *Heartbeat) Leave(ctx context.Context) error {
	s := h.state()
	if s.SpoolRecords > 0 || s.SpoolMovedAsideFiles > 0 || s.SpoolError != nil {
		return h.write(ctx, s)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := leaveStmt.Run(ctx, h.db, leaveArgs{string(h.info.ID), s.At}); err != nil {
		return fmt.Errorf("process: leave: %w", err)
	}
	return nil
}

func (h *Heartbeat) args(s State) heartbeatArgs {
	roles := make([]string, len(h.info.Roles))
	for i, role := range h.info.Roles {
		roles[i] = string(role)
	}
	args := heartbeatArgs{
		Process: string(h.info.ID), Host: h.info.Host, PID: h.info.PID, Roles: roles,
		Version: h.info.Version, StartedAt: h.info.StartedAt, ObservedAt: s.At,

		AcceptedAt: nullable(s.AcceptedAt), Refused: s.Refused, RefusedSince: nullable(s.RefusedSince),
		SpoolingSince: nullable(s.SpoolingSince), SpoolRecords: s.SpoolRecords, SpoolBytes: s.SpoolBytes,
		SpoolOldestAt:        nullable(s.SpoolOldestAt),
		SpoolMovedAsideFiles: s.SpoolMovedAsideFiles, SpoolMovedAsideOldestAt: nullable(s.SpoolMovedAsideOldestAt),

		AppliedAt: nullable(s.AppliedAt), HorizonAdvancedAt: nullable(s.HorizonAdvancedAt),

		secretsArgs: argsOf(s.Secrets),
	}
	args.SpoolError, args.SpoolFailingSince = failure(s.SpoolError, s.SpoolFailingSince)
	args.ApplyError, args.ApplyFailingSince = failure(s.ApplyError, s.ApplyFailingSince)
	args.HorizonError, args.HorizonFailingSince = failure(s.HorizonError, s.HorizonFailingSince)
	return args
}

func argsOf(secrets []signature.Use) secretsArgs {
	n := len(secrets)
	args := secretsArgs{
		ContextIdentifiers: make([]string, n), Ordinals: make([]int, n),
		NotBefore: make([]*time.Time, n), NotAfter: make([]*time.Time, n),
		MatchedAt: make([]*time.Time, n), SecretsRefusedSince: make([]*time.Time, n),
	}
	for i, s := range secrets {
		args.ContextIdentifiers[i], args.Ordinals[i] = s.Tenant, s.Ordinal
		args.NotBefore[i], args.NotAfter[i] = nullable(s.NotBefore), nullable(s.NotAfter)
		args.MatchedAt[i], args.SecretsRefusedSince[i] = nullable(s.LastMatched), nullable(s.RefusedSince)
	}
	return args
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
