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
		"contacts": "context_identifier, contact_id", "contact_tombstones": "context_identifier, contact_id", "erasures": "audit_seq",
		"sync_shards": "shard", "quarantined_deliveries": "quarantine_seq", "duplicate_deliveries": "duplicate_seq",
	} {
		change("alter table " + table + " drop constraint " + table + "_pkey")
		refused()
		change("alter table " + table + " add primary key (" + columns + ")")
	}
	// As pg_restore makes it: on the table alone, and then on its partitions.
	const keyed = "webhook_bodies add primary key (event_seq, received_at, ignored)"
	change(`alter table webhook_bodies drop constraint webhook_bodies_pkey; alter table only ` + keyed)
	refused()
	change(`alter table webhook_bodies drop constraint webhook_bodies_pkey; alter table ` + keyed)
	// And those that say what an event repeats, and what was erased.
	for without, again := range map[string]string{
		"alter table webhook_events drop constraint webhook_events_key": "alter table webhook_events add constraint webhook_events_key unique (context_identifier, event_id, event, primary_key)",
		"drop index webhook_events_keyless_sha256":                      "create unique index webhook_events_keyless_sha256 on webhook_events (keyless_sha256) where keyless_sha256 is not null",
		"drop index contact_audit_log_event_seq":                        "create unique index contact_audit_log_event_seq on contact_audit_log (event_seq)",
		"drop index erasures_in_force":                                  "create unique index erasures_in_force on erasures (context_identifier, contact_id) where lifted_at is null",
	} {
		change(without)
		refused()
		change(again)
	}
	if n, _, err := w.batch(t.Context(), 100); err != nil || n != 10 {
		t.Errorf("applied %d, %v, want 10", n, err)
	}
}
