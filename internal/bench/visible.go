package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// watchInterval is how often the table is looked at: the error of a latency.
	watchInterval = time.Millisecond
	// watchPatience is how long a contact may take to appear.
	watchPatience = time.Minute
)

// Latencies posts at rate for as long as d says, and returns how long after its
// answer each event was visible in contacts, in order of length; 0 for those that
// were visible before. Each event is about a new contact, so that what is
// visible can be asked for at little cost.
func Latencies(ctx context.Context, url string, p *Poster, rate float64, d time.Duration) ([]time.Duration, error) {
	first := p.First + p.next.Load() // the contact before the first one that this run makes
	watching, stop := context.WithCancel(ctx)
	defer stop()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("bench: watch: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	visible := make(chan map[int64]time.Time, 1)
	want := make(chan int, 1)
	var watchErr error
	go func() {
		var seen map[int64]time.Time
		seen, watchErr = watch(watching, conn, p.Tenant, first, want)
		visible <- seen
	}()
	answered, err := p.Paced(ctx, rate, d)
	if err != nil {
		return nil, err
	}
	want <- len(answered)
	seen := <-visible
	if watchErr != nil {
		return nil, watchErr
	}
	took := make([]time.Duration, 0, len(answered))
	for id, at := range answered {
		took = append(took, max(0, seen[id].Sub(at)))
	}
	slices.Sort(took)
	return took, nil
}

// watch notes when each contact of tenant behind first appears, until as many
// have as want says.
func watch(ctx context.Context, conn *pgx.Conn, tenant string, first int64, want <-chan int) (map[int64]time.Time, error) {
	const question = "select contact_id from contacts where context_identifier = $1 and contact_id > $2"
	var (
		seen   = map[int64]time.Time{}
		before = first // all up to here have been seen: they appear out of order
		all    = -1
		tick   = time.NewTicker(watchInterval)
		end    <-chan time.Time
	)
	defer tick.Stop()
	for len(seen) != all {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case all = <-want:
			end = time.After(watchPatience)
		case <-end:
			return nil, errors.New("bench: events that were answered are not in contacts after a minute")
		case <-tick.C:
		}
		rows, _ := conn.Query(ctx, question, tenant, before) // CollectRows returns its error
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return nil, fmt.Errorf("bench: watch: %w", err)
		}
		now := time.Now()
		for _, id := range ids {
			if _, known := seen[id]; !known {
				seen[id] = now
			}
		}
		for !seen[before+1].IsZero() {
			before++
		}
	}
	return seen, nil
}

// Quantile is the length below which a share q of sorted lengths lie.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
