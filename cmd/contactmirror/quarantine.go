package main

import (
	"cmp"
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
	if len(d.Signatures) > 1 { // else it is among the headers
		for _, s := range slices.SortedFunc(maps.Keys(d.Signatures), func(a, b string) int {
			return cmp.Or(d.Signatures[a].Compare(d.Signatures[b]), strings.Compare(a, b))
		}) {
			rows = append(rows, []string{"signature", when(time.Now(), d.Signatures[s]) + " " + cmp.Or(plain(s), "none")})
		}
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
	writeBody(w, d.Body)
	return nil
}

// quarantineRetryCmd retries entries.
type quarantineRetryCmd struct {
	Number []int64 `arg:"" optional:"" help:"The entries' numbers."`
	All    bool    `help:"Retry every open entry."`
	SecretFlags
	DatabaseFlags
}

// Help says what is checked.
func (quarantineRetryCmd) Help() string {
	return `An event that could not be applied is queued again; it needs no secret. A delivery that never became an event is read again, as this version understands it, with its Timestamp held against the later of its receipt and now, and the signatures that it came with are verified again: under the tenant that it names now, against all secrets in CONTACTMIRROR_SECRET and CONTACTMIRROR_TENANT_SECRETS_FILE that were valid when each signature first came, expired ones too. One match is enough; without any, the entry stays as it is, also where CONTACTMIRROR_ALLOW_UNSIGNED is set. An entry without a signature, from a time when CONTACTMIRROR_ALLOW_UNSIGNED was set, is taken only where it is set again. If the event has been stored meanwhile, the delivery is recorded as a duplicate of it.`
}

// Run retries each entry and says what came of it. One that can't be understood
// yet, or not verified, stays open and fails the command, after the others have had
// their turn.
func (q *quarantineRetryCmd) Run(ctx context.Context, call *invocation) error {
	if q.All == (len(q.Number) > 0) {
		return misused("give the entries' numbers, or --all")
	}
	config, err := call.config()
	if err != nil {
		return err
	}
	keys, err := presentKeyring(config)
	if err != nil {
		return err
	}
	verifier := quarantine.Verifier{Keyring: keys, AllowUnsigned: config.AllowUnsigned}
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
		retry := func(ctx context.Context, pool *pgxpool.Pool, number int64) error {
			return quarantine.Retry(ctx, pool, call.actor(), number, verifier)
		}
		return eachEntry(ctx, call, pool, numbers, "retried", retry)
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
		discard := func(ctx context.Context, pool *pgxpool.Pool, number int64) error {
			return quarantine.Discard(ctx, pool, call.actor(), number)
		}
		return eachEntry(ctx, call, pool, q.Number, "discarded", discard)
	})
}

type resolution func(context.Context, *pgxpool.Pool, int64) error

// eachEntry does one thing to all numbers. What is wrong with an entry does not
// keep the next ones from their turn; a database in trouble does.
func eachEntry(ctx context.Context, call *invocation, pool *pgxpool.Pool, numbers []int64, did string, do resolution) error {
	var outcome error
	for _, number := range numbers {
		var (
			invalid    *quarantine.StillInvalidError
			unverified *quarantine.UnverifiedError
		)
		switch err := do(ctx, pool, number); {
		case err == nil:
			fmt.Fprintln(call.stdout, number, did)
		case errors.As(err, &invalid):
			fmt.Fprintln(call.stderr, number, plain(invalid.Error()))
			outcome = errReported
		case errors.As(err, &unverified):
			fmt.Fprintf(call.stderr, "%d stays in quarantine: it %s; %s\n", number, unverified, cure(unverified))
			outcome = errReported
		case errors.Is(err, quarantine.ErrNotFound) || errors.Is(err, quarantine.ErrResolved) ||
			errors.Is(err, quarantine.ErrBodyGone) || errors.Is(err, quarantine.ErrBytesGone):
			fmt.Fprintf(call.stderr, "contactmirror: %v\n", err)
			outcome = errReported
		default:
			return err
		}
	}
	return outcome
}

// cure says what lets an entry pass that could not be verified.
func cure(e *quarantine.UnverifiedError) string {
	if e.Unsigned {
		return "if you know where it comes from, set CONTACTMIRROR_ALLOW_UNSIGNED=true for this command; else discard it"
	}
	return "give this command the secret by CONTACTMIRROR_SECRET, or CONTACTMIRROR_TENANT_SECRETS_FILE with the times of an expired one; if it was never that tenant's, discard it"
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
