package admin

import (
	"contactmirror/internal/contact"
	"contactmirror/internal/mirror"
)

// The values of apply_batches_total's label.
const committed, failed = "committed", "failed"

// quarantined is the outcome of an event that could not be applied.
const quarantined = "quarantined"

// outcomeLabels are the values of events_total's label.
var outcomeLabels = []string{
	string(contact.Applied), string(contact.NoOp), string(contact.Superseded), string(contact.AfterDelete), quarantined,
}

// Batch counts what a worker has applied.
func (m *Metrics) Batch(b mirror.Batch) {
	if b.Err != nil {
		m.batches.WithLabelValues(failed).Inc()
		return
	}
	m.batches.WithLabelValues(committed).Inc()
	m.took.Observe(b.Took.Seconds())
	m.size.Observe(float64(len(b.Applied) + b.Blamed))
	outcomes := map[contact.Outcome]int{quarantined: b.Blamed}
	for _, e := range b.Applied {
		outcomes[e.Outcome]++
		// Clocks differ: what seems to come before its cause came at once.
		m.occurred.Observe(max(0, b.At.Sub(e.OccurredAt).Seconds()))
		m.received.Observe(max(0, b.At.Sub(e.ReceivedAt).Seconds()))
	}
	for outcome, n := range outcomes {
		m.outcomes.WithLabelValues(string(outcome)).Add(float64(n))
	}
}
