package admin

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"contactmirror/internal/mirror"
	"contactmirror/internal/spool"
)

// Sources is what a [Metrics] asks when it is scraped, several times at once
// perhaps, before the parts run and after they have ended. What is nil is not
// measured: this process has no such part.
type Sources struct {
	// Version and Revision name the build.
	Version, Revision string
	// Pool is measured itself, and where the queue is counted.
	Pool     *pgxpool.Pool
	Receiver *Receiver
	Worker   func() mirror.Health
}

// Receiver is what is asked about receiving. All of it must be set.
type Receiver struct {
	// Deliveries is how many there were of each result.
	Deliveries func() map[string]uint64
	// Unsigned is how many of those that were kept had no signature.
	Unsigned func() uint64
	// Retries is how many came with each retry number.
	Retries func() map[string]uint64
	// RefusedSince is since when no well-formed signature has matched a secret,
	// zero while they do.
	RefusedSince func() time.Time
	// LastAccepted is when a delivery was last kept, zero before the first.
	LastAccepted func() time.Time
	Spool        func() spool.State
	// InboxAway reports whether deliveries go to the spool.
	InboxAway func() bool
}

// Metrics is everything that is measured in this process. [Metrics.Batch] and
// [Metrics.Answered] are for the parts to call as things happen.
type Metrics struct {
	registry *prometheus.Registry

	answers  *prometheus.HistogramVec
	batches  *prometheus.CounterVec
	size     prometheus.Histogram
	took     prometheus.Histogram
	outcomes *prometheus.CounterVec
	occurred prometheus.Histogram
	received prometheus.Histogram
}

// Buckets, in seconds. The sender waits less than five for an answer; the
// outlier that matters in a delay is an hour of outage.
var (
	answerBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 1.5, 2, 5}
	batchBuckets  = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60}
	delayBuckets  = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400}
	sizeBuckets   = []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000}
)

// NewMetrics makes the measurements of a process with these sources.
func NewMetrics(s Sources) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		answers:  prometheus.NewHistogramVec(histogram("webhook_answer_seconds", "How long deliveries waited for their answer, by its status.", answerBuckets), []string{"code"}),
		batches:  prometheus.NewCounterVec(counter("apply_batches_total", "Transactions that applied events, or failed to."), []string{"result"}),
		size:     prometheus.NewHistogram(histogram("apply_batch_events", "Events in a committed batch.", sizeBuckets)),
		took:     prometheus.NewHistogram(histogram("apply_batch_duration_seconds", "How long a committed batch took.", batchBuckets)),
		outcomes: prometheus.NewCounterVec(counter("events_total", "Events that were dealt with, by what became of them."), []string{"outcome"}),
		occurred: prometheus.NewHistogram(histogram("event_visible_delay_seconds", "From an event's Timestamp, by the source's clock, until its contact and audit row were visible.", delayBuckets)),
		received: prometheus.NewHistogram(histogram("receipt_visible_delay_seconds", "From the receipt of an event until its contact and audit row were visible.", delayBuckets)),
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(s.Version, s.Revision),
	)
	if s.Receiver != nil {
		m.registerReceiver(s.Receiver)
	}
	if s.Worker != nil {
		m.registerWorker(s.Worker)
	}
	if s.Pool != nil {
		m.registry.MustRegister(poolCollector{s.Pool}, newBacklog(s.Pool))
	}
	return m
}

func (m *Metrics) registerReceiver(r *Receiver) {
	m.registry.MustRegister(
		m.answers,
		counts{desc("deliveries_total", "Deliveries by how they ended.", "result"), r.Deliveries},
		prometheus.NewCounterFunc(counter("unsigned_deliveries_total", "Deliveries that were accepted without a signature."),
			func() float64 { return float64(r.Unsigned()) }),
		counts{desc("delivery_retries_total", "Verified deliveries by SuperOffice's retry number.", "retry"), r.Retries},
		since("refused_since_timestamp_seconds", "Since when no well-formed signature has matched a secret; 0 while they do. Anybody can make such signatures up.", r.RefusedSince),
		since("last_delivery_timestamp_seconds", "When this process last accepted a delivery; 0 before the first.", r.LastAccepted),
		spoolCollector(r.Spool),
		toggle("inbox_away", "1 while deliveries go to the spool, as the inbox can't take them.", r.InboxAway),
	)
}

func (m *Metrics) registerWorker(health func() mirror.Health) {
	m.registry.MustRegister(
		m.batches, m.size, m.took, m.outcomes, m.occurred, m.received,
		toggle("worker_failing", "1 while batches fail; their events stay queued.", func() bool { return health().Err != nil }),
	)
	// A series must be there before it first counts, or that is no increase.
	for _, result := range []string{committed, failed} {
		m.batches.WithLabelValues(result)
	}
	for _, outcome := range outcomeLabels {
		m.outcomes.WithLabelValues(outcome)
	}
}

// Answered counts the answer to a delivery.
func (m *Metrics) Answered(status int, took time.Duration) {
	m.answers.WithLabelValues(strconv.Itoa(status)).Observe(took.Seconds())
}

// handler answers scrapes. Several at a time are a mistake somewhere.
func (m *Metrics) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
	})
}
