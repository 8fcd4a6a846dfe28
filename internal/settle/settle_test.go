package settle_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/settle"
	"contactmirror/internal/simulator"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var received = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// text is the only value of a query, as text.
func text(t testing.TB, db pg.DB, query string, args ...any) string {
	t.Helper()
	rows, _ := db.Query(context.Background(), query, args...) // CollectExactlyOneRow returns its error
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

// begin begins a transaction that has its id already, as those of the inbox and
// the worker have before they draw a number.
func begin(t *testing.T, db *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	execute(t, tx, `select pg_current_xact_id()`)
	return tx
}

func execute(t testing.TB, db pg.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.Exec(context.Background(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func commit(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// accept puts an event of contact id into the inbox.
func accept(t *testing.T, tx pgx.Tx, id int) {
	t.Helper()
	body := fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.changed","PrimaryKey":%d,"ContextIdentifier":"Cust1"}`, id, id)
	e, err := event.Parse(body, received)
	if err != nil {
		t.Fatal(err)
	}
	if stored, err := inbox.PutIn(t.Context(), tx, inbox.Delivery{Body: body, ReceivedAt: received, Event: &e}); err != nil || stored != inbox.Accepted {
		t.Fatal(stored, err)
	}
}

// apply does to the queue and the log what a worker does with the event of
// contact id.
func apply(t *testing.T, tx pgx.Tx, id int) {
	t.Helper()
	execute(t, tx, `with claimed as (
			delete from sync_queue q using webhook_events e
			where e.event_seq = q.event_seq and e.primary_key = $1
			returning q.shard, e.*
		)
		insert into contact_audit_log (event_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks,
			received_at, recorded_at, changed_columns, unreadable_columns, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain)
		select event_seq, shard, context_identifier, primary_key, event, event_id, occurred_at, occurred_ticks,
			received_at, now(), '{}', '{}', false, 'applied', 'upserted', 0, 'webhook', 1, decode(repeat('00', 36), 'hex')
		from claimed`, id)
}

// settled moves the horizon as far as it goes, seals up to it, and returns how
// many rows of each log lie above it.
func settled(t *testing.T, db *pgxpool.Pool) string {
	t.Helper()
	for range 3 {
		execute(t, db, `select * from advance_log_horizon()`)
	}
	execute(t, db, `select seal_accounts(1000)`)
	if same := text(t, db, `select ((s.event_seq, s.audit_seq) = (h.event_seq, h.audit_seq))::text from accounting_seal s, log_horizon h`); same != "true" {
		t.Error("the seal is not at the horizon")
	}
	return text(t, db, `select concat_ws(' ',
		(select count(*) from webhook_events e where e.event_seq > h.event_seq),
		(select count(*) from contact_audit_log a where a.audit_seq > h.audit_seq)) from log_horizon h`)
}

// settleAll waits until everything is settled and sealed: transactions of other
// tests, in other databases of the server, hold the horizon back too.
func settleAll(t *testing.T, db *pgxpool.Pool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); settled(t, db) != "0 0"; {
		if time.Now().After(deadline) {
			t.Fatal("the horizon does not reach the ends of the logs")
		}
	}
}

const account = `select concat_ws(' ', accepted, queued, applied, balanced) from event_accounting`

// The rule of the horizon: while a transaction that drew a lower number can still
// commit, nothing above it is settled, be its id lower or higher than theirs
// whose rows can be seen.
//
// Not parallel: transactions of other tests would hold the horizon back as well,
// and hide a fault.
func TestNothingIsSettledWhileALowerNumberCanStillCommit(t *testing.T) {
	for name, olderHolds := range map[string]bool{"the older transaction holds": true, "the newer transaction holds": false} {
		t.Run(name, func(t *testing.T) {
			db := pgtest.New(t).Unchained(t)
			first := begin(t, db.Pool)
			accept(t, first, 1)
			apply(t, first, 1)
			commit(t, first)
			settleAll(t, db.Pool)
			older, newer := begin(t, db.Pool), begin(t, db.Pool)
			holder, other := older, newer
			if !olderHolds {
				holder, other = newer, older
			}
			accept(t, holder, 2) // the lower number
			apply(t, holder, 2)
			accept(t, other, 3)
			apply(t, other, 3)
			commit(t, other)
			if above := settled(t, db.Pool); above != "1 1" {
				t.Errorf("while a lower number is held, above the horizon are %s rows, want 1 1", above)
			}
			if got := text(t, db.Pool, account); got != "2 0 2 t" {
				t.Errorf("account %q while it is held", got)
			}
			commit(t, holder)
			if got := text(t, db.Pool, account); got != "3 0 3 t" {
				t.Errorf("account %q after it was committed", got)
			}
			settleAll(t, db.Pool)
			if got := text(t, db.Pool, account); got != "3 0 3 t" {
				t.Errorf("account %q after it was sealed", got)
			}
			recounted(t, db.Pool)
		})
	}
}

func recounted(t *testing.T, db *pgxpool.Pool) {
	t.Helper()
	if tenants, err := settle.Recount(t.Context(), db); err != nil || len(tenants) > 0 {
		t.Errorf("recounted: %q differ, %v", tenants, err)
	}
}

// A report that began before a seal goes on to see what it saw.
func TestAnOldSnapshotSeesItsOwnAccount(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t).Unchained(t)
	first := begin(t, db.Pool)
	accept(t, first, 1)
	accept(t, first, 2)
	apply(t, first, 1)
	commit(t, first)
	reader, err := db.Pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Rollback(context.Background()) }()
	if got := text(t, reader, account); got != "2 1 1 t" {
		t.Fatalf("account %q", got)
	}
	second := begin(t, db.Pool)
	apply(t, second, 2)
	accept(t, second, 3)
	commit(t, second)
	settleAll(t, db.Pool) // a reader holds nothing back
	if got := text(t, db.Pool, account); got != "3 1 2 t" {
		t.Errorf("account %q, want 3 1 2 t", got)
	}
	if got := text(t, reader, account); got != "2 1 1 t" {
		t.Errorf("the old snapshot's account has become %q", got)
	}
}

// The seal counts what is wrong as it is: it hides nothing.
func TestRecountFindsAWrongCount(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	tx := begin(t, db.Pool)
	accept(t, tx, 1)
	commit(t, tx)
	settleAll(t, db.Pool)
	execute(t, db.Pool, `update sealed_accounts set accepted = accepted + 1`)
	if tenants, err := settle.Recount(t.Context(), db.Pool); err != nil || !cmp.Equal(tenants, []string{"Cust1"}) {
		t.Errorf("recounted: %q, %v, want Cust1", tenants, err)
	}
	if got := text(t, db.Pool, account); got != "2 1 0 f" {
		t.Errorf("account %q, want it not to add up", got)
	}
	execute(t, db.Pool, `update sealed_accounts set accepted = accepted - 1`)
}

// A note that another cluster made, and that came by dump, is made anew.
func TestANoteOfAnotherClusterIsMadeAnew(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	tx := begin(t, db.Pool)
	accept(t, tx, 1)
	commit(t, tx)
	execute(t, db.Pool, `update log_horizon set noted_by = '9000000000000'`)
	settleAll(t, db.Pool)
}

func TestTheHorizonIsNotMovedByATransactionThatHasWritten(t *testing.T) {
	t.Parallel()
	tx := begin(t, pgtest.New(t).Pool)
	_, err := tx.Exec(t.Context(), `select advance_log_horizon()`)
	if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "25001" {
		t.Errorf("got %v, want it refused", err)
	}
}

// In the middle of traffic, with seals of a few rows all the time, every
// snapshot's account adds up, and so do those of snapshots that grow old.
func TestTheAccountAddsUpInTheMiddleOfTraffic(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	lives := simulator.NewLives(1, []string{"", "Cust1", "Cust2", "Cust3"}, 60, received.AddDate(0, -1, 0))
	const events = 4000
	bodies := make(chan []byte, events)
	for range events {
		bodies <- lives.Next()
	}
	close(bodies)
	pool, err := pg.Open(db.URL, 40)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	worker := mirror.New(pool, slog.New(slog.DiscardHandler), 4)
	box := inbox.New(pool, worker.Wake)
	ctx, stop := context.WithCancel(t.Context())
	var running, delivering sync.WaitGroup
	running.Go(func() { _ = worker.Run(ctx) })
	running.Go(func() { _ = box.Run(ctx) })
	for range 16 {
		delivering.Go(func() {
			for body := range bodies {
				e, err := event.Parse(body, received)
				if err == nil {
					_, err = box.Put(ctx, inbox.Delivery{Body: body, ReceivedAt: received, Event: &e})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	// From here on nothing stops the test's goroutines but ctx.
	var seals, reads atomic.Int64
	for range 2 {
		running.Go(func() {
			for ctx.Err() == nil {
				_, err := pool.Exec(ctx, `select * from advance_log_horizon()`)
				if err == nil {
					var counted *int64
					if err = pool.QueryRow(ctx, `select seal_accounts(97)`).Scan(&counted); err == nil && counted != nil && *counted > 0 {
						seals.Add(1)
					}
				}
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		running.Go(func() {
			for ctx.Err() == nil {
				err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
					var before, after, unbalanced, counted, total string
					for _, value := range []*string{&before, &after} {
						if err := tx.QueryRow(ctx, `select coalesce(string_agg(e::text, ' ' order by context_identifier), '') from event_accounting e`).Scan(value); err != nil {
							return err
						}
						if _, err := tx.Exec(ctx, `select pg_sleep(0.02)`); err != nil { // the snapshot grows old
							return err
						}
					}
					err := tx.QueryRow(ctx, `select coalesce(string_agg(e::text, ' ') filter (where not balanced), ''),
						coalesce(sum(accepted), 0)::text, (select count(*) from webhook_events)::text from event_accounting e`).Scan(&unbalanced, &total, &counted)
					if err != nil {
						return err
					}
					if before != after || unbalanced != "" || total != counted {
						t.Errorf("in one snapshot: %s, then %s; not balanced: %s; accepted %s of %s", before, after, unbalanced, total, counted)
					}
					reads.Add(1)
					return nil
				})
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	delivering.Wait()
	for deadline := time.Now().Add(time.Minute); text(t, db.Pool, `select concat_ws(' ', sum(queued), max(s.event_seq) >= max(e.event_seq), max(s.audit_seq) >= max(a.audit_seq))
		from event_accounting, accounting_seal s, (select max(event_seq) as event_seq from webhook_events) e, (select max(audit_seq) as audit_seq from contact_audit_log) a`) != "0 t t"; {
		if time.Now().After(deadline) {
			t.Fatal("not everything was applied and sealed")
		}
	}
	stop()
	running.Wait()
	recounted(t, db.Pool)
	if got := text(t, db.Pool, `select concat_ws(' ', sum(accepted), bool_and(balanced)) from event_accounting`); got != fmt.Sprint(events, " t") {
		t.Errorf("account %q, want %d t", got, events)
	}
	if seals.Load() < 20 || reads.Load() < 10 {
		t.Errorf("%d seals and %d reads: the test tests little", seals.Load(), reads.Load())
	}
}

// fill stores n events by SQL, applied, of ten tenants.
func fill(t testing.TB, db *pgxpool.Pool, n int) {
	t.Helper()
	for from := 1; from <= n; from += 500_000 {
		to := min(n, from+499_999)
		execute(t, db, `insert into webhook_events (context_identifier, event_id, event, entity, primary_key, occurred_at, occurred_ticks, received_at, ignored)
			select 'Cust' || i % 10, ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, 'contact.changed', 'contact', 1 + i % 1000000, now(), i, now(), false
			from generate_series($1::bigint, $2::bigint) i`, from, to)
		execute(t, db, `insert into contact_audit_log (event_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks,
				received_at, recorded_at, changed_columns, field_values, unreadable_columns, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain)
			select i, i % 32, 'Cust' || i % 10, 1 + i % 1000000, 'contact.changed', ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, now(), i,
				now(), now(), '{name,updated}', '{"name": "a company"}', '{}', false, 'applied', 'upserted', 0, 'webhook', 1, decode(repeat('00', 36), 'hex')
			from generate_series($1::bigint, $2::bigint) i`, from, to)
	}
}

// traced counts the statements of a pool.
type traced struct{ statements atomic.Int64 }

func (c *traced) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.statements.Add(1)
	return ctx
}
func (*traced) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A settler catches up with old events in steps, leaves a short tail, and then
// asks for nothing until it is woken.
func TestSettlerCatchesUpAndRests(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t).Unchained(t)
	fill(t, db.Pool, 45_000)
	config := db.Pool.Config()
	var trace traced
	config.ConnConfig.Tracer = &trace
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	settler := settle.New(pool, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- settler.Run(ctx) }()
	await := func(want string) {
		t.Helper()
		const query = `select concat_ws(' ', h.event_seq, h.audit_seq, h.event_seq - s.event_seq < 10000, h.audit_seq - s.audit_seq < 10000)
			from log_horizon h, accounting_seal s`
		for deadline := time.Now().Add(time.Minute); text(t, db.Pool, query) != want; {
			if time.Now().After(deadline) {
				t.Fatalf("horizon and seal %q, want %q", text(t, db.Pool, query), want)
			}
		}
	}
	await("45000 45000 t t")
	recounted(t, db.Pool)
	resting := trace.statements.Load()
	if got := text(t, db.Pool, `select concat_ws(' ', count(*), sum(accepted), bool_and(balanced)) from event_accounting`); got != "10 45000 t" {
		t.Errorf("account %q", got)
	}
	execute(t, db.Pool, `select pg_sleep(1)`)
	if more := trace.statements.Load() - resting; more > 1 { // the last pass may not have been over
		t.Errorf("%d statements at rest", more)
	}
	tx := begin(t, db.Pool)
	accept(t, tx, 2_000_000)
	commit(t, tx)
	settler.Wake()
	await("45001 45000 t t")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The view reads the tail of a log by its key, whatever the planner knows, and
// does not compile itself.
func TestOnlyTheTailsAreRead(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t).Unchained(t)
	execute(t, db.Pool, `alter table webhook_events set (autovacuum_enabled = off)`)
	execute(t, db.Pool, `alter table contact_audit_log set (autovacuum_enabled = off)`)
	fill(t, db.Pool, 100_000)
	for text(t, db.Pool, `select audit_seq::text from log_horizon`) != "100000" {
		execute(t, db.Pool, `select * from advance_log_horizon()`)
	}
	execute(t, db.Pool, `select seal_accounts(95000)`)
	for name, learn := range map[string]string{"without statistics": `select`, "with statistics": `analyze`} {
		execute(t, db.Pool, learn)
		rows, _ := db.Pool.Query(t.Context(), `explain (analyze, buffers) select * from event_accounting`)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		plan := strings.Join(lines, "\n")
		// The functions that read the tails have plans of their own, which are not shown.
		var hit, read int
		if buffers := regexp.MustCompile(`Buffers: shared hit=(\d+)(?: read=(\d+))?`).FindStringSubmatch(plan); buffers == nil {
			t.Errorf("%s: no blocks", name)
		} else {
			hit, _ = strconv.Atoi(buffers[1])
			read, _ = strconv.Atoi(buffers[2])
		}
		if blocks := hit + read; blocks > 1000 { // the logs have several thousand
			t.Errorf("%s: read %d blocks", name, blocks)
		}
		for _, never := range []string{"Seq Scan on webhook_events", "Seq Scan on contact_audit_log", "JIT", "Parallel"} {
			if strings.Contains(plan, never) {
				t.Errorf("%s: %s", name, never)
			}
		}
		if t.Failed() {
			t.Fatal(plan)
		}
	}
	if got := text(t, db.Pool, `select concat_ws(' ', sum(accepted), sum(applied), bool_and(balanced)) from event_accounting`); got != "100000 100000 t" {
		t.Errorf("account %q", got)
	}
}

// A mistake in the program does not go unnoticed: without the settler the change
// feed stands still.
func TestSettler_logsAProgrammingError(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	execute(t, db.Pool, "alter function advance_log_horizon() rename to unknown_to_the_program")
	var log pgtest.Log
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- settle.New(db.Pool, log.Logger()).Run(ctx) }()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), "Moves the horizon of the two logs"); {
		if time.Now().After(deadline) {
			t.Fatal("not logged within 20 s")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestSettler_healthTellsWhetherPassesSucceed(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	tx := begin(t, db.Pool)
	accept(t, tx, 1)
	commit(t, tx)
	execute(t, db.Pool, `alter function advance_log_horizon() rename to hidden`)
	settler := settle.New(db.Pool, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- settler.Run(ctx) }()
	await := func(what string, ok func(settle.Health) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !ok(settler.Health()); {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, settler.Health())
			}
		}
	}
	began := time.Now()
	await("failing", func(h settle.Health) bool { return h.Err != nil })
	first := settler.Health()
	if first.Since.IsZero() || !first.AdvancedAt.IsZero() {
		t.Errorf("while it fails: %+v", first)
	}
	await("failing again", func(h settle.Health) bool { return h.Err != nil && h.Err != first.Err }) //nolint:errorlint // another pass's
	if since := settler.Health().Since; !since.Equal(first.Since) {
		t.Errorf("failing since %v, then since %v", first.Since, since)
	}
	execute(t, db.Pool, `alter function hidden() rename to advance_log_horizon`)
	await("advanced", func(h settle.Health) bool { return h.Err == nil && h.AdvancedAt.After(began) })
	if h := settler.Health(); !h.Since.IsZero() {
		t.Errorf("after it succeeded: %+v", h)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
