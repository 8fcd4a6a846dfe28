package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/pgtest"
	"contactmirror/migrations"
)

// Every body has a partition: that of its day in its branch, or else the branch's
// default one.
func TestBodies_goToThePartitionOfTheirDay(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `
		select contactmirror_create_body_partition(false, '2026-01-02');
		insert into webhook_bodies (event_seq, received_at, ignored, body) values
			(1, '2026-01-01 23:59:59.999999 UTC', false, ''), (2, '2026-01-02 00:00:00 UTC', false, ''),
			(3, '2026-01-03 00:59:59.999999 +01:00', false, ''), (4, '2026-01-03 00:00:00 UTC', false, ''),
			(5, '2026-01-02 00:00:00 UTC', true, ''), (6, 'infinity', true, ''), (7, '-infinity', false, ''),
			(8, now(), false, ''), (9, now(), true, '')`); err != nil {
		t.Fatal(err)
	}
	today := texts(t, db.Pool, `select to_char(now() at time zone 'UTC', 'YYYYMMDD')`)[0]
	want := []string{
		"1 webhook_bodies_contact_default", "2 webhook_bodies_contact_20260102", "3 webhook_bodies_contact_20260102", "4 webhook_bodies_contact_default",
		"5 webhook_bodies_ignored_default", "6 webhook_bodies_ignored_default", "7 webhook_bodies_contact_default",
		"8 webhook_bodies_contact_" + today, "9 webhook_bodies_ignored_" + today,
	}
	if diff := cmp.Diff(want, texts(t, db.Pool, `select concat_ws(' ', event_seq, tableoid::regclass) from webhook_bodies order by event_seq`)); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
	// A day that has bodies in the default partition gets none of its own.
	if got := texts(t, db.Pool, `select concat_ws(' ', contactmirror_create_body_partition(false, '2026-01-01'), contactmirror_create_body_partition(true, '2026-01-01'),
		contactmirror_create_body_partition(true, '2026-01-01'))`); got[0] != "f t f" {
		t.Errorf("partitions made: %s, want f t f", got[0])
	}
}

// reads are the statements that read or remove the bodies of some events, with
// arguments: of event 1, which is in open quarantine, or of events 1 and 2. The
// functions of the schema are among them.
var reads = map[string]pgx.NamedArgs{
	"inbox_bodies":   {"event_seqs": []int64{1, 2}},
	"inbox_blame":    {"event_seq": 1, "reason": "for the test"},
	"erasure_body":   {"event_seq": 1},
	"erasure_redact": {"event_seq": 1, "redacted": nil},
	"erasure_strip":  {"event_seqs": []int64{2}},
	"quarantine_key": {"quarantine_seq": 1},
	"erasure_events": {"context_identifier": "Cust1", "contact_id": 7},
}

// others name webhook_bodies too, and why they are not among reads.
var others = map[string]string{
	"inbox_put":            "adds rows",
	"retention_extend":     "makes partitions",
	"retention_partitions": "lists partitions",
	"verify_events":        "reads all bodies",
}

