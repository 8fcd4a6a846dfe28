package admin_test

import (
	"testing"
	"time"

	"contactmirror/internal/admin"
	"contactmirror/internal/contact"
	"contactmirror/internal/mirror"
)

// What measuring adds to a batch of 1,000 events, which takes tens of
// milliseconds, and to an answer.
func BenchmarkObserve(b *testing.B) {
	healthy := func() mirror.Health { return mirror.Health{} }
	m := admin.NewMetrics(admin.Sources{Worker: healthy})
	batch := mirror.Batch{Took: time.Second, At: time.Now()}
	for i := range 1000 {
		at := batch.At.Add(-time.Duration(i) * 10 * time.Millisecond)
		batch.Applied = append(batch.Applied, mirror.Applied{Outcome: contact.Applied, OccurredAt: at.Add(-time.Second), ReceivedAt: at})
	}
	b.Run("batch=1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Batch(batch)
		}
	})
	b.Run("answer", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Answered(200, 3*time.Millisecond)
		}
	})
}
