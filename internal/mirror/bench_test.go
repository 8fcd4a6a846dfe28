package mirror

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/simulator"
)

// BenchmarkApply applies a queue of random lives: in batches of 1,000, and for
// comparison in a transaction for each event. Both fold, write contacts and
// write the audit log.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1000, 1} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			db := pgtest.Durable(b)
			w := New(db.Pool, slog.New(slog.DiscardHandler), 1)
			applied := 0
			var took time.Duration
			for b.Loop() {
				b.StopTimer()
				n := 20_000
				if size == 1 {
					n = 500
				}
				queue(b, db.Pool, uint64(applied), n)
				b.StartTimer()
				began := time.Now()
				for busy := true; busy; {
					found, more, err := w.batch(context.Background(), size)
					if err != nil {
						b.Fatal(err)
					}
					applied, busy = applied+found, more
				}
				took += time.Since(began)
			}
			b.ReportMetric(float64(applied)/took.Seconds(), "events/s")
		})
	}
}

// queue stores n events of random lives.
func queue(b *testing.B, pool *pgxpool.Pool, seed uint64, n int) {
	b.Helper()
	received := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	lives := simulator.NewLives(seed, []string{fmt.Sprint("Cust", seed)}, n/5, received.AddDate(0, -1, 0))
	err := pgx.BeginFunc(context.Background(), pool, func(tx pgx.Tx) error {
		for range n {
			body := lives.Next()
			e, err := event.Parse(body, received)
			if err != nil {
				return err
			}
			if _, err := inbox.PutIn(context.Background(), tx, inbox.Delivery{Body: body, ReceivedAt: received, Event: &e}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
