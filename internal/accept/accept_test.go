package accept_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/accept"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/signature"
	"contactmirror/internal/spool"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var received = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// run runs f until the returned function is called, or the test ends.
func run(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// rig is a gate on a database and a directory.
type rig struct {
	*accept.Gate
	spool *spool.Spool
	stop  func()
}

func start(t *testing.T, db *pgtest.DB, dir string, limit int64) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := spool.Open(dir, limit, log)
	if err != nil {
		t.Fatal(err)
	}
	in := inbox.New(db.Pool, func(...string) {})
	g := accept.New(accept.Inbox{Put: in.Put, Probe: in.Probe}, s, log)
	stopInbox, stopSpool, stopGate := run(t, in.Run), run(t, s.Run), run(t, g.Run)
	return &rig{g, s, func() { stopGate(); stopInbox(); stopSpool() }}
}

func delivery(t *testing.T, n int) inbox.Delivery {
	t.Helper()
	body := fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.changed",`+
		`"PrimaryKey":%d,"ContextIdentifier":"Cust1"}`, n, 1+n%7)
	e, err := event.Parse(body, received)
	if err != nil {
		t.Fatal(err)
	}
	return inbox.Delivery{Body: body, ReceivedAt: received, Event: &e}
}

// until waits for a condition that the background brings about.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for again := time.NewTicker(5 * time.Millisecond); !condition(); {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func count(t *testing.T, db *pgtest.DB, query string) (n int) {
	t.Helper()
	if err := db.Pool.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// While the database hangs everything is answered in time, all but the first
// few at once; afterwards all of it is in the inbox, once.
func TestOutage(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	r := start(t, db, t.TempDir(), 64<<20)
	until(t, "the inbox takes a delivery", func() bool {
		got, err := r.Accept(t.Context(), delivery(t, 0))
		return err == nil && got != accept.Spooled
	})
	outage := hang(t, db)
	const n = 400
	var (
		accepts sync.WaitGroup
		mu      sync.Mutex
		longest time.Duration
	)
	for i := range n {
		d := delivery(t, 1+i)
		accepts.Go(func() {
			began := time.Now()
			got, err := r.Accept(context.Background(), d)
			if err != nil || got != accept.Spooled {
				t.Error(got, err)
			}
			mu.Lock()
			defer mu.Unlock()
			longest = max(longest, time.Since(began))
		})
	}
	accepts.Wait()
	if longest > 2500*time.Millisecond { // two seconds, and some for a machine that tests share
		t.Errorf("the longest answer took %v", longest)
	}
	began := time.Now()
	if got, err := r.Accept(t.Context(), delivery(t, n+1)); got != accept.Spooled || err != nil {
		t.Error(got, err)
	}
	if took := time.Since(began); took > inbox.Timeout/2 {
		t.Errorf("with the database known to be away an answer took %v", took)
	}
	garbled := inbox.Delivery{Body: []byte("{\x00"), ReceivedAt: received, Reason: "is not JSON", Headers: http.Header{"X-A": {"b"}}}
	if got, err := r.Accept(t.Context(), garbled); got != accept.Spooled || err != nil {
		t.Error(got, err)
	}
	if _, away := r.AwaySince(); !away {
		t.Error("the inbox does not count as away")
	}
	outage()
	until(t, "the spool is drained", func() bool { return r.spool.State().Records == 0 })
	until(t, "the inbox is back", func() bool { _, away := r.AwaySince(); return !away })
	if got := count(t, db, `select count(*) from webhook_events`); got != n+2 {
		t.Errorf("%d events, want %d", got, n+2)
	}
	if got := count(t, db, `select count(*) from quarantined_deliveries where reason = 'is not JSON' and headers = '{"X-A": ["b"]}' and body = '\x7b00'`); got != 1 {
		t.Errorf("%d quarantined, want 1", got)
	}
	until(t, "the inbox takes a delivery", func() bool {
		got, err := r.Accept(t.Context(), delivery(t, n+2))
		return err == nil && got != accept.Spooled
	})
}

