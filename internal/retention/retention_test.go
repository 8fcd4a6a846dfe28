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

// both is the same retention for all bodies.
func both(d time.Duration) retention.Keep { return retention.Keep{Bodies: d, Ignored: d} }

// store stores ignored events with bodies of ten bytes, received age ago.
func store(t *testing.T, db *pgxpool.Pool, age time.Duration, seqs ...int64) {
	t.Helper()
	put(t, db, true, age, seqs...)
}

func put(t *testing.T, db *pgxpool.Pool, ignored bool, age time.Duration, seqs ...int64) {
	t.Helper()
	for _, seq := range seqs {
		execute(t, db, `with e as (
				insert into webhook_events (event_seq, context_identifier, event_id, event, primary_key, occurred_at, occurred_ticks, received_at, ignored)
				values ($1, 'Cust1', gen_random_uuid(), 'contact.changed', 7, now(), 0, now() - $2::interval, $3)
				returning event_seq, received_at, ignored
			)
			insert into webhook_bodies (event_seq, received_at, ignored, body)
			select event_seq, received_at, ignored, '0123456789'
			from e`, seq, age, ignored)
	}
}

// partition makes the partition of the day age ago, and returns its name.
func partition(t *testing.T, db *pgxpool.Pool, ignored bool, age time.Duration) string {
	t.Helper()
	execute(t, db, `select contactmirror_create_body_partition($1, ((now() - $2::interval) at time zone 'UTC')::date)`, ignored, age)
	return name(t, db, ignored, age)
}

// name is what the partition of the day age ago is called.
func name(t *testing.T, db *pgxpool.Pool, ignored bool, age time.Duration) string {
	t.Helper()
	var day string
	if err := db.QueryRow(t.Context(), `select to_char((now() - $1::interval) at time zone 'UTC', 'YYYYMMDD')`, age).Scan(&day); err != nil {
		t.Fatal(err)
	}
	if ignored {
		return "webhook_bodies_ignored_" + day
	}
	return "webhook_bodies_contact_" + day
}

const partitions = `select concat_ws(' ', partition_name, received_from at time zone 'UTC', received_before at time zone 'UTC') from body_partitions order by partition_name`

// days are the partitions from first to last days ago (negative: ahead), as partitions
// lists them, with the default ones.
func days(t *testing.T, db *pgxpool.Pool, first, last int) []string {
	t.Helper()
	return texts(t, db, fmt.Sprintf(`
		select branch || to_char(day, '_YYYYMMDD ') || concat_ws(' ', day::timestamp, (day + 1)::timestamp)
		from (values ('webhook_bodies_contact'), ('webhook_bodies_ignored')) b (branch)
		cross join generate_series(%d, %d) n
		cross join lateral (select (now() at time zone 'UTC')::date - n as day) d
		union all select 'webhook_bodies_contact_default'
		union all select 'webhook_bodies_ignored_default'
		order by 1`, last, first))
}

func drop(t *testing.T, db *pgxpool.Pool, names ...string) {
	t.Helper()
	for _, name := range names {
		execute(t, db, "drop table "+name)
	}
}

func TestExtend(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	extend := func(want int) {
		t.Helper()
		if made, err := retention.Extend(t.Context(), db.Pool); made != want || err != nil {
			t.Errorf("made %d, %v, want %d", made, err, want)
		}
	}
	extend(0)
	if diff := cmp.Diff(days(t, db.Pool, 0, -7), texts(t, db.Pool, partitions)); diff != "" {
		t.Errorf("a new database has (-want +got):\n%s", diff)
	}
	// Nobody made any for ten days: the days between are made up for.
	for n := -7; n <= 9; n++ {
		age := time.Duration(n) * day
		for _, ignored := range []bool{false, true} {
			if n <= 0 {
				drop(t, db.Pool, name(t, db.Pool, ignored, age))
			}
			if n == 9 {
				partition(t, db.Pool, ignored, 10*day)
			}
		}
	}
	extend(2 * (10 + 7))
	if diff := cmp.Diff(days(t, db.Pool, 10, -7), texts(t, db.Pool, partitions)); diff != "" {
		t.Errorf("after ten days (-want +got):\n%s", diff)
	}
	// A day that has bodies in the default partition goes on without a partition.
	ahead := name(t, db.Pool, true, -7*day)
	drop(t, db.Pool, ahead)
	store(t, db.Pool, -7*day, 1)
	extend(0)
	store(t, db.Pool, -6*day, 2)
	store(t, db.Pool, -7*day, 3)
	if got, want := texts(t, db.Pool, `select concat_ws(' ', event_seq, tableoid::regclass) from webhook_bodies order by 1`), []string{
		"1 webhook_bodies_ignored_default", "2 " + name(t, db.Pool, true, -6*day), "3 webhook_bodies_ignored_default",
	}; !cmp.Equal(got, want) {
		t.Errorf("bodies are in %q, want %q", got, want)
	}
}

