package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/operator"
	"contactmirror/internal/rebuild"
	"contactmirror/internal/refold"
)

// RepairFlags are those of the two commands that make rows anew.
type RepairFlags struct {
	Tenant *string       `placeholder:"TENANT" help:"Only this tenant's contacts."`
	DryRun bool          `help:"Print the rows and columns that would change, old → new, and change nothing."`
	Wait   time.Duration `default:"30s" placeholder:"DURATION" help:"How long to wait for the lock of each shard; default 30s."`
	JSON   bool          `help:"Print JSON: a line for each contact that differs, and a line with the sums."`
	DatabaseFlags
}

// rebuildCmd makes the whole mirror anew.
type rebuildCmd struct {
	RepairFlags
}

// Run rebuilds.
func (r *rebuildCmd) Run(ctx context.Context, call *invocation) error {
	return r.repair(ctx, call, "rebuild", refold.Scope{Tenant: r.Tenant})
}

// replayCmd repairs the rows of some contacts.
type replayCmd struct {
	Since   string `placeholder:"TIME" help:"Only contacts of which something was applied since then: a date, which begins at midnight UTC, or a time with its zone such as 2026-11-24T08:00:00+01:00."`
	Until   string `placeholder:"TIME" help:"Only contacts of which something was applied before then."`
	Contact *int64 `placeholder:"ID" help:"Only the contact with this id, of every tenant or of the one given."`
	RepairFlags
}

// Run replays. Every fact of a contact counts, whenever it was applied, or the
// row would not be the one that they come to.
func (r *replayCmd) Run(ctx context.Context, call *invocation) error {
	scope := refold.Scope{Tenant: r.Tenant, ContactID: r.Contact, Logged: true}
	for _, bound := range []struct {
		flag, text string
		to         **time.Time
	}{{"--since", r.Since, &scope.Since}, {"--until", r.Until, &scope.Until}} {
		if bound.text == "" {
			continue
		}
		at, err := parseInstant(bound.text)
		if err != nil {
			return misused("%s: %q: allowed: a date such as 2026-11-24, or a time with its zone such as 2026-11-24T08:00:00+01:00", bound.flag, bound.text)
		}
		*bound.to = &at
	}
	switch {
	case r.Contact != nil && *r.Contact < 1:
		return misused("--contact: %d: allowed: 1 and above", *r.Contact)
	case scope.Since != nil && scope.Until != nil && !scope.Since.Before(*scope.Until):
		return misused("--until: %s is not after --since %s, so nothing lies between", r.Until, r.Since)
	}
	return r.repair(ctx, call, "replay", scope)
}

// parseInstant reads a date, or a time that says in which zone it is.
func parseInstant(text string) (time.Time, error) {
	if at, err := time.Parse(time.DateOnly, text); err == nil {
		return at, nil
	}
	return time.Parse(time.RFC3339, text)
}

// repair makes the contacts of scope anew, and says what came of it.
func (f *RepairFlags) repair(ctx context.Context, call *invocation, command string, scope refold.Scope) error {
	if f.Wait < time.Millisecond {
		return misused("--wait: %v: allowed: 1ms and above", f.Wait)
	}
	config, err := call.config()
	if err != nil {
		return err
	}
	return withWideMirror(ctx, config, call, rebuild.Conns, func(pool *pgxpool.Pool) error {
		options := rebuild.Options{Actor: call.actor(), Action: operator.Action(command), Scope: scope, DryRun: f.DryRun, Wait: f.Wait, Found: f.teller(call.stdout)}
		update, finish := factCounter(call.stderr, command)
		options.Progress = update
		result, err := rebuild.Run(ctx, pool, options)
		finish()
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		if err := f.conclude(call.stdout, result); err != nil {
			return err
		}
		if result.Unreadable > 0 {
			return fmt.Errorf("%s: %s in the log that can't be read, and left as they are; see contactmirror verify", command, count(result.Unreadable, "contact has a fact", "contacts have facts"))
		}
		return nil
	})
}

// teller prints the differences of a dry run, and for JSON of any.
func (f *RepairFlags) teller(w io.Writer) func(refold.Difference) error {
	switch {
	case f.JSON:
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return func(d refold.Difference) error { return e.Encode(d) }
	case f.DryRun:
		return func(d refold.Difference) error {
			_, err := fmt.Fprintln(w, d)
			return err
		}
	}
	return nil
}

// repairJSON is the sums as --json prints them.
type repairJSON struct {
	*rebuild.Result
	DryRun        bool    `json:"dry_run"`
	FoldSeconds   float64 `json:"fold_seconds"`
	EventsPerSec  float64 `json:"events_per_second"`
	LockedSeconds float64 `json:"locked_seconds"`
}

func (f *RepairFlags) conclude(w io.Writer, r *rebuild.Result) error {
	rate := float64(r.Facts) / r.Folding.Seconds()
	if f.JSON {
		e := json.NewEncoder(w)
		return e.Encode(map[string]any{"sums": repairJSON{r, f.DryRun, r.Folding.Seconds(), rate, r.Locked.Seconds()}})
	}
	rows := [][]string{
		{"folded", fmt.Sprintf("%s of %s in %v, %.0f events/s", count(r.Facts, "fact", "facts"), count(r.Contacts, "contact", "contacts"), r.Folding.Round(time.Millisecond), rate)},
	}
	switch {
	case r.Different == 0:
		rows = append(rows, []string{"different", "nothing"})
	case f.DryRun:
		rows = append(rows, []string{"different", count(r.Different, "contact, nothing was changed", "contacts, nothing was changed")})
	default:
		rows = append(rows,
			[]string{"different", count(r.Different, "contact", "contacts")},
			[]string{"rows", fmt.Sprintf("%d written, %d removed", r.Rows, r.RowsRemoved)},
			[]string{"tombstones", fmt.Sprintf("%d written, %d removed", r.Tombstones, r.TombstonesRemoved)},
			[]string{"locked", fmt.Sprintf("for %v; %s again, because something was logged or erased meanwhile", r.Locked.Round(time.Millisecond), count(r.Meanwhile, "contact folded", "contacts folded"))},
		)
	}
	return writeTable(w, rows)
}
