package feed_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/event"
	"contactmirror/internal/feed"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/settle"
	"contactmirror/internal/simulator"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var (
	received = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	quiet    = slog.New(slog.DiscardHandler)
)

// rig is all that makes changes, on a database of its own.
type rig struct {
	*pgtest.DB
	t     testing.TB
	inbox *inbox.Inbox
	feed  *feed.Feed
	// settle has the horizon moved, which a batch of the worker does by itself.
	settle func()
	stop   func()
}

func newRig(t testing.TB, workers int) *rig {
	t.Helper()
	return rigOn(t, pgtest.New(t), workers)
}

func rigOn(t testing.TB, db *pgtest.DB, workers int) *rig {
	t.Helper()
	pool, err := pg.Open(db.URL, 30)
	if err != nil {
		t.Fatal(err)
	}
	worker, settler := mirror.New(pool, quiet, workers), settle.New(pool, quiet)
	worker.Observe = func(mirror.Batch) { settler.Wake() }
	r := &rig{DB: db, t: t, inbox: inbox.New(pool, worker.Wake), feed: feed.New(pool, quiet), settle: settler.Wake, stop: pool.Close}
	t.Cleanup(func() { r.stop() })
	r.run(r.inbox.Run)
	r.run(worker.Run)
	r.run(settler.Run)
	r.run(r.feed.Run)
	return r
}

// run runs f until the test ends.
func (r *rig) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	before := r.stop
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
		before()
	})
}

func (r *rig) deliver(bodies ...[]byte) {
	r.t.Helper()
	for _, body := range bodies {
		e, err := event.Parse(body, received)
		if err == nil {
			_, err = r.inbox.Put(context.Background(), inbox.Delivery{Body: body, ReceivedAt: received, Event: &e})
		}
		if err != nil {
			r.t.Error(err)
		}
	}
}

// next waits for changes after a cursor.
func (r *rig) next(after feed.Cursor, limit int) ([]feed.Change, feed.Cursor) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		found, next, err := r.feed.Read(ctx, after, limit)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(found) > 0 {
			return found, next
		}
		after = next
		r.feed.Wait(ctx, after)
	}
	r.t.Fatalf("no change after %v", after)
	return nil, after
}

// Consumers learn of an erasure and of its lifting, in order with what happens to the
// contact, and that these have no outcome.
func TestFeed_tellsOfErasures(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	key, author := contact.Key{Tenant: "Cust1", ID: 7}, erasure.Author{Actor: "tester"}
	r.deliver(body("contact.created", 1, `,"FieldValues":{"name":"one"}`))
	_, after := r.next(feed.Cursor{}, 10)
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error {
			_, err := erasure.Erase(t.Context(), r.Pool, key, erasure.Options{Author: author})
			return err
		}, `erased mirror.erased null [] null`},
		{func() error { return erasure.Lift(t.Context(), r.Pool, key, author) }, `unchanged mirror.erasure_lifted null [] null`},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		r.settle() // an erasure is another process, whose settler does not run
		found, next := r.next(after, 10)
		text, err := json.Marshal(found)
		if err != nil || len(found) != 1 {
			t.Fatal(len(found), err)
		}
		var changes []struct {
			Change, Event    string
			Outcome, Contact json.RawMessage
			Columns          json.RawMessage `json:"changed_columns"`
		}
		var row struct{ Name json.RawMessage }
		if err := json.Unmarshal(text, &changes); err != nil {
			t.Fatal(err)
		}
		c := changes[0]
		if err := json.Unmarshal(c.Contact, &row); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s %s %s %s %s", c.Change, c.Event, c.Outcome, c.Columns, row.Name); got != step.want {
			t.Errorf("got %s, want %s", got, step.want)
		}
		after = next
	}
}

// body is an event of contact 7, on a day of January.
func body(name string, day int, rest string) []byte {
	return fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-%02dT00:00:00Z","Event":%q,"PrimaryKey":7,"ContextIdentifier":"Cust1","Changes":["name"]%s}`,
		day, day, name, rest)
}