// Partitions far ahead, from a clock that was wrong, don't keep those of these days
// from being made; and after a long time only the last month is made up for.
func TestExtend_afterAWrongClock(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for n := -7; n <= 0; n++ {
		drop(t, db.Pool, name(t, db.Pool, false, time.Duration(n)*day), name(t, db.Pool, true, time.Duration(n)*day))
	}
	partition(t, db.Pool, false, -1000*day)
	partition(t, db.Pool, true, 1000*day)
	if made, err := retention.Extend(t.Context(), db.Pool); made != 1+7+31+1+7 || err != nil {
		t.Errorf("made %d, %v, want %d", made, err, 1+7+31+1+7)
	}
}

// A report that reads bodies for a long time holds neither up for more than a moment,
// and both are repeated after it.
func TestNothingQueuesBehindAReport(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	old := partition(t, db.Pool, true, 3*day)
	store(t, db.Pool, 3*day, 1)
	drop(t, db.Pool, name(t, db.Pool, true, -7*day))
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
	a, err := retention.Prune(t.Context(), db.Pool, retention.Options{Keep: both(2 * day)})
	if err != nil || a.Bodies != 0 || a.Dropped != 0 || !cmp.Equal(a.Busy, []string{old}) {
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
	if a, err = retention.Prune(t.Context(), db.Pool, retention.Options{Keep: both(2 * day)}); err != nil || a.Bodies != 1 || a.Dropped != 1 || len(a.Busy) != 0 {
		t.Errorf("prune after the report: %+v, %v", a, err)
	}
}

// What goes and what stays, told beforehand and done.
func TestPrune(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	var (
		expired = partition(t, db.Pool, false, 100*day) // all of the day has expired: dropped
		ignored = partition(t, db.Pool, true, 100*day)  // the same of ignored events, whatever is queued
		held    = partition(t, db.Pool, false, 99*day)  // an event is queued, another in open quarantine: row by row
		ending  = partition(t, db.Pool, false, 90*day)  // some of the day has expired: waits for the rest
		younger = partition(t, db.Pool, false, 89*day)  // stays
	)
	put(t, db.Pool, false, 100*day, 1, 2)
	put(t, db.Pool, true, 100*day, 3)
	put(t, db.Pool, true, 99*day, 4) // its day has no partition
	put(t, db.Pool, false, 99*day, 10, 11, 12, 13)
	put(t, db.Pool, false, 90*day, 20)
	put(t, db.Pool, false, 89*day, 30)
	put(t, db.Pool, false, 200*day, 40) // its day has no partition
	put(t, db.Pool, false, -30*day, 41) // nor has this one's, by a clock that is ahead
	put(t, db.Pool, false, 88*day, 42)
	put(t, db.Pool, false, 200*day, 43) // after younger ones
	execute(t, db.Pool, `insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes)
		select 0, 'Cust1', event_seq, received_at, 10 from webhook_events where event_seq = 10`)
	for seq, resolution := range map[int64]*string{11: nil, 12: new("discarded")} {
		execute(t, db.Pool, `insert into quarantined_deliveries (received_at, reason, context_identifier, event_seq, headers, body, body_sha256, resolved_at, resolution)
			select received_at, 'for the test', 'Cust1', event_seq, '{"A": ["b"]}', 'personal', sha256('personal'), case when $2::text is not null then now() end, $2
			from webhook_events where event_seq = $1`, seq, resolution)
	}
	want := retention.Account{
		Partitions: []retention.Partition{
			{Name: expired, Dropped: true, Bodies: 2},
			{Name: ignored, Dropped: true, Bodies: 1},
			{Name: held, Bodies: 2, Bytes: 20},
			{Name: "webhook_bodies_contact_default", Bodies: 2, Bytes: 20},
			{Name: "webhook_bodies_ignored_default", Bodies: 1, Bytes: 10},
		},
		Dropped: 2, Bodies: 8, Quarantined: 1, QuarantinedBytes: 8,
		Held: []string{held}, Busy: []string{},
	}
	const left = `select event_seq::text from webhook_bodies order by event_seq`
	before := texts(t, db.Pool, left)
	for _, dry := range []bool{true, false} {
		want.DryRun = dry
		told := 0
		got, err := retention.Prune(t.Context(), db.Pool, retention.Options{
			Keep: both(90 * day), DryRun: dry, Progress: func(retention.Partition) { told++ },
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range got.Partitions {
			if p := &got.Partitions[i]; p.Dropped {
				if p.Bytes < 8192 {
					t.Errorf("a dropped partition of %d bytes", p.Bytes)
				}
				p.Bytes = 0
			}
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(retention.Account{}, "Before", "IgnoredBefore")); diff != "" || told != 5 {
			t.Errorf("dry run %t, told %d (-want +got):\n%s", dry, told, diff)
		}
		if dry && !cmp.Equal(before, texts(t, db.Pool, left)) {
			t.Error("a dry run has dropped something")
		}
	}
	if diff := cmp.Diff([]string{"10", "11", "20", "30", "41", "42"}, texts(t, db.Pool, left)); diff != "" {
		t.Errorf("bodies left (-want +got):\n%s", diff)
	}
	if got := texts(t, db.Pool, `select partition_name from body_partitions where received_before < now() order by received_before`); !cmp.Equal(got, []string{held, ending, younger}) {
		t.Errorf("partitions left %q", got)
	}
	if diff := cmp.Diff([]string{"11 personal t f", "12  f t"}, texts(t, db.Pool, `select concat_ws(' ', event_seq, convert_from(body, 'UTF8'), headers is not null, bytes_removed_at is not null)
		from quarantined_deliveries order by event_seq`)); diff != "" {
		t.Errorf("quarantine (-want +got):\n%s", diff)
	}
	if got := texts(t, db.Pool, `select count(*)::text from webhook_events`); got[0] != "14" {
		t.Errorf("%s events left", got[0])
	}
	if again, err := retention.Prune(t.Context(), db.Pool, retention.Options{Keep: both(90 * day)}); err != nil || again.Bodies+again.Quarantined != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
	// The last events that hold their day are dealt with.
	execute(t, db.Pool, `delete from sync_queue; update quarantined_deliveries set resolved_at = now(), resolution = 'discarded' where resolved_at is null`)
	if last, err := retention.Prune(t.Context(), db.Pool, retention.Options{Keep: both(90 * day)}); err != nil || last.Dropped != 1 || last.Bodies != 2 || len(last.Held) != 0 {
		t.Errorf("at last: %+v, %v", last, err)
	}
	execute(t, db.Pool, account) // no event of the test was applied
}

// Bodies of contact events and of ignored ones have a retention each, and each may be
// for ever.
func TestPrune_eachKindOfBodyHasItsRetention(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		keep        retention.Keep
		left        []string
		quarantined int64
	}{
		"both":             {retention.Keep{Bodies: 90 * day, Ignored: 7 * day}, []string{"2", "3", "12", "13"}, 1},
		"bodies forever":   {retention.Keep{Ignored: 7 * day}, []string{"1", "2", "3", "4", "12", "13"}, 0},
		"ignored forever":  {retention.Keep{Bodies: 90 * day}, []string{"2", "3", "10", "11", "12", "13", "14"}, 1},
		"both forever":     {retention.Keep{}, []string{"1", "2", "3", "4", "10", "11", "12", "13", "14"}, 0},
		"ignored for more": {retention.Keep{Bodies: 2 * day, Ignored: 30 * day}, []string{"3", "10", "12", "13"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			for _, age := range []time.Duration{100 * day, 8 * day} {
				partition(t, db.Pool, false, age)
				partition(t, db.Pool, true, age)
			}
			put(t, db.Pool, false, 100*day, 1)
			put(t, db.Pool, false, 8*day, 2)
			put(t, db.Pool, false, 0, 3)
			put(t, db.Pool, false, 99*day, 4) // its day has no partition, as that of 14 and 10
			put(t, db.Pool, true, 99*day, 14)
			put(t, db.Pool, true, 20*day, 10)
			put(t, db.Pool, true, 100*day, 11)
			put(t, db.Pool, true, 0, 12, 13)
			execute(t, db.Pool, account)
			execute(t, db.Pool, `insert into quarantined_deliveries (received_at, reason, body, body_sha256, resolved_at, resolution)
				values (now() - interval '91 days', 'for the test', 'personal', sha256('personal'), now(), 'discarded')`)
			a, err := retention.Prune(t.Context(), db.Pool, retention.Options{Keep: c.keep})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.left, texts(t, db.Pool, `select event_seq::text from webhook_bodies b order by b.event_seq`)); diff != "" {
				t.Errorf("bodies left (-want +got):\n%s", diff)
			}
			if got := texts(t, db.Pool, `select count(*)::text from quarantined_deliveries where body <> ''`); got[0] != fmt.Sprint(1-c.quarantined) {
				t.Errorf("%s entries keep their bytes, %d have lost them", got[0], a.Quarantined)
			}
			if (a.Before == nil) != (c.keep.Bodies == 0) || (a.IgnoredBefore == nil) != (c.keep.Ignored == 0) {
				t.Errorf("before %v, ignored before %v", a.Before, a.IgnoredBefore)
			}
		})
	}
}

// account quarantines every event that has no outcome, so that the account is right.
const account = `insert into quarantined_deliveries (received_at, reason, context_identifier, event_seq, body, body_sha256, resolved_at, resolution)
	select received_at, 'for the test', context_identifier, event_seq, '', '', now(), 'discarded' from webhook_events where not ignored
	on conflict do nothing`

// A put of a delivery that waited in a spool and that has not committed yet is waited
// for, and what it queued is seen.
func TestPruneWaitsForPutsUnderWay(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	old := partition(t, db.Pool, false, 3*day)
	put(t, db.Pool, false, 3*day, 1)
	late, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = late.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := late.Exec(t.Context(), `with e as (
			insert into webhook_events (event_seq, context_identifier, event_id, event, primary_key, occurred_at, occurred_ticks, received_at, ignored)
			values (2, 'Cust1', gen_random_uuid(), 'contact.changed', 7, now(), 0, now() - interval '3 days', false)
			returning event_seq, received_at
		), queued as (
			insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes) select 0, 'Cust1', event_seq, received_at, 4 from e
		)
		insert into webhook_bodies (event_seq, received_at, ignored, body) select event_seq, received_at, false, 'late' from e`); err != nil {
		t.Fatal(err)
	}
	a, err := retention.Prune(t.Context(), db.Pool, retention.Options{Keep: both(2 * day)})
	if err != nil || a.Dropped != 0 || !cmp.Equal(a.Busy, []string{old}) {
		t.Errorf("prune beside a put: %+v, %v", a, err)
	}
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	a, err = retention.Prune(t.Context(), db.Pool, retention.Options{Keep: both(2 * day)})
	if err != nil || a.Dropped != 0 || a.Bodies != 1 || !cmp.Equal(a.Held, []string{old}) {
		t.Errorf("prune after the put: %+v, %v", a, err)
	}
	if got := texts(t, db.Pool, `select event_seq::text from webhook_bodies`); !cmp.Equal(got, []string{"2"}) {
		t.Errorf("bodies left: %q, want 2", got)
	}
	execute(t, db.Pool, `delete from sync_queue`)
	execute(t, db.Pool, account)
}

// A put that commits between the two looks at the queue is seen by the second one,
// which is under the lock.
func TestPruneLooksAgainUnderTheLock(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	old := partition(t, db.Pool, false, 3*day)
	put(t, db.Pool, false, 3*day, 1)
	late, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = late.Rollback(context.WithoutCancel(t.Context())) }()
	// Holds the partition, as its insert does, and queues.
	if _, err := late.Exec(t.Context(), `lock table `+old+` in row exclusive mode`); err != nil {
		t.Fatal(err)
	}
	if _, err := late.Exec(t.Context(), `insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes)
		select 0, 'Cust1', event_seq, received_at, 10 from webhook_events`); err != nil {
		t.Fatal(err)
	}
	pruned := make(chan retention.Account, 1)
	go func() {
		a, err := retention.Prune(context.Background(), db.Pool, retention.Options{Keep: both(2 * day)})
		if err != nil {
			t.Error(err)
		}
		pruned <- a
	}()
	for waits := false; !waits; {
		if err := db.Pool.QueryRow(t.Context(), `select exists (select from pg_locks where not granted and relation = $1::regclass)`, old).Scan(&waits); err != nil {
			t.Fatal(err)
		}
	}
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := <-pruned; a.Dropped != 0 || !cmp.Equal(a.Held, []string{old}) && !cmp.Equal(a.Busy, []string{old}) {
		t.Errorf("pruned %+v", a)
	}
	if got := texts(t, db.Pool, `select event_seq::text from webhook_bodies`); !cmp.Equal(got, []string{"1"}) {
		t.Errorf("bodies left: %q, want 1", got)
	}
	execute(t, db.Pool, `delete from sync_queue`)
	execute(t, db.Pool, account)
}

