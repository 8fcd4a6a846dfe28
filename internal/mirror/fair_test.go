package mirror_test

import (
	"context"
	"testing"
	"time"

	"contactmirror/internal/bench"
	"contactmirror/internal/mirror"
)

// A tenant's few events are applied among the first batches, whatever shards
// they are in, and however much another tenant has queued before them.
func TestABacklogKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, b := range []bench.Backlog{
		{Traffic: bench.Traffic{Tenant: "Burst", Start: start}, Events: 16_000, Contacts: 4000},
		{Traffic: bench.Traffic{Tenant: "Quiet", Start: start}, Events: 64, Contacts: 64},
	} {
		if err := b.Queue(context.Background(), r.Pool); err != nil {
			t.Fatal(err)
		}
	}
	applied := make(chan int, 1000)
	r.worker.Observe = func(b mirror.Batch) { applied <- len(b.Applied) }
	r.run(r.worker.Run)
	for n := 0; n < 16_064; n += <-applied { // drain would hold locks meanwhile
	}
	got := column(t, r.Pool, `select max(place)::text
		from (select context_identifier, row_number() over (order by audit_seq) as place from contact_audit_log) a
		where context_identifier = 'Quiet' having max(place) > 5000`)
	if len(got) > 0 {
		t.Errorf("the quiet tenant's last event was number %s of 16,064 to be applied, want one of the first 5,000", got[0])
	}
}
