package admin

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"contactmirror/internal/report"
)

const (
	// backlogInterval is how long a reading of the queue is good for, whoever asks.
	backlogInterval = 15 * time.Second
	// backlogTimeout is how long a scrape waits for a reading.
	backlogTimeout = time.Second
)

// backlog measures the queue and the account, which are the database's: every
// process reports the same.
type backlog struct {
	pool *pgxpool.Pool

	mu   sync.Mutex // held while the database is asked
	at   time.Time
	last reading
	err  error
}

type reading struct {
	report.Backlog
	// unbalanced is nil where it was not asked for.
	unbalanced *int64
}

func newBacklog(pool *pgxpool.Pool) *backlog { return &backlog{pool: pool} }

var (
	queueEvents     = desc("queue_events", "Events that wait to be applied; an estimate above 50000. Missing while the database can't be asked.")
	queueAge        = desc("queue_oldest_age_seconds", "Since the receipt of the oldest event that waits to be applied; 0 when none does.")
	quarantineOpen  = desc("quarantine_open", "Entries in quarantine that nobody has resolved: deliveries that could not be understood, and events that could not be applied.", "kind")
	unbalanced      = desc("unbalanced_tenants", "Tenants whose accepted events are not the sum of their outcomes. Missing while more than 50000 events are queued: it would take long to count them.")
	feedHalted      = desc("feed_halted_seconds", "For how long the change feed has waited for a transaction to end; 0 while it does not.")
	brokenChains    = desc("audit_broken_chains", "Shards of the audit log whose chain has a head that no configured key signed: their rows are linked without a key.")
	backlogReadable = desc("queue_readable", "1 when the database could be asked for the queue.")
)

func (*backlog) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{queueEvents, queueAge, quarantineOpen, unbalanced, feedHalted, brokenChains, backlogReadable} {
		descs <- d
	}
}

// Collect reports what is known, asking the database first where that is old.
func (b *backlog) Collect(metrics chan<- prometheus.Metric) {
	now, err := b.read()
	if err != nil {
		send(metrics, prometheus.GaugeValue, backlogReadable, 0)
		return
	}
	age := 0.0
	if now.OldestQueuedAt != nil {
		age = max(0, time.Since(*now.OldestQueuedAt).Seconds())
	}
	halted := 0.0
	if now.HorizonWaitsSince != nil {
		halted = max(0, time.Since(*now.HorizonWaitsSince).Seconds())
	}
	send(metrics, prometheus.GaugeValue, backlogReadable, 1)
	send(metrics, prometheus.GaugeValue, feedHalted, halted)
	send(metrics, prometheus.GaugeValue, queueEvents, float64(now.Queued))
	send(metrics, prometheus.GaugeValue, queueAge, age)
	send(metrics, prometheus.GaugeValue, quarantineOpen, float64(now.OpenDeliveries), "delivery")
	send(metrics, prometheus.GaugeValue, quarantineOpen, float64(now.OpenEvents), "event")
	send(metrics, prometheus.GaugeValue, brokenChains, float64(now.BrokenChains))
	if now.unbalanced != nil {
		send(metrics, prometheus.GaugeValue, unbalanced, float64(*now.unbalanced))
	}
}

// read asks the database at most once an interval; that it can't be asked is
// remembered for as long.
func (b *backlog) read() (reading, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.at.IsZero() && time.Since(b.at) < backlogInterval {
		return b.last, b.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), backlogTimeout)
	defer cancel()
	b.last, b.err = b.ask(ctx)
	b.at = time.Now()
	return b.last, b.err
}

func (b *backlog) ask(ctx context.Context) (reading, error) {
	now, err := report.ReadBacklog(ctx, b.pool)
	if err != nil || now.Queued >= report.BacklogLimit {
		return reading{Backlog: now}, err
	}
	n, err := report.Unbalanced(ctx, b.pool)
	return reading{now, &n}, err
}
