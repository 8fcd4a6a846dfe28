package mirror_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/simulator"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var received = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// rig is an inbox and a worker on a database of their own.
type rig struct {
	*pgtest.DB
	t      testing.TB
	inbox  *inbox.Inbox
	worker *mirror.Worker
}

func newRig(t testing.TB, loops int) *rig {
	t.Helper()
	r := &rig{DB: pgtest.New(t), t: t}
	r.worker = mirror.New(r.Pool, slog.New(slog.DiscardHandler), loops)
	r.inbox = inbox.New(r.Pool, r.worker.Wake)
	r.run(r.inbox.Run)
	return r
}

// run runs f until the test ends.
func (r *rig) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

// deliver puts bodies into the inbox, 16 at a time.
func (r *rig) deliver(bodies ...[]byte) {
	r.t.Helper()
	failed := make(chan error, len(bodies))
	limit := make(chan struct{}, 16)
	for _, body := range bodies {
		limit <- struct{}{}
		go func() {
			defer func() { <-limit }()
			e, err := event.Parse(body, received)
			if err == nil {
				_, err = r.inbox.Put(context.Background(), inbox.Delivery{Body: body, ReceivedAt: received, Event: &e})
			}
			failed <- err
		}()
	}
	for range bodies {
		if err := <-failed; err != nil {
			r.t.Fatalf("deliver: %v", err)
		}
	}
}

// drain waits until nothing is queued.
func (r *rig) drain() {
	r.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		// Locks every shard, so it waits for batches under way.
		var queued int
		err := pgx.BeginFunc(context.Background(), r.Pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(context.Background(), "select from sync_shards order by shard for update"); err != nil {
				return err
			}
			return tx.QueryRow(context.Background(), "select count(*) from sync_queue").Scan(&queued)
		})
		if err != nil {
			r.t.Fatal(err)
		}
		if queued == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%d events still queued; health: %+v", queued, r.worker.Health())
		}
		r.worker.Wake()
	}
}

// column returns the first column of a query's rows, as text.
func column(t testing.TB, db *pgxpool.Pool, query string, args ...any) []string {
	t.Helper()
	rows, _ := db.Query(context.Background(), query, args...)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return values
}

// mirrored is all that must not depend on the order of arrival.
func mirrored(t testing.TB, db *pgxpool.Pool) []string {
	t.Helper()
	return slices.Concat(
		column(t, db, `select (to_jsonb(c) - 'first_seen_at' - 'mirrored_at')::text from contacts c order by context_identifier, contact_id`),
		column(t, db, `select (to_jsonb(t) - 'event_seq')::text from contact_tombstones t order by context_identifier, contact_id`),
		column(t, db, `select (to_jsonb(a) - array['audit_seq', 'event_seq', 'outcome', 'effect', 'last_known', 'noticed_columns', 'irregular', 'recorded_at', 'received_at', 'chain_seq', 'chain', 'salt'])::text
			from contact_audit_log a order by context_identifier, contact_id, event_id, event`),
	)
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("..", "..", "testdata", "deliveries", name))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestSamples(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.run(r.worker.Run)
	r.deliver(sample(t, "2018-created.json"))
	r.drain()
	r.deliver(sample(t, "2018-changed.json"))
	r.drain()
	got := column(t, r.Pool, `select concat_ws(' ', last_event, last_event_at at time zone 'UTC', last_event_ticks, soft_deleted, cardinality(pending_columns), last_changed_by_associate_id) from contacts`)
	if want := []string{"contact.changed 2018-04-24 07:50:50.681213 15245562506812131 f 37 316"}; !cmp.Equal(got, want) {
		t.Errorf("contacts %q, want %q", got, want)
	}
	r.deliver(sample(t, "2018-deleted.json"), sample(t, "test-event.json"))
	r.drain()
	got = column(t, r.Pool, `select concat_ws(' ', event, outcome, last_known ->> 'last_event', id_values) from contact_audit_log order by audit_seq`)
	want := []string{"contact.created applied", "contact.changed no_op", `contact.deleted applied contact.changed {"contact_id": 994863, "associate_id": 4039840}`}
	if !cmp.Equal(got, want) {
		t.Errorf("audit log %q, want %q", got, want)
	}
	got = column(t, r.Pool, `select concat_ws(' ', contact_id, deleted_at at time zone 'UTC', (select count(*) from contacts)) from contact_tombstones`)
	if want := []string{"994863 2018-04-24 07:58:10.992334 0"}; !cmp.Equal(got, want) {
		t.Errorf("tombstones %q, want %q", got, want)
	}
	before := mirrored(t, r.Pool)
	r.deliver(sample(t, "2018-created.json"), sample(t, "2018-changed.json"), sample(t, "2018-deleted.json"), sample(t, "test-event.json"))
	r.drain()
	if diff := cmp.Diff(before, mirrored(t, r.Pool)); diff != "" {
		t.Errorf("delivering everything again changed (-before +after):\n%s", diff)
	}
	if got := column(t, r.Pool, `select count(*)::text from duplicate_deliveries`); got[0] != "4" {
		t.Errorf("%s duplicates, want 4", got[0])
	}
}

