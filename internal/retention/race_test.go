package retention_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/retention"
)

// Deliveries that waited in a spool for longer than bodies are kept are applied
// all the same, while retention is at work: no queued event loses its body.
func TestPruneLeavesWhatIsQueued(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	w := mirror.New(db.Pool, slog.New(slog.DiscardHandler), 2)
	in := inbox.New(db.Pool, w.Wake)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- w.Run(ctx) }()
	go func() { ended <- in.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	const events = 1000
	put := make(chan error, 8)
	received := time.Now().Add(-3 * day)
	for i := range cap(put) {
		go func() {
			for n := i; n < events; n += cap(put) {
				body := fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.changed","PrimaryKey":%d}`, n, 1+n%50)
				e, err := event.Parse(body, received)
				if err == nil {
					_, err = in.Put(context.Background(), inbox.Delivery{Body: body, ReceivedAt: received, Event: &e})
				}
				if err != nil {
					put <- err
					return
				}
			}
			put <- nil
		}()
	}
	var pruned int64
	for running := cap(put); running > 0 || pruned < events; {
		select {
		case err := <-put:
			if err != nil {
				t.Fatal(err)
			}
			running--
		default:
		}
		a, err := retention.Prune(t.Context(), db.Pool, retention.Options{Keep: both(2 * day)})
		if err != nil {
			t.Fatal(err)
		}
		pruned += a.Bodies
		if got := texts(t, db.Pool, `select reason from quarantined_deliveries`); len(got) > 0 {
			t.Fatalf("quarantined: %q", got)
		}
	}
	if got := texts(t, db.Pool, `select concat_ws(' ', accepted, queued, quarantined, balanced) from event_accounting`); got[0] != "1000 0 0 t" {
		t.Errorf("account %q, want 1000 0 0 t", got[0])
	}
}
