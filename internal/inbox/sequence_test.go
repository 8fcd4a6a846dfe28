package inbox_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/inbox"
	"contactmirror/internal/pgtest"
)

// garbled is a delivery that is no event; n makes it one of its own.
func garbled(n int) inbox.Delivery {
	return inbox.Delivery{Body: fmt.Appendf(nil, "{%d", n), ReceivedAt: received, Reason: "is not JSON"}
}

// A sequence behind its table gives numbers that are taken. That is no
// delivery's fault: each is answered and kept as ever.
func TestPut_sequencesBehindTheirTables(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	in := start(t, db.Pool)
	const each = 60
	putEach := func(round int) {
		t.Helper()
		var puts sync.WaitGroup
		for i := range each {
			n := round*each + i
			puts.Go(func() {
				d, want := delivery(t, "Cust1", 1+n%7, n), inbox.Accepted
				if got := put(t, in, d); got != want {
					t.Errorf("event %d: %s, want %s", n, got, want)
				}
				if got := put(t, in, d); got != inbox.Duplicate {
					t.Errorf("event %d again: %s, want duplicate", n, got)
				}
				if got := put(t, in, garbled(n)); got != inbox.Quarantined {
					t.Errorf("garbled %d: %s, want quarantined", n, got)
				}
			})
		}
		puts.Wait()
	}
	for round := range 3 {
		putEach(round)
		db.ResetSequences(t)
	}
	putEach(3)
	got := texts(t, db.Pool, `select concat_ws(' ', (select count(*) from webhook_events), (select count(*) from sync_queue),
		(select count(*) from webhook_bodies), (select count(*) from duplicate_deliveries),
		(select count(*) from quarantined_deliveries), (select count(*) from quarantined_deliveries where reason <> 'is not JSON'))`)
	if want := []string{"240 240 240 240 240 0"}; !cmp.Equal(got, want) {
		t.Errorf("events, queued, bodies, duplicates, quarantined, of them for another reason: %q, want %q", got, want)
	}
}

// A number that is free, but that the log is complete up to, is not taken either:
// neither the account nor the change feed would find the event.
func TestPut_sequenceAtAGapBelowTheHorizon(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	in := start(t, db.Pool)
	exec := func(statement string) { t.Helper(); execute(t, db.Pool, statement) }
	exec(`select setval('webhook_events_event_seq_seq', 100)`) // 1 to 100 are free
	put(t, in, delivery(t, "Cust1", 1, 1))
	for range 3 {
		exec(`select * from advance_log_horizon()`)
	}
	db.ResetSequences(t)
	if got := put(t, in, delivery(t, "Cust1", 1, 2)); got != inbox.Accepted {
		t.Errorf("%s, want accepted", got)
	}
	if got := texts(t, db.Pool, `select (min(event_seq) > 100)::text from webhook_events`); got[0] != "true" {
		t.Error("an event has a number below the horizon")
	}
}

func execute(t *testing.T, pool *pgxpool.Pool, statement string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
