package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/mirror"
)

// changed is the nth event of contact id; a name that the table refuses makes it
// one that can't be applied.
func changed(n, id int, name string) []byte {
	return fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-01T00:00:00.%07dZ","Event":"contact.changed",`+
		`"PrimaryKey":%d,"ContextIdentifier":"Cust1","FieldValues":{"name":%q}}`, n, n, id, name)
}

// deliverThen delivers bodies and calls then before any of them is applied.
func (r *rig) deliverThen(bodies [][]byte, then func()) {
	r.t.Helper()
	err := pgx.BeginFunc(context.Background(), r.Pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(context.Background(), "select from sync_shards order by shard for update")
		r.deliver(bodies...)
		then()
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// Numbers of the log and of quarantine that are taken already are no event's
// fault: good events are applied, only the poisoned ones quarantined, and no batch
// fails.
func TestWorker_sequencesBehindTheirTables(t *testing.T) {
	t.Parallel()
	for name, reset := range map[string]string{
		"log":        `select setval('contact_audit_log_audit_seq_seq', 1, false)`,
		"quarantine": `select setval('quarantined_deliveries_quarantine_seq_seq', 1, false)`,
		"all":        `select setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) from pg_sequences`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2)
			exec := func(statement string) {
				t.Helper()
				if _, err := r.Pool.Exec(context.Background(), statement); err != nil {
					t.Fatal(err)
				}
			}
			exec(`alter table contacts add constraint poison check (name <> 'poison')`)
			r.worker.Observe = func(b mirror.Batch) {
				if b.Err != nil && !errors.Is(b.Err, context.Canceled) { // the test ends
					t.Errorf("a batch failed: %v", b.Err)
				}
			}
			r.run(r.worker.Run)
			for round := range 3 {
				var bodies [][]byte
				for i := range 100 {
					n := 100*round + i
					name := "fine"
					if i == 50 {
						name = "poison"
					}
					bodies = append(bodies, changed(n, 1+n, name))
				}
				r.deliverThen(bodies, func() { exec(reset) })
				r.drain()
			}
			for _, reason := range column(t, r.Pool, `select reason from quarantined_deliveries order by event_seq`) {
				if !strings.Contains(reason, `check constraint "poison"`) {
					t.Errorf("quarantined: %s", reason)
				}
			}
			got := column(t, r.Pool, `select concat_ws(' ', accepted, queued, quarantined, applied, balanced) from event_accounting`)
			if want := []string{"300 0 3 297 t"}; !cmp.Equal(got, want) {
				t.Errorf("account %q, want %q", got, want)
			}
		})
	}
}