// The database refuses what no caller may ask for.
func TestPruneRefuses(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := retention.Prune(t.Context(), db.Pool, retention.Options{Keep: both(day - 1)}); err == nil {
		t.Error("bodies younger than a day were pruned")
	}
	for _, call := range []string{
		`contactmirror_drop_bodies('webhook_bodies_contact_default', now(), true)`, `contactmirror_drop_bodies('webhook_bodies_contact_default', null, true)`,
		`contactmirror_delete_bodies('webhook_bodies_contact_default', now(), 0, 10, true)`, `contactmirror_prune_quarantine(now(), 0, 10, true)`,
	} {
		if _, err := db.Pool.Exec(t.Context(), `select * from `+call); err == nil || !strings.Contains(err.Error(), "younger than a day") {
			t.Errorf("%s: %v", call, err)
		}
	}
	err := pgx.BeginTxFunc(t.Context(), db.Pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `select * from contactmirror_drop_bodies('webhook_bodies_contact_default', now() - interval '2 days', true)`)
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
	if err := conn.QueryRow(t.Context(), `select verdict from contactmirror_drop_bodies('webhook_bodies_contact_default', now() - interval '2 days', false)`).Scan(&verdict); err != nil || verdict != "younger" {
		t.Errorf("with relations in the way: %q, %v", verdict, err)
	}
	if err := conn.QueryRow(t.Context(), `select verdict from contactmirror_drop_bodies('contacts', now() - interval '2 days', true)`).Scan(&verdict); err != nil || verdict != "younger" {
		t.Errorf("a table that is no partition: %q, %v", verdict, err)
	}
	if got := texts(t, db.Pool, `select count(*)::text from contactmirror_delete_bodies('contacts', now() - interval '2 days', 0, 10, true)`); got[0] != "0" {
		t.Errorf("rows of a table that is no partition: %q", got)
	}
}

func TestKeeper(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	partition(t, db.Pool, true, 3*day)
	store(t, db.Pool, 3*day, 1)
	drop(t, db.Pool, name(t, db.Pool, false, -7*day))
	want := days(t, db.Pool, 0, -7)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- retention.NewKeeper(db.Pool, both(2*day), slog.New(slog.DiscardHandler)).Run(ctx) }()
	var got []string
	for deadline := time.Now().Add(20 * time.Second); !cmp.Equal(got, want) && time.Now().Before(deadline); {
		got = texts(t, db.Pool, partitions)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("partitions (-want +got):\n%s", diff)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
