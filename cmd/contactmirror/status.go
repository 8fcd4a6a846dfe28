package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/report"
)

// statusCmd shows the state of the whole mirror on one screen.
type statusCmd struct {
	JSON  bool `help:"Print JSON."`
	Check bool `help:"Exit 3 if no receiver or no sync worker runs."`
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
		if missing := now.missing(); err == nil && s.Check && len(missing) > 0 {
			err = codedError{fmt.Errorf("not running: %s", strings.Join(missing, ", ")), foundDifference}
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

// missing lists the roles that no running process has.
func (s standing) missing() []string {
	var roles []string
	if s.ReceiversAlive == 0 {
		roles = append(roles, "receiver")
	}
	if s.WorkersAlive == 0 {
		roles = append(roles, "sync worker")
	}
	return roles
}

func (s standing) write(w io.Writer) error {
	s.writeMissing(w)
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
	s.writeTransactions(w)
	if !s.Balanced {
		fmt.Fprintln(w, "\nTHE ACCOUNT DOES NOT BALANCE: accepted events are not the sum of their outcomes.")
	}
	s.writeBrokenChains(w)
	for _, t := range s.Tenants {
		if !t.Balanced {
			missing := t.Accepted - t.Applied - t.NoOp - t.Superseded - t.AfterDelete - t.Ignored - t.Queued - t.Quarantined
			fmt.Fprintf(w, "%s: %s\n", plain(t.ContextIdentifier), difference(missing))
		}
	}
	return nil
}

// writeMissing says loudly what does not run.
func (s standing) writeMissing(w io.Writer) {
	if s.ReceiversAlive == 0 {
		fmt.Fprintln(w, "NO RECEIVER RUNS: deliveries from SuperOffice are lost; start contactmirror serve.")
	}
	if s.WorkersAlive == 0 {
		fmt.Fprintln(w, "NO SYNC WORKER RUNS: nothing is applied; start contactmirror serve.")
	}
	if len(s.missing()) > 0 {
		fmt.Fprintln(w)
	}
}

// writeTransactions names the transactions that halt the change feed.
func (s standing) writeTransactions(w io.Writer) {
	for i, t := range s.Transactions {
		if i == 0 {
			fmt.Fprintln(w)
		}
		who := "prepared transaction"
		switch {
		case t.PID != nil:
			who = fmt.Sprintf("transaction with process id %d", *t.PID)
		case t.GID != nil:
			who = "prepared transaction " + plain(*t.GID)
		}
		since := "since when is not known here: that needs pg_read_all_stats"
		if t.Since != nil {
			since = "since " + when(s.Now, *t.Since)
		}
		effect := "it will halt the change feed"
		if t.Halts && t.HaltingSince != nil {
			effect = "THE CHANGE FEED WAITS FOR IT since " + when(s.Now, *t.HaltingSince)
		}
		fmt.Fprintf(w, "%s, database %s, user %s, %s: %s\n", who, plain(t.Database), plain(t.UserName), since, effect)
	}
}

// through says up to when the mirror is complete, how old that is, and what holds it.
func (s standing) through() string {
	if s.CompleteThrough == nil || s.CompleteThroughAsOf == nil {
		return "not known: no receiver has run yet"
	}
	held := "nothing"
	if len(s.HeldBy) > 0 {
		names := make([]string, len(s.HeldBy))
		for i, name := range s.HeldBy {
			names[i] = plain(name)
		}
		held = strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s, held by %s; as of %s ago", when(s.Now, *s.CompleteThrough), held, span(s.Now.Sub(*s.CompleteThroughAsOf)))
}

// writeBrokenChains prints which shards' rows of the audit log no key proves, since when,
// and what to do.
func (s standing) writeBrokenChains(w io.Writer) {
	if len(s.BrokenChains) == 0 {
		return
	}
	var shards []string
	for _, c := range s.BrokenChains {
		shards = append(shards, fmt.Sprintf("%d (since row %d)", c.Shard, c.SinceAuditSeq))
	}
	fmt.Fprintf(w, "\nTHE AUDIT CHAIN IS BROKEN in %s: no configured key signed its head, so rows are linked without a key. "+
		"Was the key changed or left out, or the log tampered with? Run contactmirror verify; contactmirror audit adopt accepts the log as it is. Shards: %s\n",
		count(int64(len(shards)), "shard", "shards"), strings.Join(shards, ", "))
}

func (s standing) summary() [][]string {
	backlog := "nothing waits"
	if s.Backlog > 0 {
		lag := time.Duration(s.LagSeconds * float64(time.Second))
		backlog = fmt.Sprintf("%s, the oldest for %s", count(s.Backlog, "event", "events"), span(lag))
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
		{"complete through", s.through()},
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
