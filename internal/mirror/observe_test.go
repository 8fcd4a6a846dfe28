package mirror_test

import (
	"fmt"
	"testing"
	"time"

	"contactmirror/internal/contact"
	"contactmirror/internal/mirror"
)

// Who observes hears of every event once, however its batch was taken apart,
// and of every batch that failed.
func TestObserve(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	batches := make(chan mirror.Batch, 1000)
	r.worker.Observe = func(b mirror.Batch) { batches <- b }
	for _, statement := range []string{
		`alter table contacts add constraint poison check (number1 is distinct from 'poison')`,
		`alter table contacts rename to hidden`,
	} {
		if _, err := r.Pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	const events = 40
	var bodies [][]byte
	for i := range events {
		value := "fine"
		if i%20 == 10 {
			value = "poison"
		}
		bodies = append(bodies, fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.changed",`+
			`"PrimaryKey":%d,"ContextIdentifier":"Cust1","FieldValues":{"number1":%q}}`, i, i+1, value))
	}
	r.deliver(bodies...)
	r.run(r.worker.Run)
	if b := <-batches; b.Err == nil || b.Took <= 0 || len(b.Applied)+b.Blamed > 0 {
		t.Errorf("without the table: %+v", b)
	}
	if _, err := r.Pool.Exec(t.Context(), `alter table hidden rename to contacts`); err != nil {
		t.Fatal(err)
	}
	outcomes, blamed := map[contact.Outcome]int{}, 0
	for heard := 0; heard < events; {
		b := <-batches
		if b.Err == nil && (b.Took <= 0 || time.Since(b.At) > time.Minute) {
			t.Errorf("took %v, visible at %v", b.Took, b.At)
		}
		for _, e := range b.Applied {
			outcomes[e.Outcome]++
			if !e.ReceivedAt.Equal(received) || !e.OccurredAt.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
				t.Errorf("occurred at %v, received at %v", e.OccurredAt, e.ReceivedAt)
			}
		}
		blamed += b.Blamed
		heard += len(b.Applied) + b.Blamed
	}
	if outcomes[contact.Applied] != events-2 || len(outcomes) != 1 || blamed != 2 {
		t.Errorf("heard of %v and %d blamed, want %d applied and 2 blamed", outcomes, blamed, events-2)
	}
	r.drain()
	if len(batches) > 0 {
		t.Errorf("heard of more: %+v", <-batches)
	}
}
