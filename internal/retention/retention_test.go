package retention_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/pgtest"
	"contactmirror/internal/retention"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const day = 24 * time.Hour

func execute(t *testing.T, db *pgxpool.Pool, statement string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func texts(t *testing.T, db *pgxpool.Pool, query string) []string {
	t.Helper()
	rows, _ := db.Query(t.Context(), query)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return values
}

// store stores ignored events with bodies of ten bytes, received age ago.
func store(t *testing.T, db *pgxpool.Pool, age time.Duration, seqs ...int64) {
	t.Helper()
	for _, seq := range seqs {
		execute(t, db, `insert into webhook_events (event_seq, context_identifier, event, received_at, ignored, keyless_sha256)
			values ($1, 'Cust1', 'test', now() - $2::interval, true, int8send($1))`, seq, age)
		execute(t, db, `insert into webhook_bodies values ($1, '0123456789')`, seq)
	}
}

// draw lets the sequence reach seq, as if that many events had come.
func draw(t *testing.T, db *pgxpool.Pool, seq int64) {
	t.Helper()
	execute(t, db, `select setval('webhook_events_event_seq_seq', $1)`, seq)
	for {
		made, err := retention.Extend(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		if made == 0 {
			return
		}
	}
}

const partitions = `select concat_ws(' ', partition_name, from_seq, to_seq) from body_partitions order by to_seq`

func TestExtend(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if got := texts(t, db.Pool, partitions); len(got) != 4 {
		t.Fatalf("a new database has %q", got)
	}
	if made, err := retention.Extend(t.Context(), db.Pool); made != 0 || err != nil {
		t.Errorf("again: %d, %v", made, err)
	}
	// Nobody made any for a while: what came meanwhile keeps its range for itself.
	store(t, db.Pool, 0, 6_999_999, 7_000_000)
	execute(t, db.Pool, `select setval('webhook_events_event_seq_seq', 7000000)`)
	if made, err := retention.Extend(t.Context(), db.Pool); made != 2 || err != nil {
		t.Errorf("after a gap: %d, %v", made, err)
	}
	want := []string{
		"webhook_bodies_0 1000000", "webhook_bodies_1000000 1000000 2000000", "webhook_bodies_2000000 2000000 3000000",
		"webhook_bodies_8000000 8000000 9000000", "webhook_bodies_9000000 9000000 10000000", "webhook_bodies_default",
	}
	if diff := cmp.Diff(want, texts(t, db.Pool, partitions)); diff != "" {
		t.Errorf("partitions (-want +got):\n%s", diff)
	}
	store(t, db.Pool, 0, 7_000_001, 8_000_000)
	if got := texts(t, db.Pool, `select concat_ws(' ', event_seq, tableoid::regclass) from webhook_bodies order by 1`); !cmp.Equal(got, []string{
		"6999999 webhook_bodies_default", "7000000 webhook_bodies_default", "7000001 webhook_bodies_default", "8000000 webhook_bodies_8000000",
	}) {
		t.Errorf("bodies lie in %q", got)
	}
}

// A report that reads bodies for long holds neither up for more than a moment,
// and both make up for it later.
func TestNothingQueuesBehindAReport(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	store(t, db.Pool, 3*day, 1)
	draw(t, db.Pool, 3_500_000)
	execute(t, db.Pool, `select setval('webhook_events_event_seq_seq', 4500000)`)
	report, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = report.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := report.Exec(t.Context(), `select count(*) from webhook_bodies`); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if made, err := retention.Extend(t.Context(), db.Pool); made != 0 || err != nil {
		t.Errorf("extend beside a report: %d, %v", made, err)
	}
	a, err := retention.Prune(t.Context(), db.Pool, retention.Options{Keep: 2 * day})
	if err != nil || a.Bodies != 0 || a.Dropped != 0 || len(a.Busy) == 0 || a.Busy[0] != "webhook_bodies_0" {
		t.Errorf("prune beside a report: %+v, %v", a, err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("both took %v", took)
	}
	if err := report.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if made, err := retention.Extend(t.Context(), db.Pool); made != 1 || err != nil {
		t.Errorf("extend after the report: %d, %v", made, err)
	}
	if a, err = retention.Prune(t.Context(), db.Pool, retention.Options{Keep: 2 * day}); err != nil || a.Bodies != 1 || len(a.Busy) != 0 {
		t.Errorf("prune after the report: %+v, %v", a, err)
	}
}

// What goes and what stays, told beforehand and done.
func TestPrune(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	store(t, db.Pool, 100*day, 1, 2)             // all expired: dropped
	draw(t, db.Pool, 1_500_000)                  //
	store(t, db.Pool, 100*day, 1_000_001)        // most expired, and two days younger: row by row
	store(t, db.Pool, 87*day, 1_000_002)         //
	draw(t, db.Pool, 2_500_000)                  //
	store(t, db.Pool, 100*day, 2_000_001)        // the rest expires within a day: waits
	store(t, db.Pool, 90*day-time.Hour, 2000002) //
	draw(t, db.Pool, 3_500_000)                  //
	store(t, db.Pool, 100*day, 3_000_001)        // queued
	store(t, db.Pool, 100*day, 3_000_002)        // in open quarantine
	store(t, db.Pool, 100*day, 3_000_003)        // discarded: goes
	draw(t, db.Pool, 4_500_000)                  //
	store(t, db.Pool, 100*day, 4_000_001)        // in the last partition, and yet expired
	store(t, db.Pool, 0, 4_000_002)              //
	store(t, db.Pool, 100*day, 9_000_000)        // in the default partition
	store(t, db.Pool, 0, 9_000_001)              //
	execute(t, db.Pool, `insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes) values (0, 'Cust1', 3000001, now(), 10)`)
	for seq, resolution := range map[int64]*string{3_000_002: nil, 3_000_003: new("discarded")} {
		execute(t, db.Pool, `insert into quarantined_deliveries (received_at, reason, context_identifier, event_seq, headers, body, body_sha256, resolved_at, resolution)
			values (now() - '100 days'::interval, 'for the test', 'Cust1', $1, '{"A": ["b"]}', 'personal', sha256('personal'), case when $2::text is not null then now() end, $2)`, seq, resolution)
	}
	want := retention.Account{
		Partitions: []retention.Partition{
			{Name: "webhook_bodies_0", Dropped: true, Bodies: 2},
			{Name: "webhook_bodies_1000000", Bodies: 1, Bytes: 10},
			{Name: "webhook_bodies_3000000", Bodies: 1, Bytes: 10},
			{Name: "webhook_bodies_4000000", Bodies: 1, Bytes: 10},
			{Name: "webhook_bodies_default", Bodies: 1, Bytes: 10},
		},
		Dropped: 1, Bodies: 6, Quarantined: 1, QuarantinedBytes: 8,
		Held: []string{"webhook_bodies_3000000"}, Busy: []string{},
	}
	const left = `select event_seq::text from webhook_bodies order by event_seq`
	before := texts(t, db.Pool, left)
	for _, dry := range []bool{true, false} {
		want.DryRun = dry
		told := 0
		got, err := retention.Prune(t.Context(), db.Pool, retention.Options{
			Keep: 90 * day, DryRun: dry, Progress: func(retention.Partition) { told++ },
		})
		if err != nil {
			t.Fatal(err)
		}
		if got.Partitions[0].Bytes < 8192 {
			t.Errorf("a dropped partition of %d bytes", got.Partitions[0].Bytes)
		}
		got.Partitions[0].Bytes = 0
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(retention.Account{}, "Before")); diff != "" || told != 5 {
			t.Errorf("dry run %t, told %d (-want +got):\n%s", dry, told, diff)
		}
		if dry && !cmp.Equal(before, texts(t, db.Pool, left)) {
			t.Error("a dry run has dropped something")
		}
	}
	if diff := cmp.Diff([]string{"1000002", "2000001", "2000002", "3000001", "3000002", "4000002", "9000001"}, texts(t, db.Pool, left)); diff != "" {
		t.Errorf("bodies left (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"3000002 personal t f", "3000003  f t"}, texts(t, db.Pool, `select concat_ws(' ', event_seq, convert_from(body, 'UTF8'), headers is not null, bytes_removed_at is not null)
		from quarantined_deliveries order by event_seq`)); diff != "" {
		t.Errorf("quarantine (-want +got):\n%s", diff)
	}
	if got := texts(t, db.Pool, `select count(*)::text from webhook_events`); got[0] != "13" {
		t.Errorf("%s events left", got[0])
	}
	if again, err := retention.Prune(t.Context(), db.Pool, retention.Options{Keep: 90 * day}); err != nil || again.Bodies+again.Quarantined != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
	execute(t, db.Pool, `delete from sync_queue; delete from quarantined_deliveries; delete from webhook_bodies`) // no event of the test is a contact's
}

// A put that has drawn its numbers and not committed yet is waited for, and its
// events are looked at.
func TestPruneWaitsForPutsUnderWay(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	store(t, db.Pool, 3*day, 1)
	draw(t, db.Pool, 1_500_000)
	put, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = put.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := put.Exec(t.Context(), `with e as (
			insert into webhook_events (event_seq, context_identifier, event, received_at, ignored, keyless_sha256) values (2, 'Cust1', 'test', now(), true, '\x02')
		) insert into webhook_bodies values (2, 'young')`); err != nil {
		t.Fatal(err)
	}
	a, err := retention.Prune(t.Context(), db.Pool, retention.Options{Keep: 2 * day})
	if err != nil || a.Dropped != 0 || !cmp.Equal(a.Busy, []string{"webhook_bodies_0"}) {
		t.Errorf("prune beside a put: %+v, %v", a, err)
	}
	if err := put.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	a, err = retention.Prune(t.Context(), db.Pool, retention.Options{Keep: 2 * day})
	if err != nil || a.Dropped != 0 || a.Bodies != 1 {
		t.Errorf("prune after the put: %+v, %v", a, err)
	}
	if got := texts(t, db.Pool, `select event_seq::text from webhook_bodies`); !cmp.Equal(got, []string{"2"}) {
		t.Errorf("bodies left: %q, want 2", got)
	}
}

// The database refuses what no caller may ask for.
func TestPruneRefuses(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := retention.Prune(t.Context(), db.Pool, retention.Options{Keep: day - 1}); err == nil {
		t.Error("bodies younger than a day were pruned")
	}
	for _, call := range []string{
		`contactmirror_drop_bodies('webhook_bodies_0', now(), true)`, `contactmirror_drop_bodies('webhook_bodies_0', null, true)`,
		`contactmirror_delete_bodies('webhook_bodies_0', now(), 0, 10, true)`, `contactmirror_prune_quarantine(now(), 0, 10, true)`,
	} {
		if _, err := db.Pool.Exec(t.Context(), `select * from `+call); err == nil || !strings.Contains(err.Error(), "younger than a day") {
			t.Errorf("%s: %v", call, err)
		}
	}
	err := pgx.BeginTxFunc(t.Context(), db.Pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `select * from contactmirror_drop_bodies('webhook_bodies_0', now() - interval '2 days', true)`)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "READ COMMITTED only") {
		t.Errorf("in repeatable read: %v", err)
	}
	// Whatever relations the caller puts in the way.
	conn, err := db.Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, statement := range []string{
		`create temp table sync_queue (event_seq bigint)`, `create temp table webhook_events (event_seq bigint, received_at timestamptz)`,
		`set search_path = pg_temp, public`,
		`select contactmirror_extend_bodies()`,
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	var verdict string
	if err := conn.QueryRow(t.Context(), `select verdict from contactmirror_drop_bodies('webhook_bodies_0', now() - interval '2 days', false)`).Scan(&verdict); err != nil || verdict != "younger" {
		t.Errorf("with relations in the way: %q, %v", verdict, err)
	}
}

func TestKeeper(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	store(t, db.Pool, 3*day, 1)
	execute(t, db.Pool, `select setval('webhook_events_event_seq_seq', 1500000)`)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- retention.NewKeeper(db.Pool, 2*day, slog.New(slog.DiscardHandler)).Run(ctx) }()
	want := fmt.Sprint([]string{"webhook_bodies_1000000 1000000 2000000", "webhook_bodies_2000000 2000000 3000000", "webhook_bodies_3000000 3000000 4000000", "webhook_bodies_default"})
	var got string
	for deadline := time.Now().Add(20 * time.Second); got != want && time.Now().Before(deadline); {
		got = fmt.Sprint(texts(t, db.Pool, partitions))
	}
	if got != want {
		t.Errorf("partitions %s, want %s", got, want)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
