package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/quarantine"
)

// quarantineCmd is the commands for what could not be applied.
type quarantineCmd struct {
	List    quarantineListCmd    `cmd:"" help:"List what stands in quarantine."`
	Show    quarantineShowCmd    `cmd:"" help:"Show one entry: its reason, headers and body."`
	Retry   quarantineRetryCmd   `cmd:"" help:"Send entries on their way again."`
	Discard quarantineDiscardCmd `cmd:"" help:"Close entries for good; their bytes stay."`
}

// quarantineListCmd lists entries.
type quarantineListCmd struct {
	Tenant *string `placeholder:"TENANT" help:"Only this ContextIdentifier's."`
	All    bool    `help:"Also those retried or discarded."`
	JSON   bool    `help:"Print JSON."`
	DatabaseFlags
}

// Run prints one line per entry, oldest first.
func (q *quarantineListCmd) Run(ctx context.Context, call *invocation) error {
	return withMirror(ctx, call, func(pool *pgxpool.Pool) error {
		entries, err := quarantine.List(ctx, pool, q.Tenant, q.All)
		if err != nil {
			return err
		}
		if q.JSON {
			return writeJSON(call.stdout, entries)
		}
		if len(entries) == 0 {
			fmt.Fprintln(call.stderr, "Nothing stands in quarantine.")
			return nil
		}
		now := time.Now()
		rows := [][]string{{"NUMBER", "RECEIVED", "TENANT", "STATE", "DELIVERIES", "BYTES", "REASON"}}
		for _, e := range entries {
			rows = append(rows, []string{
				strconv.FormatInt(e.QuarantineSeq, 10), when(now, e.ReceivedAt), tenantName(e.ContextIdentifier), state(e.Resolution, e.EventSeq),
				fmt.Sprint(e.Deliveries), fmt.Sprint(e.Bytes), plain(e.Reason),
			})
		}
		return writeTable(call.stdout, rows)
	})
}

// quarantineShowCmd shows an entry.
type quarantineShowCmd struct {
	Number int64 `arg:"" help:"The entry's number."`
	Body   bool  `help:"Print the body's bytes and nothing else." xor:"form"`
	JSON   bool  `help:"Print JSON, the body in base64." xor:"form"`
	DatabaseFlags
}

// Run prints the entry. Only --body gives the bytes as they came; otherwise
// what a terminal should not be shown is escaped.
func (q *quarantineShowCmd) Run(ctx context.Context, call *invocation) error {
	return withMirror(ctx, call, func(pool *pgxpool.Pool) error {
		d, err := quarantine.Show(ctx, pool, q.Number)
		switch {
		case err != nil:
			return err
		case q.JSON:
			return writeJSON(call.stdout, d)
		case q.Body:
			_, err := call.stdout.Write(d.Body)
			return err
		}
		return writeDelivery(call.stdout, d)
	})
}

func writeDelivery(w io.Writer, d quarantine.Delivery) error {
	rows := [][]string{
		{"number", strconv.FormatInt(d.QuarantineSeq, 10)},
		{"state", state(d.Resolution, d.EventSeq)},
		{"reason", plain(d.Reason)},
		{"tenant", tenantName(d.ContextIdentifier)},
		{"received", when(time.Now(), d.ReceivedAt)},
		{"deliveries", fmt.Sprint(d.Deliveries)},
		{"attempts", fmt.Sprint(d.Attempts)},
	}
	if d.ResolvedAt != nil {
		rows = append(rows, []string{"resolved", when(time.Now(), *d.ResolvedAt)})
	}
	if d.BytesRemovedAt != nil {
		rows = append(rows, []string{"bytes removed", when(time.Now(), *d.BytesRemovedAt)})
	}
	if err := writeTable(w, rows); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		for _, value := range d.Headers[name] {
			fmt.Fprintf(w, "%s: %s\n", plain(name), plain(value))
		}
	}
	fmt.Fprintln(w)
	for line := range strings.Lines(string(d.Body)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			line = plain(line)
		}
		fmt.Fprintln(w, line)
	}
	return nil
}

// quarantineRetryCmd retries entries.
type quarantineRetryCmd struct {
	Number []int64 `arg:"" optional:"" help:"The entries' numbers."`
	All    bool    `help:"Retry every open entry."`
	DatabaseFlags
}

// Run retries each entry and says what came of it. One that can't be understood
// yet stays open and fails the command, after the others have had their turn.
func (q *quarantineRetryCmd) Run(ctx context.Context, call *invocation) error {
	if q.All == (len(q.Number) > 0) {
		return misused("give the entries' numbers, or --all")
	}
	return withMirror(ctx, call, func(pool *pgxpool.Pool) error {
		numbers := q.Number
		if q.All {
			open, err := quarantine.List(ctx, pool, nil, false)
			if err != nil {
				return err
			}
			for _, e := range open {
				numbers = append(numbers, e.QuarantineSeq)
			}
		}
		return eachEntry(ctx, call, pool, numbers, "retried", quarantine.Retry)
	})
}

// quarantineDiscardCmd closes entries.
type quarantineDiscardCmd struct {
	Number []int64 `arg:"" help:"The entries' numbers."`
	DatabaseFlags
}

// Run closes each entry.
func (q *quarantineDiscardCmd) Run(ctx context.Context, call *invocation) error {
	return withMirror(ctx, call, func(pool *pgxpool.Pool) error {
		return eachEntry(ctx, call, pool, q.Number, "discarded", quarantine.Discard)
	})
}

type resolution func(context.Context, *pgxpool.Pool, int64) error

// eachEntry does one thing to all numbers. What is wrong with an entry does not
// keep the next ones from their turn; a database in trouble does.
func eachEntry(ctx context.Context, call *invocation, pool *pgxpool.Pool, numbers []int64, did string, do resolution) error {
	var outcome error
	for _, number := range numbers {
		var invalid *quarantine.StillInvalidError
		switch err := do(ctx, pool, number); {
		case err == nil:
			fmt.Fprintln(call.stdout, number, did)
		case errors.As(err, &invalid):
			fmt.Fprintln(call.stderr, number, plain(invalid.Error()))
			outcome = errReported
		case errors.Is(err, quarantine.ErrNotFound) || errors.Is(err, quarantine.ErrResolved) || errors.Is(err, quarantine.ErrBodyGone):
			fmt.Fprintf(call.stderr, "contactmirror: %v\n", err)
			outcome = errReported
		default:
			return err
		}
	}
	return outcome
}

// state says what is left to do with an entry.
func state(resolution *string, eventSeq *int64) string {
	switch {
	case resolution != nil:
		return plain(*resolution)
	case eventSeq != nil:
		return "not applied"
	}
	return "not understood"
}

func tenantName(tenant *string) string {
	if tenant == nil {
		return "unknown"
	}
	return plain(*tenant)
}
