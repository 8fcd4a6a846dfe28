package mirror

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"contactmirror/internal/bench"
	"contactmirror/internal/pgtest"
)

// Events copied back into the queue of a running worker, below its marks, are
// applied once it has checked them.
func TestWorker_checksItsMarks(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	w := New(db.Pool, slog.New(slog.DiscardHandler), 1)
	apply := func() (applied int) {
		t.Helper()
		for busy := true; busy; {
			n, more, err := w.batch(context.Background(), 1000)
			if err != nil {
				t.Fatal(err)
			}
			applied, busy = applied+n, more
		}
		return applied
	}
	b := bench.Backlog{Traffic: bench.Traffic{Tenant: "Cust1", Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, Events: 20_000, Contacts: 20_000}
	if err := b.Queue(t.Context(), db.Pool); err != nil {
		t.Fatal(err)
	}
	change := func(statement string) {
		t.Helper()
		if _, err := db.Pool.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	change(`create table held as select * from sync_queue where event_seq <= 100; delete from sync_queue where event_seq <= 100`)
	if n := apply(); n != b.Events-100 {
		t.Fatalf("applied %d, want %d", n, b.Events-100)
	}
	change(`insert into sync_queue select * from held`)
	if n := apply(); n == 100 {
		t.Errorf("applied all 100 rows below the marks, so the test shows nothing")
	}
	w.checkMarks(t.Context())
	select {
	case <-w.wake:
	default:
		t.Error("the check wakes no loop")
	}
	apply()
	var left int
	if err := db.Pool.QueryRow(t.Context(), `select count(*) from sync_queue`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d left in the queue, %v, want none", left, err)
	}
}

// While a restore runs, rows are there before the keys, and some before others.
// Nothing is applied then: not without bodies that are still to come, nor twice.
func TestWorker_waitsForKeys(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	w := New(db.Pool, slog.New(slog.DiscardHandler), 1)
	b := bench.Backlog{Traffic: bench.Traffic{Tenant: "Cust1", Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, Events: 10, Contacts: 10}
	if err := b.Queue(t.Context(), db.Pool); err != nil {
		t.Fatal(err)
	}
	refused := func() {
		t.Helper()
		if n, _, err := w.batch(t.Context(), 100); err == nil || !strings.Contains(err.Error(), "a restore is under way") {
			t.Errorf("applied %d, %v, want an error about a restore", n, err)
		}
	}
	change := func(statement string) {
		t.Helper()
		if _, err := db.Pool.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	for table, columns := range map[string]string{
		"webhook_events": "event_seq", "sync_queue": "shard, context_identifier, written_by, event_seq", "contact_audit_log": "audit_seq",
		"contacts": "context_identifier, contact_id", "contact_tombstones": "context_identifier, contact_id",
	} {
		change("alter table " + table + " drop constraint " + table + "_pkey")
		refused()
		change("alter table " + table + " add primary key (" + columns + ")")
	}
	// As pg_restore makes it: on the table alone, and then on its partitions.
	change(`alter table webhook_bodies drop constraint webhook_bodies_pkey; alter table only webhook_bodies add primary key (event_seq)`)
	refused()
	change(`alter table webhook_bodies drop constraint webhook_bodies_pkey; alter table webhook_bodies add primary key (event_seq)`)
	if n, _, err := w.batch(t.Context(), 100); err != nil || n != 10 {
		t.Errorf("applied %d, %v, want 10", n, err)
	}
}