// hang makes the database hang until the returned function is called.
func hang(t *testing.T, db *pgtest.DB) (end func()) {
	t.Helper()
	tx, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `lock table webhook_events in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := tx.Rollback(context.Background()); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
			t.Error(err)
		}
	})
}

// What one process has spooled, the next one drains.
func TestRestartDuringAnOutage(t *testing.T) {
	t.Parallel()
	db, dir := pgtest.New(t), t.TempDir()
	outage := hang(t, db)
	const restarts = 3
	for i := range restarts {
		r := start(t, db, dir, 64<<20)
		if got, err := r.Accept(t.Context(), delivery(t, i)); got != accept.Spooled || err != nil {
			t.Fatal(got, err)
		}
		r.stop()
	}
	outage()
	r := start(t, db, dir, 64<<20)
	until(t, "the spool is drained", func() bool { return r.spool.State().Records == 0 })
	if got := count(t, db, `select count(*) from webhook_events`); got != restarts {
		t.Errorf("%d events, want %d", got, restarts)
	}
}

// A delivery is charged to its own tenant, understood or not. One whose tenant can't be
// read has no tenant in the spool, and is not the empty tenant's.
func TestGate_chargesTheTenant(t *testing.T) {
	t.Parallel()
	s, err := spool.Open(t.TempDir(), 64<<20, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	run(t, s.Run)
	away := func(context.Context, inbox.Delivery) (inbox.Result, error) { return "", errors.New("away") }
	g := accept.New(accept.Inbox{Put: away}, s, slog.New(slog.DiscardHandler))
	name, none := "Cust1", ""
	ofNone := delivery(t, 2)
	ofNone.Event.Tenant = ""
	for want, d := range map[*string]inbox.Delivery{
		nil:          {Body: []byte(`{"ContextIdentifier":5}`), ReceivedAt: received, Reason: "no tenant"},
		&none:        {Body: []byte(`{}`), ReceivedAt: received, Reason: "no event", Tenant: &none},
		&name:        {Body: []byte(`{"ContextIdentifier":"Cust1"}`), ReceivedAt: received, Reason: "no event", Tenant: &name},
		new("Cust1"): delivery(t, 1),
		new(""):      ofNone,
	} {
		if got, err := g.Accept(t.Context(), d); got != accept.Spooled || err != nil {
			t.Fatal(got, err)
		}
		records, err := s.Peek(t.Context())
		if err != nil || len(records) != 1 {
			t.Fatal(records, err)
		}
		if diff := cmp.Diff(want, records[0].Tenant); diff != "" {
			t.Errorf("%s (-want +got):\n%s", d.Body, diff)
		}
		if got := accept.Decode(records[0]); d.Event == nil {
			if diff := cmp.Diff(d, got); diff != "" {
				t.Errorf("%s read back (-want +got):\n%s", d.Body, diff)
			}
		}
		damaged := records[0]
		damaged.Payload = []byte("\xff")
		if got := accept.Decode(damaged); got.Reason == "" || !cmp.Equal(got.Tenant, want) {
			t.Errorf("%s, of which the payload can't be read: %+v", d.Body, got)
		}
		s.Taken(1)
	}
}

// With no room in the spool either, nothing is promised, and the return of the
// inbox is noticed all the same.
func TestNeitherCanTakeIt(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	r := start(t, db, t.TempDir(), 10)
	outage := hang(t, db)
	if got, err := r.Accept(t.Context(), delivery(t, 1)); !errors.Is(err, spool.ErrFull) {
		t.Errorf("%s, %v, want ErrFull", got, err)
	}
	outage()
	until(t, "the inbox is back", func() bool { _, away := r.AwaySince(); return !away })
	if got, err := r.Accept(t.Context(), delivery(t, 1)); err != nil || got != inbox.Accepted && got != inbox.Duplicate {
		t.Error(got, err)
	}
}

// A mistake in the program keeps deliveries in the spool, and says so; what it kept is
// drained once a program without it runs.
func TestGate_keepsDeliveriesThroughAProgrammingError(t *testing.T) {
	t.Parallel()
	db, dir := pgtest.New(t), t.TempDir()
	broken := db.Broken(t, "Stores the events that are new")
	var log pgtest.Log
	s, err := spool.Open(dir, 64<<20, log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	in := inbox.New(broken.Pool, func(...string) {})
	g := accept.New(accept.Inbox{Put: in.Put, Probe: in.Probe}, s, log.Logger())
	for _, f := range []func(context.Context) error{in.Run, s.Run, g.Run} {
		run(t, f)
	}
	const n = 3
	for i := range n {
		if got, err := g.Accept(t.Context(), delivery(t, i)); got != accept.Spooled || err != nil {
			t.Fatal(got, err)
		}
	}
	until(t, "draining is tried again", func() bool { return broken.Attempts.Load() > n })
	if s.State().Records != n {
		t.Errorf("the spool holds %d deliveries, want %d", s.State().Records, n)
	}
	for _, want := range []string{"the inbox is away", "can't drain", "Stores the events that are new"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
	broken.Repair()
	until(t, "the spool is drained", func() bool { return s.State().Records == 0 })
	if got := count(t, db, `select count(*) from webhook_events`); got != n {
		t.Errorf("%d events, want %d", got, n)
	}
}

// What was verified stays so through the spool: its signature, and who vouched for it,
// are kept for a retry from quarantine, also where the database refuses the event later.
func TestGate_spoolKeepsTheSignature(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `alter table webhook_events add constraint poison check (primary_key <> 2)`); err != nil {
		t.Fatal(err)
	}
	outage := hang(t, db)
	r := start(t, db, t.TempDir(), 64<<20)
	refused, garbled := delivery(t, 1), inbox.Delivery{Body: []byte("{"), ReceivedAt: received, Reason: "is not JSON", Headers: http.Header{"X-A": {"b"}}}
	refused.Signature, garbled.Signature = "of the event", "of the rest"
	garbled.Vouchers = signature.Vouchers{Tenants: []string{"*", `A "\ tenant`}, Except: []string{}}
	for _, d := range []inbox.Delivery{refused, garbled} {
		if got, err := r.Accept(t.Context(), d); got != accept.Spooled || err != nil {
			t.Fatal(got, err)
		}
	}
	outage()
	until(t, "the spool is drained", func() bool { return r.spool.State().Records == 0 })
	for signature, want := range map[string]string{
		"of the event": `context_identifier = 'Cust1' and headers = '{"X-Superoffice-Signature": ["of the event"]}'`,
		"of the rest":  `context_identifier is null and vouched_for = array['*', 'A "\ tenant'] and vouched_except = '{}' and headers = '{"X-A": ["b"], "X-Superoffice-Signature": ["of the rest"]}'`,
	} {
		if got := count(t, db, `select count(*) from quarantined_deliveries where `+want); got != 1 {
			t.Errorf("%d entries with the signature %s, want 1", got, signature)
		}
	}
	if got := count(t, db, `select count(*) from event_accounting where not balanced`); got != 0 {
		t.Errorf("%d tenants do not balance", got)
	}
}