// Each event comes once, in the order in which it was dealt with, with what it
// did and what stands now.
func TestChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	var (
		after feed.Cursor
		last  int64
	)
	for _, step := range []struct {
		name, rest string
		day        int
		want       string
	}{
		{"contact.created", `,"FieldValues":{"name":"one"}`, 1, "upserted contact.created applied one false"},
		{"contact.changed", `,"FieldValues":{"name":"two","deleted":0}`, 4, "upserted contact.changed applied two false"},
		{"contact.changed", `,"FieldValues":{"name":"late"}`, 2, "unchanged contact.changed superseded two false"},
		{"contact.softdeleted", ``, 6, "soft_deleted contact.softdeleted applied two true"},
		{"contact.changed", `,"FieldValues":{"name":"three"}`, 8, "upserted contact.changed applied three true"},
		{"contact.changed", `,"FieldValues":{"deleted":0}`, 10, "restored contact.changed applied three false"},
		{"contact.deleted", ``, 20, "deleted contact.deleted applied null"},
		{"contact.changed", ``, 25, "unchanged contact.changed after_delete null"},
		{"contact.deleted", ``, 19, "unchanged contact.deleted applied null"}, // moves the tombstone only,
	} {
		r.deliver(body(step.name, step.day, step.rest))
		found, next := r.next(after, 10)
		if len(found) != 1 {
			t.Fatalf("%d changes: %+v", len(found), found)
		}
		c := found[0]
		var row *struct {
			ContactID   int64  `json:"contact_id"`
			Name        string `json:"name"`
			SoftDeleted bool   `json:"soft_deleted"`
		}
		if err := json.Unmarshal(append([]byte(nil), either(c.Contact)...), &row); err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(c.Change, " ", c.Event, " ", *c.Outcome, " null")
		if row != nil {
			got = fmt.Sprint(c.Change, " ", c.Event, " ", *c.Outcome, " ", row.Name, " ", row.SoftDeleted)
		}
		if got != step.want {
			t.Errorf("%s of day %d: %s, want %s", step.name, step.day, got, step.want)
		}
		wantAt := time.Date(2026, 1, step.day, 0, 0, 0, 0, time.UTC)
		if c.ContextIdentifier != "Cust1" || c.ContactID != 7 || !c.OccurredAt.Equal(wantAt) || !cmp.Equal(c.ChangedColumns, []string{"name"}) ||
			c.EventID != fmt.Sprintf("00000000-0000-0000-0000-%012d", step.day) || c.AuditSeq <= last {
			t.Errorf("got %+v", c)
		}
		after, last = next, c.AuditSeq
	}
	all, _, err := r.feed.Read(t.Context(), feed.Cursor{}, 1000)
	if err != nil || len(all) != 9 {
		t.Errorf("from the beginning: %d changes, %v; want 9", len(all), err)
	}
	// Erasure blanks values where they lie, and the feed goes on.
	if _, err := r.Pool.Exec(t.Context(), `alter table contact_audit_log disable trigger user;
		update contact_audit_log set changed_columns = '{}', field_values = null, given_columns = 0, id_values = null, last_known = null, webhook_name = null;
		alter table contact_audit_log enable trigger user`); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.feed.Read(t.Context(), after, 1000); err != nil {
		t.Errorf("after an erasure: %v", err)
	}
	erased, _, err := r.feed.Read(t.Context(), feed.Cursor{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		all[i].ChangedColumns = []string{}
	}
	if diff := cmp.Diff(all, erased); diff != "" {
		t.Errorf("after an erasure (-before +after):\n%s", diff)
	}
}

func either(m json.RawMessage) []byte {
	if m == nil {
		return []byte("null")
	}
	return m
}

// begin begins a transaction that has its id already, as a worker's has before it
// draws a number.
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

