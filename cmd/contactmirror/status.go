package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/report"
)

// statusCmd shows the state of the whole mirror on one screen.
type statusCmd struct {
	JSON bool `help:"Print JSON."`
	DatabaseFlags
}

// standing is the state of the mirror with what follows from it.
type standing struct {
	report.Status
	Backlog    int64   `json:"backlog"`
	LagSeconds float64 `json:"lag_seconds"` // age of the oldest event that waits; 0 without one
	Balanced   bool    `json:"balanced"`    // of every tenant
}

// Run prints the state as it is now.
func (s *statusCmd) Run(ctx context.Context, call *invocation) error {
	return withMirror(ctx, call, func(pool *pgxpool.Pool) error {
		status, err := report.Read(ctx, pool)
		if err != nil {
			return err
		}
		now := assess(status)
		if s.JSON {
			err = writeJSON(call.stdout, now)
		} else {
			err = now.write(call.stdout)
		}
		if err == nil && !now.Balanced {
			err = codedError{errUnbalanced, foundDifference}
		}
		return err
	})
}

// errUnbalanced is the one thing in the state that no state should have.
var errUnbalanced = errors.New("the account does not balance: an accepted event was lost or doubled")

func assess(status report.Status) standing {
	s := standing{Status: status, Balanced: true}
	oldest := status.Now
	for _, t := range status.Tenants {
		s.Backlog += t.Queued
		s.Balanced = s.Balanced && t.Balanced
		if t.OldestQueuedAt != nil && t.OldestQueuedAt.Before(oldest) {
			oldest = *t.OldestQueuedAt
		}
	}
	s.LagSeconds = status.Now.Sub(oldest).Seconds()
	return s
}

func (s standing) write(w io.Writer) error {
	if err := writeTable(w, s.summary()); err != nil {
		return err
	}
	if len(s.Tenants) > 0 {
		fmt.Fprintln(w)
		writeNumbers(w, s.tenants())
	}
	if err := s.writeProcesses(w); err != nil {
		return err
	}
	if !s.Balanced {
		fmt.Fprintln(w, "\nTHE ACCOUNT DOES NOT BALANCE: accepted events are not the sum of their outcomes.")
	}
	for _, t := range s.Tenants {
		if !t.Balanced {
			missing := t.Accepted - t.Applied - t.NoOp - t.Superseded - t.AfterDelete - t.Ignored - t.Queued - t.Quarantined
			fmt.Fprintf(w, "%s: %s\n", plain(t.ContextIdentifier), difference(missing))
		}
	}
	return nil
}

func (s standing) summary() [][]string {
	backlog, through := "nothing waits", "now"
	if s.Backlog > 0 {
		lag := time.Duration(s.LagSeconds * float64(time.Second))
		backlog = fmt.Sprintf("%s, the oldest for %s", count(s.Backlog, "event", "events"), span(lag))
	}
	if s.CompleteThrough.Before(s.Now) {
		through = when(s.Now, s.CompleteThrough)
	}
	newest := "none yet"
	if s.NewestEventAt != nil {
		newest = when(s.Now, *s.NewestEventAt)
	}
	quarantine := "empty"
	if s.OpenDeliveries+s.OpenEvents > 0 {
		quarantine = fmt.Sprintf("%s not understood, %s not applied; see contactmirror quarantine list",
			count(s.OpenDeliveries, "delivery", "deliveries"), count(s.OpenEvents, "event", "events"))
	}
	return [][]string{
		{"backlog", backlog},
		{"complete through", through},
		{"newest event", newest},
		{"contacts", fmt.Sprintf("%d, of which %d soft-deleted and %d with pending columns; %d hard-deleted", s.Contacts, s.SoftDeleted, s.Pending, s.HardDeleted)},
		{"quarantine", quarantine},
		{"duplicates", count(s.Duplicates, "repeated delivery", "repeated deliveries")},
	}
}

func (s standing) tenants() [][]string {
	rows := [][]string{{"TENANT", "ACCEPTED", "APPLIED", "NO-OP", "SUPERSEDED", "AFTER-DELETE", "IGNORED", "QUEUED", "QUARANTINED", "BALANCED"}}
	for _, t := range s.Tenants {
		row := []string{plain(t.ContextIdentifier)}
		for _, n := range []int64{t.Accepted, t.Applied, t.NoOp, t.Superseded, t.AfterDelete, t.Ignored, t.Queued, t.Quarantined} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		balanced := "yes"
		if !t.Balanced {
			balanced = "NO"
		}
		rows = append(rows, append(row, balanced))
	}
	return rows
}

// difference words how far an account is from adding up.
func difference(missing int64) string {
	if missing < 0 {
		return count(-missing, "outcome", "outcomes") + " too many"
	}
	return count(missing, "accepted event", "accepted events") + " without an outcome"
}