// A number that is free, but that the log is complete up to, is not taken either:
// whoever follows the log has read past it.
func TestWorker_sequenceAtAGapBelowTheHorizon(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.run(r.worker.Run)
	exec := func(statement string) {
		t.Helper()
		if _, err := r.Pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec(`select setval('contact_audit_log_audit_seq_seq', 100)`) // 1 to 100 are free
	r.deliver(changed(1, 1, "one"))
	r.drain()
	for range 3 {
		exec(`select * from advance_log_horizon()`)
	}
	r.deliverThen([][]byte{changed(2, 1, "two")}, func() { r.ResetSequences(t) })
	r.drain()
	if got := column(t, r.Pool, `select concat_ws(' ', count(*), min(audit_seq) > 100) from contact_audit_log`); got[0] != "2 t" {
		t.Errorf("audit rows, all above the horizon: %s, want 2 t", got[0])
	}
}

// An event that is queued again from a copy of the queue has its outcome already: it
// is neither applied twice nor quarantined. A sequence at its end is the server's
// fault, and quarantines nothing either.
func TestWorker_doesNotBlameEventsForTheServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	exec := func(statement string) {
		t.Helper()
		if _, err := r.Pool.Exec(context.Background(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec(`create table copied (like sync_queue)`)
	r.deliver(changed(1, 1, "a"), changed(2, 1, "b"), changed(3, 2, "c"))
	exec(`insert into copied select * from sync_queue`)
	failed := make(chan error, 1)
	var blamed atomic.Int64
	r.worker.Observe = func(b mirror.Batch) {
		blamed.Add(int64(b.Blamed))
		select {
		case failed <- b.Err:
		default:
		}
	}
	r.run(r.worker.Run)
	r.drain()
	exec(`insert into sync_queue select * from copied; drop table copied`)
	r.deliver(changed(4, 3, "d"))
	r.drain()

	exec(`alter sequence contact_audit_log_audit_seq_seq maxvalue 100; select setval('contact_audit_log_audit_seq_seq', 100)`)
	r.deliver(changed(5, 3, "e"))
	for err := range failed {
		if err != nil {
			if !strings.Contains(err.Error(), "contact_audit_log_audit_seq_seq") {
				t.Errorf("failed with %v", err)
			}
			break
		}
	}
	exec(`alter sequence contact_audit_log_audit_seq_seq no maxvalue`)
	r.drain()
	if got := column(t, r.Pool, `select concat_ws(' ', count(*), count(distinct event_seq), (select count(*) from quarantined_deliveries)) from contact_audit_log`); got[0] != "5 5 0" {
		t.Errorf("logged, of events, quarantined: %s, want 5 5 0", got[0])
	}
	if n := blamed.Load(); n != 0 {
		t.Errorf("%d events count as quarantined, want none", n)
	}
}

// An event has one outcome. One that is queued again by a copy of rows while it is in
// quarantine is no longer there once it is applied, or was applied before.
func TestWorker_closesTheEntryOfAnAppliedEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	exec := func(statement string) {
		t.Helper()
		if _, err := r.Pool.Exec(context.Background(), statement); err != nil {
			t.Fatal(err)
		}
	}
	entries := func() []string {
		t.Helper()
		return column(t, r.Pool, `select concat_ws(' ', event_seq is not null, resolution, resolved_at is null) from quarantined_deliveries order by event_seq`)
	}
	exec(`alter table contacts add constraint poison check (name <> 'poison'); create table copied (like sync_queue); create table entries (like quarantined_deliveries)`)
	r.deliver(changed(1, 1, "poison"), changed(2, 2, "poison"), changed(3, 3, "fine"))
	exec(`insert into copied select * from sync_queue`)
	exec(`insert into quarantined_deliveries (received_at, reason, body, body_sha256) values (now(), 'never an event', '', '')`)
	r.run(r.worker.Run)
	r.drain()
	exec(`insert into entries select * from quarantined_deliveries`)
	if diff := cmp.Diff([]string{"t t", "t t", "f t"}, entries()); diff != "" {
		t.Fatalf("entries (-want +got):\n%s", diff)
	}
	exec(`insert into sync_queue select c.* from copied c join webhook_events e using (event_seq) where e.primary_key = 2`)
	r.drain() // it is refused again
	if diff := cmp.Diff([]string{"t t", "t t", "f t"}, entries()); diff != "" {
		t.Errorf("entries after another refusal (-want +got):\n%s", diff)
	}
	exec(`alter table contacts drop constraint poison; insert into sync_queue select * from copied`)
	r.drain()
	if diff := cmp.Diff([]string{"t retried f", "t retried f", "f t"}, entries()); diff != "" {
		t.Errorf("entries after both were applied (-want +got):\n%s", diff)
	}
	// Entry and queue are both copied back.
	exec(`delete from quarantined_deliveries; insert into quarantined_deliveries select * from entries; insert into sync_queue select * from copied; drop table copied, entries`)
	r.drain()
	if diff := cmp.Diff([]string{"t retried f", "t retried f", "f t"}, entries()); diff != "" {
		t.Errorf("entries of events applied before (-want +got):\n%s", diff)
	}
	got := column(t, r.Pool, `select concat_ws(' ', accepted, quarantined, applied, balanced) from event_accounting`)
	if want := []string{"3 0 3 t"}; !cmp.Equal(got, want) {
		t.Errorf("account %q, want %q", got, want)
	}
}