func execute(t *testing.T, db pg.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// audit accepts an event of contact id, of the shard of that number, and deals with it.
func audit(t *testing.T, tx pgx.Tx, id int) {
	t.Helper()
	execute(t, tx, `with accepted as (
			insert into webhook_events (context_identifier, event_id, event, primary_key, occurred_at, occurred_ticks, received_at, ignored)
			values ('Cust1', gen_random_uuid(), 'contact.changed', $1, now(), 0, now(), false)
			returning *
		), logged as (
		insert into contact_audit_log (event_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks,
			received_at, recorded_at, changed_columns, unreadable_columns, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain)
		select event_seq, primary_key, context_identifier, primary_key, event, event_id, occurred_at, 0, now(), now(), '{}', '{}', false, 'applied', 'upserted', 0, 'webhook', 1, decode(repeat('00', 36), 'hex')
		from accepted
		returning shard, audit_seq
		)
		update sync_shards s set audit_seq = l.audit_seq from logged l where s.shard = l.shard`, id)
}

func commit(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// The rule of the horizon, as a follower sees it: while a worker that drew a
// lower number holds its transaction open, nothing above it is handed out, and
// afterwards everything is, once.
//
// Not parallel: transactions of other tests would hold the horizon back as well,
// and hide a fault.
func TestAFollowerSkipsNothingThatCanStillCommit(t *testing.T) {
	for name, olderHolds := range map[string]bool{"the older transaction holds": true, "the newer transaction holds": false} {
		t.Run(name, func(t *testing.T) {
			db := pgtest.New(t).Unchained(t)
			f := feed.New(db.Pool, quiet)
			var after feed.Cursor
			var seen []int64
			follow := func() {
				t.Helper()
				for range 3 {
					execute(t, db.Pool, `select * from advance_log_horizon()`)
				}
				for {
					found, next, err := f.Read(t.Context(), after, 2)
					if err != nil {
						t.Fatal(err)
					}
					if len(found) == 0 {
						return
					}
					after = next
					for _, c := range found {
						seen = append(seen, c.ContactID)
					}
				}
			}
			first := begin(t, db.Pool)
			audit(t, first, 1)
			commit(t, first)
			older, newer := begin(t, db.Pool), begin(t, db.Pool)
			holder, other := older, newer
			if !olderHolds {
				holder, other = newer, older
			}
			audit(t, holder, 2)
			audit(t, other, 3)
			audit(t, other, 4)
			commit(t, other)
			follow()
			if slices.Contains(seen, 3) || slices.Contains(seen, 4) {
				t.Errorf("handed out above a number that is held: %v", seen)
			}
			last := begin(t, db.Pool)
			audit(t, last, 5)
			commit(t, last)
			follow()
			commit(t, holder)
			for deadline := time.Now().Add(time.Minute); !slices.Contains(seen, 5); follow() {
				if time.Now().After(deadline) {
					t.Fatalf("seen %v", seen)
				}
			}
			if diff := cmp.Diff([]int64{1, 2, 3, 4, 5}, seen); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

// Followers that stop and resume while many workers write see every change once,
// in order, and what they keep by them is in the end what contacts holds.
func TestFollowersKeepCopies(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4)
	const events = 2400
	lives := simulator.NewLives(7, []string{"", "Cust1", "Cust2"}, 50, received.AddDate(0, -1, 0))
	var bodies [][]byte
	for range events {
		bodies = append(bodies, lives.Next())
	}
	rand.New(rand.NewPCG(7, 1)).Shuffle(1200, func(i, j int) { bodies[i], bodies[j] = bodies[j], bodies[i] })
	var all sync.WaitGroup
	for part := range slices.Chunk(bodies, events/8) {
		all.Go(func() { r.deliver(part...) })
	}
	type key struct {
		tenant string
		id     int64
	}
	copies := make([]map[key]string, 3)
	seen := make([][]int64, len(copies))
	for i := range copies {
		copies[i] = map[key]string{}
		all.Go(func() {
			var after feed.Cursor
			for len(seen[i]) < events && !t.Failed() {
				var page []feed.Change
				page, after = r.next(after, 1+i*150)
				for _, c := range page {
					seen[i] = append(seen[i], c.AuditSeq)
					if c.Contact == nil {
						delete(copies[i], key{c.ContextIdentifier, c.ContactID})
					} else {
						copies[i][key{c.ContextIdentifier, c.ContactID}] = string(c.Contact)
					}
				}
			}
		})
	}
	all.Wait()
	rows, _ := r.Pool.Query(t.Context(), `select audit_seq from contact_audit_log order by audit_seq`)
	want, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	rows, _ = r.Pool.Query(t.Context(), `select context_identifier, contact_id, contactmirror_row(c)::text as row from contacts c`)
	mirrored, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct {
		Tenant string
		ID     int64
		Row    string
	}])
	if err != nil {
		t.Fatal(err)
	}
	contacts := map[key]string{}
	for _, m := range mirrored {
		contacts[key{m.Tenant, m.ID}] = m.Row
	}
	if len(contacts) < 20 {
		t.Errorf("%d contacts: the test tests little", len(contacts))
	}
	for i := range copies {
		if diff := cmp.Diff(want, seen[i]); diff != "" {
			t.Errorf("follower %d: changes (-log +seen):\n%s", i, diff)
		}
		if diff := cmp.Diff(contacts, copies[i]); diff != "" {
			t.Errorf("follower %d: contacts (-mirror +copy):\n%s", i, diff)
		}
	}
}

// traced counts the statements of a pool.
type traced struct{ statements atomic.Int64 }

func (c *traced) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.statements.Add(1)
	return ctx
}
func (*traced) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// However many wait, one asks; and when nobody does, nobody asks.
func TestWaitingCostsOneStatementASecond(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t).Unchained(t)
	config := db.Pool.Config()
	var trace traced
	config.ConnConfig.Tracer = &trace
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	f := feed.New(pool, quiet)
	ctx, stop := context.WithCancel(t.Context())
	var running, waiting sync.WaitGroup
	running.Go(func() { _ = f.Run(ctx) })
	bounded, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for range 100 {
		waiting.Go(func() { f.Wait(bounded, feed.Cursor{}) })
	}
	waiting.Wait()
	// One listens, one asks each second, and each of those who came may have made
	// it ask at once.
	if n := trace.statements.Load(); n < 3 || n > 110 {
		t.Errorf("%d statements while 100 waited for three seconds", n)
	}
	before := trace.statements.Load()
	execute(t, db.Pool, `select pg_sleep(1.5)`)
	if n := trace.statements.Load() - before; n > 1 {
		t.Errorf("%d statements while nobody waited", n)
	}
	stop()
	running.Wait()
}

// A page is read by key, and so are the contacts: also where the planner knows
// nothing.
func TestAPageIsReadByKey(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	execute(t, db.Pool, `insert into contact_audit_log (event_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks,
			received_at, recorded_at, changed_columns, unreadable_columns, soft_deleted, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain)
		select null, 0, 'Cust1', 1 + i % 5000, 'contact.changed', gen_random_uuid(), now(), i, now(), now(), '{}', '{}', false, false, 'applied', 'upserted', 0, 'fetch', 1, decode(repeat('00', 36), 'hex')
		from generate_series(1, 100000) i`)
	execute(t, db.Pool, `insert into contacts (context_identifier, contact_id, soft_deleted, pending_columns, last_event, last_event_id, last_event_at, last_event_ticks, first_seen_at, mirrored_at)
		select 'Cust1', i, false, '{}', 'contact.changed', gen_random_uuid(), now(), 0, now(), now() from generate_series(1, 5000) i`)
	execute(t, db.Pool, `update log_horizon set audit_seq = 100000, noted_audit_seq = 100000`)
	var definition string
	if err := db.Pool.QueryRow(t.Context(), `select prosrc || pg_get_function_sqlbody(oid) from pg_proc where proname = 'changes_since'`).Scan(&definition); err != nil {
		t.Fatal(err)
	}
	_, statement, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(definition), "END"), "BEGIN ATOMIC")
	statement = strings.NewReplacer("changes_since.after", "$1::bigint", "changes_since.max_rows", "$2::integer").Replace(strings.TrimSuffix(strings.TrimSpace(statement), ";"))
	for _, learn := range []string{`select`, `analyze`} {
		execute(t, db.Pool, learn)
		rows, _ := db.Pool.Query(t.Context(), "explain (analyze) "+statement, pgx.QueryExecModeExec, int64(50_000), int32(1000))
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		plan := strings.Join(lines, "\n")
		for _, never := range []string{"Seq Scan on contact", "JIT"} {
			if strings.Contains(plan, never) {
				t.Errorf("%s: %s in\n%s", learn, never, plan)
			}
		}
		if !strings.Contains(plan, "contact_audit_log_pkey") {
			t.Errorf("%s: not by key:\n%s", learn, plan)
		}
	}
}
