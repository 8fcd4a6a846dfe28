package mirror

import (
	"time"

	"contactmirror/internal/contact"
)

// Batch is what [Worker.Observe] is told of a transaction that found events, or
// failed.
type Batch struct {
	// Err is why nothing was applied; nil after a commit, and then the fields
	// behind Took are set.
	Err  error
	Took time.Duration
	// At is when the batch became visible, by this process's clock.
	At time.Time
	// Applied is the events with an audit row.
	Applied []Applied
	// Blamed is how many events were quarantined.
	Blamed int
}

// Applied is what became of one event.
type Applied struct {
	Outcome contact.Outcome
	// OccurredAt is by the source's clock, ReceivedAt by the receiver's.
	OccurredAt, ReceivedAt time.Time
}

func (w *Worker) observe(b Batch) {
	if w.Observe != nil {
		w.Observe(b)
	}
}

// outcomes lists what became of n events of contacts.
func outcomes(contacts []*touched, n int) []Applied {
	all := make([]Applied, 0, n)
	for _, t := range contacts {
		for i, e := range t.events {
			all = append(all, Applied{t.results[i].Outcome, e.Fact.Order.Ticks.Time(), e.receivedAt})
		}
	}
	return all
}