// breaks makes the database fail to store events that match a condition, as if the
// statement were wrong.
func breaks(t *testing.T, db *pgtest.DB, condition, code string) (mend func()) {
	t.Helper()
	execute(t, db, `create function broken() returns trigger language plpgsql as $$
		begin
			if `+condition+` then raise exception 'no such thing' using errcode = '`+code+`'; end if;
			return new;
		end $$`,
		`create trigger broken before insert on webhook_events for each row execute function broken()`)
	return func() {
		t.Helper()
		execute(t, db, `drop trigger broken on webhook_events`, `drop function broken()`)
	}
}

// A delivery that always meets a programming error stays in the spool, and those
// after it drain, in its segment and in later ones; meanwhile the inbox takes new
// ones. Once the error is mended the delivery drains too.
func TestGate_programmingErrorOfOneDelivery(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	r := start(t, db, t.TempDir(), 64<<20)
	mend := breaks(t, db, `new.primary_key = 3`, "42P01") // of deliveries 2 and 9
	outage := hang(t, db)
	for n := range 12 {
		if got, err := r.Accept(t.Context(), delivery(t, n)); got != accept.Spooled || err != nil {
			t.Fatal(got, err)
		}
	}
	outage()
	until(t, "the others are drained", func() bool { return r.spool.State().Records == 2 })
	for n := 12; n < 20; n++ { // 16 is another one
		if _, err := r.Accept(t.Context(), delivery(t, n)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the others are drained again", func() bool { return r.spool.State().Records == 3 })
	until(t, "the inbox takes a delivery", func() bool {
		got, err := r.Accept(t.Context(), delivery(t, 20))
		return err == nil && got != accept.Spooled
	})
	if state := r.spool.State(); state.MovedAside.Files != 0 {
		t.Errorf("%+v, want nothing moved aside", state)
	}
	if got := count(t, db, `select count(*) from webhook_events`); got != 18 {
		t.Errorf("%d events, want 18", got)
	}
	mend()
	until(t, "the spool is drained", func() bool { return r.spool.State().Records == 0 })
	if got := count(t, db, `select count(*) from webhook_events`); got != 21 {
		t.Errorf("%d events, want 21", got)
	}
	balanced(t, db)
}

// A delivery that waits for somebody's lock, or that takes longer than others, stays in
// the spool, and those before and after it drain; the inbox takes new ones.
func TestGate_outageOfOneDelivery(t *testing.T) {
	t.Parallel()
	for name, block := range map[string]func(*testing.T, *pgtest.DB) (end func()){
		"the same event stored by another transaction": func(t *testing.T, db *pgtest.DB) func() {
			tx, err := db.Pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), `insert into webhook_events (context_identifier, event_id, event, primary_key, occurred_at, occurred_ticks, received_at, ignored)
				values ('Cust1', '00000000-0000-0000-0000-000000000002', 'contact.changed', 3, now(), 0, now(), false)`); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := tx.Rollback(context.Background()); err != nil {
					t.Error(err)
				}
			}
		},
		"out of time": func(t *testing.T, db *pgtest.DB) func() {
			return breaks(t, db, `new.primary_key = 3 and pg_sleep(0.2) is not null`, "57014")
		},
		"out of memory": func(t *testing.T, db *pgtest.DB) func() { return breaks(t, db, `new.primary_key = 3`, "53200") },
		"a lock":        func(t *testing.T, db *pgtest.DB) func() { return breaks(t, db, `new.primary_key = 3`, "55P03") },
		"a broken page": func(t *testing.T, db *pgtest.DB) func() { return breaks(t, db, `new.primary_key = 3`, "58030") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			r := start(t, db, t.TempDir(), 64<<20)
			end := block(t, db)
			for _, n := range []int{2, 0, 1, 3, 4, 5, 6} {
				if got, err := r.Accept(t.Context(), delivery(t, n)); err != nil || n == 2 && got != accept.Spooled {
					t.Fatal(got, err)
				}
			}
			until(t, "the others are drained", func() bool { return r.spool.State().Records == 1 })
			until(t, "the inbox takes a delivery", func() bool {
				got, err := r.Accept(t.Context(), delivery(t, 7))
				return err == nil && got != accept.Spooled
			})
			end()
			until(t, "the spool is drained", func() bool { return r.spool.State().Records == 0 })
			if got := count(t, db, `select count(*) from webhook_events`); got != 8 {
				t.Errorf("%d events, want 8", got)
			}
			balanced(t, db)
		})
	}
}