// The values of version 11, through a life with a soft delete and a restore.
func TestSoftDeleteAndRestore(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.run(r.worker.Run)
	state := `select concat_ws(' ', soft_deleted, soft_deleted_at at time zone 'UTC', deleted, deleted_date at time zone 'UTC', updated at time zone 'UTC', country_id, 'deleted' = any (pending_columns)) from contacts`
	for _, step := range []struct{ body, want string }{
		{"v11-changed.json", "f 0 2025-05-14 08:48:07.891203 826 f"},
		{"v11-softdeleted-inferred.json", "t 2025-05-15 08:00:00.123456 1 2025-05-15 08:00:00.123456 2025-05-15 08:00:00.123456 826 f"},
		{"v11-restored-inferred.json", "f 0 2025-05-16 09:30:00.5 826 f"},
	} {
		r.deliver(sample(t, step.body))
		r.drain()
		if got := column(t, r.Pool, state); len(got) != 1 || got[0] != step.want {
			t.Errorf("after %s: %q, want %q", step.body, got, step.want)
		}
	}
}

// The same events, in any order, in any batches, repeated, through one worker
// or several, end in the same rows.
func TestAnyArrivalOrderGivesOneResult(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			lives := simulator.NewLives(seed, []string{"", "Cust1", "Cust2"}, 25, received.AddDate(0, -1, 0))
			var bodies [][]byte
			for range 700 {
				bodies = append(bodies, lives.Next())
			}
			inOrder := newRig(t, 1)
			inOrder.deliver(bodies...)
			inOrder.run(inOrder.worker.Run)
			inOrder.drain()

			shuffled := newRig(t, 4)
			shuffled.run(shuffled.worker.Run)
			arrival := slices.Concat(bodies, bodies[:200])
			rand.New(rand.NewPCG(seed, 1)).Shuffle(len(arrival), func(i, j int) { arrival[i], arrival[j] = arrival[j], arrival[i] })
			shuffled.deliver(arrival...)
			shuffled.drain()
			if diff := cmp.Diff(mirrored(t, inOrder.Pool), mirrored(t, shuffled.Pool)); diff != "" {
				t.Errorf("rows differ (-in order +shuffled):\n%s", diff)
			}
			if got := column(t, shuffled.Pool, `select count(*)::text from contact_audit_log where outcome <> 'applied'`); got[0] == "0" {
				t.Error("no event was late or without effect: the test tests nothing")
			}
		})
	}
}

