package mirror

import (
	"context"
	"log/slog"
	"math"
	"testing"
	"time"

	"contactmirror/internal/bench"
	"contactmirror/internal/pgtest"
)

// A worker whose count of claims has come to the end of its type, signed or not,
// finds every shard as before.
func TestRotationNeverEnds(t *testing.T) {
	t.Parallel()
	for _, end := range []uint32{math.MaxInt32, math.MaxUint32} {
		db := pgtest.New(t)
		w := New(db.Pool, slog.New(slog.DiscardHandler), 1)
		w.rotation.Store(end - 2)
		b := bench.Backlog{Traffic: bench.Traffic{Tenant: "Cust1", Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, Events: 300, Contacts: 300}
		if err := b.Queue(t.Context(), db.Pool); err != nil {
			t.Fatal(err)
		}
		applied := 0
		for busy := true; busy; {
			n, more, err := w.batch(context.Background(), 100)
			if err != nil {
				t.Fatal(err)
			}
			applied, busy = applied+n, more
		}
		if applied != b.Events {
			t.Errorf("from %d on: %d events applied, want %d", end-2, applied, b.Events)
		}
	}
}