// With a programming error that all deliveries meet, all of them stay in the spool
// until it is mended, and none is moved aside.
func TestGate_programmingErrorOfAllDeliveries(t *testing.T) {
	t.Parallel()
	db, dir := pgtest.New(t), t.TempDir()
	mend := breaks(t, db, `true`, "42P01")
	r := start(t, db, dir, 64<<20)
	for n := range 5 {
		if got, err := r.Accept(t.Context(), delivery(t, n)); got != accept.Spooled || err != nil {
			t.Fatal(got, err)
		}
	}
	if _, away := r.AwaySince(); !away {
		t.Error("the inbox does not count as away")
	}
	r.stop()
	r = start(t, db, dir, 64<<20)
	if got, err := r.Accept(t.Context(), delivery(t, 5)); got != accept.Spooled || err != nil {
		t.Fatal(got, err)
	}
	if state := r.spool.State(); state.Records != 6 || state.MovedAside.Files != 0 {
		t.Errorf("%+v, want all 6 in the spool", state)
	}
	mend()
	until(t, "the spool is drained", func() bool { return r.spool.State().Records == 0 })
	if got := count(t, db, `select count(*) from webhook_events`); got != 6 {
		t.Errorf("%d events, want 6", got)
	}
	balanced(t, db)
}

// The largest delivery that is received fits into the spool.
func TestGate_largestDelivery(t *testing.T) {
	t.Parallel()
	s, err := spool.Open(t.TempDir(), 1<<30, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	run(t, s.Run)
	away := func(context.Context, inbox.Delivery) (inbox.Result, error) { return "", errors.New("away") }
	g := accept.New(accept.Inbox{Put: away}, s, slog.New(slog.DiscardHandler))
	d := inbox.Delivery{
		Body: []byte(strings.Repeat("cmr\x01", accept.MaxBody/4)), ReceivedAt: received, Reason: "is not JSON",
		Headers: http.Header{"X-A": {strings.Repeat("\t", 36<<10)}},
	}
	if _, err := g.Accept(t.Context(), d); errors.Is(err, spool.ErrTooLarge) { // a slow disk may take too long for it
		t.Error(err)
	}
	d.Body = append(d.Body, make([]byte, 2<<20)...)
	if _, err := g.Accept(t.Context(), d); !errors.Is(err, spool.ErrTooLarge) {
		t.Errorf("a larger delivery: %v, want %v", err, spool.ErrTooLarge)
	}
}