// A row that PostgreSQL refuses is quarantined alone; the contact's other
// events and everybody else's go on, and after a fix a retry applies it.
func TestPoisonIsQuarantinedAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	if _, err := r.Pool.Exec(t.Context(), `alter table contacts add constraint poison check (number1 is distinct from 'poison')`); err != nil {
		t.Fatal(err)
	}
	var bodies [][]byte
	for i := range 300 {
		column, value := "name", "fine"
		if i%100 == 50 { // of a column that no other event overwrites in the same batch
			column, value = "number1", "poison"
		}
		bodies = append(bodies, fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-01T00:00:00.%07dZ","Event":"contact.changed",`+
			`"PrimaryKey":%d,"ContextIdentifier":"Cust1","FieldValues":{%q:%q,"number2":"%d"}}`, i, i, 1+i%7, column, value, i))
	}
	r.deliver(bodies...)
	r.run(r.worker.Run)
	r.drain()
	got := column(t, r.Pool, `select concat_ws('|', reason, attempts, convert_from(body, 'UTF8') like '%poison%') from quarantined_deliveries order by event_seq`)
	want := `new row for relation "contacts" violates check constraint "poison" (SQLSTATE 23514)|1|t`
	if !cmp.Equal(got, []string{want, want, want}) {
		t.Errorf("quarantine %q, want three times %q", got, want)
	}
	if got := column(t, r.Pool, `select concat_ws(' ', applied + no_op + superseded, quarantined, balanced) from event_accounting`); got[0] != "297 3 t" {
		t.Errorf("account %q, want 297 3 t", got)
	}
	if h := r.worker.Health(); h.Err != nil {
		t.Errorf("a poisoned event left the worker failing: %v", h.Err)
	}
}

// Bodies too many for one batch are applied in several, all of them.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	var bodies [][]byte
	for i := range 40 {
		bodies = append(bodies, fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-01T00:00:00.%07dZ","Event":"contact.changed",`+
			`"PrimaryKey":%d,"ContextIdentifier":"Cust1","FieldValues":{"name":%q}}`, i, i, 1+i%3, strings.Repeat("x", 1<<20-1000)))
	}
	r.deliver(bodies...)
	r.run(r.worker.Run)
	r.drain()
	if got := column(t, r.Pool, `select concat_ws(' ', count(*), count(distinct recorded_at) > 4) from contact_audit_log`); got[0] != "40 t" {
		t.Errorf("audit rows, in more than four transactions: %q, want 40 t", got)
	}
}

// An event that leads to a row that can't be written out is quarantined alone,
// whoever finds it out. Years past 9999 can't come in by an event any more.
func TestUnwritableRow(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.deliver(sample(t, "v11-changed.json"), sample(t, "2018-changed.json"))
	r.run(r.worker.Run)
	r.drain()
	if _, err := r.Pool.Exec(t.Context(), `update contacts set registered = '10000-01-01' where contact_id = 18`); err != nil {
		t.Fatal(err)
	}
	r.deliver(bytes.Replace(sample(t, "v11-restored-inferred.json"), []byte("contact.changed"), []byte("contact.deleted"), 1), sample(t, "2018-deleted.json"))
	r.drain()
	if got := column(t, r.Pool, `select reason from quarantined_deliveries`); len(got) != 1 || !strings.Contains(got[0], "year outside") {
		t.Errorf("quarantine %q", got)
	}
	if got := column(t, r.Pool, `select contact_id::text from contact_tombstones`); !cmp.Equal(got, []string{"994863"}) {
		t.Errorf("tombstones %q, want the other contact's", got)
	}
}

// What is no event's own fault quarantines nothing, and shows.
func TestTroubleOfTheDatabaseStopsTheQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	if _, err := r.Pool.Exec(t.Context(), `alter table contacts rename to hidden`); err != nil {
		t.Fatal(err)
	}
	r.deliver(sample(t, "v11-changed.json"))
	r.run(r.worker.Run)
	for r.worker.Health().Err == nil {
		r.worker.Wake()
	}
	if err := r.worker.Health().Err; !strings.Contains(err.Error(), `"contacts" does not exist`) {
		t.Errorf("health: %v", err)
	}
	if at := r.worker.Health().AppliedAt; !at.IsZero() {
		t.Errorf("a batch was applied at %v, want none", at)
	}
	if got := column(t, r.Pool, `select concat_ws(' ', queued, quarantined) from event_accounting`); got[0] != "1 0" {
		t.Errorf("queued and quarantined %q, want 1 0", got)
	}
	if _, err := r.Pool.Exec(t.Context(), `alter table hidden rename to contacts`); err != nil {
		t.Fatal(err)
	}
	r.drain()
	for r.worker.Health().Err != nil || r.worker.Health().AppliedAt.IsZero() {
		r.worker.Wake()
	}
}

func TestLastKnownMakesARowAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.run(r.worker.Run)
	r.deliver(sample(t, "v11-softdeleted-inferred.json"))
	r.drain()
	row := column(t, r.Pool, `select (to_jsonb(c) - 'first_seen_at' - 'mirrored_at')::text from contacts c`)
	deleted := bytes.Replace(sample(t, "v11-softdeleted-inferred.json"), []byte("contact.softdeleted"), []byte("contact.deleted"), 1)
	r.deliver(deleted)
	r.drain()
	got := column(t, r.Pool, `select (to_jsonb(jsonb_populate_record(null::contacts, last_known)) - 'first_seen_at' - 'mirrored_at')::text from contact_audit_log where hard_deleted`)
	if diff := cmp.Diff(row, got); diff != "" {
		t.Errorf("last_known (-row it was +row it makes):\n%s", diff)
	}
}

// What a row holds and no event can give stays as it is when something else
// changes, and is in last_known as it was.
func TestWorker_keepsInfiniteTimes(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.run(r.worker.Run)
	deliver := func(n int, event, rest string) {
		t.Helper()
		r.deliver(fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-01T00:00:00.%07dZ","Event":"contact.%s",`+
			`"PrimaryKey":7,"ContextIdentifier":"Cust1"%s}`, n, n, event, rest))
		r.drain()
	}
	deliver(1, "softdeleted", `,"FieldValues":{"deleted":1,"DeletedDate":"2026-01-01T00:00:00Z"}`)
	_, err := r.Pool.Exec(t.Context(), `update contacts set updated = 'infinity', dbi_last_modified = '-infinity', soft_deleted_at = '-infinity'`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"infinity -infinity -infinity"}
	for n, given := range []string{`{"source":3}`, `{"name":"Acme"}`} { // the columns that are sent, and all of them
		deliver(2+n, "changed", `,"FieldValues":`+given)
		got := column(t, r.Pool, `select concat_ws(' ', updated, dbi_last_modified, soft_deleted_at) from contacts`)
		if !cmp.Equal(got, want) {
			t.Errorf("after %s is given: %q, want %q", given, got, want)
		}
	}
	deliver(4, "deleted", "")
	got := column(t, r.Pool, `select concat_ws(' ', k.updated, k.dbi_last_modified, k.soft_deleted_at)
		from contact_audit_log a, jsonb_populate_record(null::contacts, a.last_known) k where a.hard_deleted`)
	if !cmp.Equal(got, want) {
		t.Errorf("last_known: %q, want %q", got, want)
	}
	if got := column(t, r.Pool, `select concat_ws(' ', accepted, applied, queued, quarantined, balanced) from event_accounting`); !cmp.Equal(got, []string{"4 4 0 0 t"}) {
		t.Errorf("accepted, applied, queued, quarantined, balanced: %q", got)
	}
}

// A mistake in the program stops the batch and shows, with the statement's name; no
// event is quarantined for it.
func TestWorker_showsAProgrammingError(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{"Takes a batch out of the queues", "Signs the heads of audit chains"} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1)
			r.deliver(sample(t, "v11-changed.json"))
			broken := r.DB.Broken(t, statement)
			var log pgtest.Log
			r.worker = mirror.New(broken.Pool, log.Logger(), 1)
			r.worker.AuditKeys = auditKey(t, "a key of enough bytes")
			r.run(r.worker.Run)
			for deadline := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), statement) || r.worker.Health().Err == nil; {
				if time.Now().After(deadline) {
					t.Fatalf("not logged within 20 s; health: %+v", r.worker.Health())
				}
				r.worker.Wake()
			}
			if err := r.worker.Health().Err; err == nil || !strings.Contains(err.Error(), statement) {
				t.Errorf("health: %v", err)
			}
			if got := column(t, r.Pool, `select concat_ws(' ', queued, quarantined) from event_accounting`); got[0] != "1 0" {
				t.Errorf("queued and quarantined %q, want 1 0", got)
			}
			broken.Repair()
			r.drain()
		})
	}
}
