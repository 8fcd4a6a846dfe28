package quarantine_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/quarantine"
	"contactmirror/internal/signature"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func run(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// until waits for a query to answer want; every change of the rows it asks for
// happens within a poll of the worker.
func until(t *testing.T, db *pgxpool.Pool, query, want string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if err := db.QueryRow(t.Context(), query).Scan(&got); err != nil && !errors.Is(err, pgx.ErrNoRows) {
			t.Fatal(err)
		}
		if got == want {
			return
		}
	}
	t.Fatalf("%s is %q, want %q", query, got, want)
}

const secret = "of the test"

var verifier = quarantine.Verifier{Keyring: signature.NewKeyring([]signature.Secret{{Key: secret}}, nil)}

const poison = `{"EventId":"00000000-0000-0000-0000-000000000001","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.changed",` +
	`"PrimaryKey":7,"ContextIdentifier":"Cust1","FieldValues":{"name":"poison"}}`

const account = `select concat_ws(' ', queued, quarantined, applied, balanced) from event_accounting`

func TestEvent(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `alter table contacts add constraint poison check (name <> 'poison')`); err != nil {
		t.Fatal(err)
	}
	w := mirror.New(db.Pool, slog.New(slog.DiscardHandler), 1)
	in := inbox.New(db.Pool, w.Wake)
	run(t, w.Run)
	run(t, in.Run)
	e, err := event.Parse([]byte(poison), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Put(t.Context(), inbox.Delivery{Body: []byte(poison), ReceivedAt: time.Now(), Event: &e}); err != nil {
		t.Fatal(err)
	}
	until(t, db.Pool, account, "0 1 0 t")
	entries, err := quarantine.List(t.Context(), db.Pool, nil, false)
	if err != nil || len(entries) != 1 || entries[0].EventSeq == nil {
		t.Fatalf("list: %+v, %v", entries, err)
	}
	seq := entries[0].QuarantineSeq

	// In vain, while nothing has been mended: it comes back, and is counted.
	if err := quarantine.Retry(t.Context(), db.Pool, "tester", seq, verifier); err != nil {
		t.Fatal(err)
	}
	until(t, db.Pool, `select attempts::text from quarantined_deliveries where resolved_at is null`, "2")

	if _, err := db.Pool.Exec(t.Context(), `alter table contacts drop constraint poison`); err != nil {
		t.Fatal(err)
	}
	if err := quarantine.Retry(t.Context(), db.Pool, "tester", seq, verifier); err != nil {
		t.Fatal(err)
	}
	until(t, db.Pool, account, "0 0 1 t")
	if err := quarantine.Retry(t.Context(), db.Pool, "tester", seq, verifier); !errors.Is(err, quarantine.ErrResolved) {
		t.Errorf("retry of a resolved entry: %v", err)
	}
}

func TestDiscardedEventGoesOnCounting(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	e, err := event.Parse([]byte(poison), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	err = pgx.BeginFunc(t.Context(), db.Pool, func(tx pgx.Tx) error {
		if _, err := inbox.PutIn(t.Context(), tx, inbox.Delivery{Body: []byte(poison), ReceivedAt: time.Now(), Event: &e}); err != nil {
			return err
		}
		held, err := inbox.LockShards(t.Context(), tx, &inbox.Marks{}, 32, 0)
		if err != nil {
			return err
		}
		claimed, err := inbox.Claim(t.Context(), tx, &inbox.Marks{}, held, 1)
		if err != nil {
			return err
		}
		return inbox.Blame(t.Context(), tx, claimed[0].EventSeq, claimed[0].ReceivedAt, "for the test")
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := quarantine.Discard(t.Context(), db.Pool, "tester", 1); err != nil {
		t.Fatal(err)
	}
	until(t, db.Pool, account, "0 1 0 t")
	if open, err := quarantine.List(t.Context(), db.Pool, nil, false); err != nil || len(open) != 0 {
		t.Errorf("open entries %+v, %v", open, err)
	}
	if all, err := quarantine.List(t.Context(), db.Pool, nil, true); err != nil || len(all) != 1 {
		t.Errorf("all entries %+v, %v", all, err)
	}
	if err := quarantine.Discard(t.Context(), db.Pool, "tester", 2); !errors.Is(err, quarantine.ErrNotFound) {
		t.Errorf("discard of nothing: %v", err)
	}
}

// A delivery that never became an event is read again as this version of the
// program understands it.
func TestDelivery(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	in := inbox.New(db.Pool, func(...string) {})
	run(t, in.Run)
	tenant := "Cust1"
	for _, body := range []string{"{", poison} { // the second as an older version might have refused it
		d := inbox.Delivery{Body: []byte(body), ReceivedAt: time.Now(), Signature: signature.Sign(secret, []byte(body)), Reason: "for the test", Tenant: &tenant}
		result, err := in.Put(t.Context(), d)
		if err != nil || result != inbox.Quarantined {
			t.Fatal(result, err)
		}
	}
	var invalid *quarantine.StillInvalidError
	if err := quarantine.Retry(t.Context(), db.Pool, "tester", 1, verifier); !errors.As(err, &invalid) {
		t.Errorf("retry of garbage: %v", err)
	}
	d, err := quarantine.Show(t.Context(), db.Pool, 1)
	if err != nil || d.Attempts != 2 || !strings.Contains(d.Reason, "not JSON") || string(d.Body) != "{" || d.ResolvedAt != nil {
		t.Errorf("after a retry in vain: %+v, %v", d, err)
	}
	if err := quarantine.Retry(t.Context(), db.Pool, "tester", 2, verifier); err != nil {
		t.Fatal(err)
	}
	until(t, db.Pool, account, "1 0 0 t")
}

// An event whose body is gone is not queued only to fail again.
func TestRetryWithoutABody(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `
		insert into webhook_events (event_seq, context_identifier, event_id, event, primary_key, occurred_at, occurred_ticks, received_at, ignored)
		values (1, 'Cust1', gen_random_uuid(), 'contact.changed', 7, now(), 0, now(), false);
		insert into quarantined_deliveries (received_at, reason, context_identifier, event_seq, body, body_sha256)
		values (now(), 'for the test', 'Cust1', 1, '', '')`); err != nil {
		t.Fatal(err)
	}
	if err := quarantine.Retry(t.Context(), db.Pool, "tester", 1, verifier); !errors.Is(err, quarantine.ErrBodyGone) {
		t.Errorf("retry: %v", err)
	}
	until(t, db.Pool, account, "0 1 0 t")
	if err := quarantine.Discard(t.Context(), db.Pool, "tester", 1); err != nil {
		t.Error(err)
	}
}

// A retry draws a number for the event; one that is taken does not keep it from
// becoming one.
func TestRetry_sequencesBehindTheirTables(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	in := inbox.New(db.Pool, func(...string) {})
	run(t, in.Run)
	tenant := "Cust1"
	other := strings.Replace(poison, "000000000001", "000000000002", 1)
	e, err := event.Parse([]byte(other), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []inbox.Delivery{
		{Body: []byte(other), ReceivedAt: time.Now(), Event: &e},
		{Body: []byte(poison), ReceivedAt: time.Now(), Reason: "for the test", Tenant: &tenant, Signature: signature.Sign(secret, []byte(poison))},
	} {
		if _, err := in.Put(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	db.ResetSequences(t)
	if err := quarantine.Retry(t.Context(), db.Pool, "tester", 1, verifier); err != nil {
		t.Fatal(err)
	}
	until(t, db.Pool, account, "2 0 0 t")
}