// A statement about some events touches the partition that their bodies are in, and
// none of the others: not even to lock it, where it runs for every batch.
func TestBodies_statementsReadOnePartition(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	var received time.Time
	if err := db.Pool.QueryRow(t.Context(), `select date_trunc('day', now(), 'UTC') - interval '40 days' + interval '1 hour'`).Scan(&received); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Pool.Exec(t.Context(), `select contactmirror_create_body_partition(b.ignored, (now() at time zone 'UTC')::date - d)
		from generate_series(1, 90) d, (values (false), (true)) b (ignored)`); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`insert into webhook_events (context_identifier, event_id, event, primary_key, occurred_at, occurred_ticks, received_at, ignored)
			select 'Cust1', gen_random_uuid(), 'contact.changed', 7, $1, 0, $1, false from generate_series(1, 2)`,
		`insert into webhook_bodies (event_seq, received_at, ignored, body) select n, $1, false, '{}' from generate_series(1, 2) n`,
		`insert into quarantined_deliveries (received_at, reason, context_identifier, event_seq, body, body_sha256, resolved_at, resolution)
			select $1, 'for the test', 'Cust1', n, '{}', int8send(n), case n when 2 then now() end, case n when 2 then 'discarded' end from generate_series(1, 2) n`,
		`insert into erasures (audit_seq, context_identifier, contact_id, erased_at) values (1, 'Cust1', 7, $1)`,
	} {
		if _, err := db.Pool.Exec(t.Context(), statement, received); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if _, err := db.Pool.Exec(t.Context(), "analyze"); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../sql/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".sql")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		args, known := reads[name]
		_, listed := others[name]
		if strings.Contains(string(text), "webhook_bodies") && !known && !listed {
			t.Errorf("%s names webhook_bodies, and the test does not know it", name)
		}
		if !known {
			continue
		}
		all := pgx.NamedArgs{"received_at": received, "first": received, "last": received.Add(time.Minute)}
		for key, value := range args {
			all[key] = value
		}
		touched := partitionsTouched(t, db, string(text), all)
		if diff := cmp.Diff([]string{"webhook_bodies_contact_" + received.UTC().Format("20060102")}, touched.read); diff != "" {
			t.Errorf("%s reads (-want +got):\n%s", name, diff)
		}
		if name == "inbox_bodies" && touched.locked > 3 {
			t.Errorf("%s locks %d tables of bodies, want the partition, its branch and webhook_bodies", name, touched.locked)
		}
	}
}

type touched struct {
	read   []string
	locked int
}

// partitionsTouched runs a statement, which it rolls back, as often as it takes for
// the server to settle on a plan.
func partitionsTouched(t *testing.T, db *pgtest.DB, statement string, args pgx.NamedArgs) touched {
	t.Helper()
	conn, err := db.Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	// pg_stat_xact_user_tables also counts what the connection did before and has not reported yet.
	if _, err := conn.Exec(t.Context(), "select pg_stat_force_next_flush()"); err != nil {
		t.Fatal(err)
	}
	var found touched
	rolledBack := errors.New("rolled back")
	for range 8 {
		err := pgx.BeginTxFunc(t.Context(), conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			if err := exhaust(tx.Query(t.Context(), statement, args)); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
			if err := tx.QueryRow(t.Context(), `select array(
					select relname::text
					from pg_stat_xact_user_tables
					where relname like 'webhook\_bodies%' and coalesce(seq_scan, 0) + coalesce(idx_scan, 0) > 0
					order by relname
				), (
					select count(distinct l.relation)
					from pg_locks l
					join pg_class c on c.oid = l.relation
					where l.pid = pg_backend_pid() and c.relname like 'webhook\_bodies%' and c.relkind in ('r', 'p')
				)`).Scan(&found.read, &found.locked); err != nil {
				return err
			}
			return rolledBack
		})
		if !errors.Is(err, rolledBack) {
			t.Fatal(err)
		}
	}
	return found
}

func exhaust(rows pgx.Rows, err error) error {
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return rows.Err()
}

// beforeRetention is the schema version before partitions of days.
const beforeRetention = 6

// Down takes the partitions of days away, and leaves those that hold any body.
func TestBodies_downAndUp(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := migrations.Down(t.Context(), db.URL, beforeRetention, false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{
		"webhook_bodies", "webhook_bodies_contact", "webhook_bodies_contact_default", "webhook_bodies_ignored", "webhook_bodies_ignored_default",
	}, texts(t, db.Pool, `select relid::regclass::text from pg_partition_tree('webhook_bodies') order by 1`)); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	if _, err := db.Pool.Exec(context.WithoutCancel(t.Context()), `insert into webhook_bodies (event_seq, received_at, ignored, body) values (1, now(), false, '')`); err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Up(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
	// Today's bodies stay where one is already.
	if got := texts(t, db.Pool, `select count(*) filter (where ignored) || ' ' || count(*) filter (where not ignored) from body_partitions`); got[0] != "9 8" {
		t.Errorf("%s partitions of ignored and contact events, want 9 8", got[0])
	}
}
