package report_test

import (
	"testing"

	"contactmirror/internal/pgtest"
	"contactmirror/internal/report"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// A long queue is not counted to its end.
func TestBacklogOfALongQueue(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for _, statement := range []string{
		`insert into webhook_events (context_identifier, event_id, event, primary_key, occurred_at, occurred_ticks, received_at, ignored)
			select 'Cust1', gen_random_uuid(), 'contact.changed', n, now(), 0, now() - interval '1 hour', false from generate_series(1, 60000) n`,
		`insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes)
			select event_seq % 32, context_identifier, event_seq, received_at, 0 from webhook_events`,
		`insert into quarantined_deliveries (received_at, reason, body, body_sha256) values (now(), 'test', '', '')`,
	} {
		if _, err := db.Pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	got, err := report.ReadBacklog(t.Context(), db.Pool)
	if err != nil {
		t.Fatal(err)
	}
	// The server's estimate may know of none of them yet.
	if got.Queued < 50_000 || got.Queued > 60_000 || got.OldestQueuedAt == nil || got.OpenDeliveries != 1 || got.OpenEvents != 0 {
		t.Errorf("got %+v", got)
	}
}
