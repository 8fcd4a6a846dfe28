package admin

import (
	"runtime"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"contactmirror/internal/spool"
)

const prefix = "contactmirror_"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

func counter(name, help string) prometheus.CounterOpts {
	return prometheus.CounterOpts{Name: prefix + name, Help: help}
}

func histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets}
}

func gauge(name, help string, value func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: prefix + name, Help: help}, value)
}

// toggle is 1 while on.
func toggle(name, help string, on func() bool) prometheus.Collector {
	return gauge(name, help, func() float64 {
		if on() {
			return 1
		}
		return 0
	})
}

// since is a moment in seconds since 1970, 0 where there is none.
func since(name, help string, at func() time.Time) prometheus.Collector {
	return gauge(name, help, func() float64 {
		t := at()
		if t.IsZero() {
			return 0
		}
		return float64(t.UnixMicro()) / 1e6
	})
}

func buildInfo(version, revision string) prometheus.Collector {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: prefix + "build_info", Help: "1, with which build this is.",
	}, []string{"version", "revision", "goversion"})
	info.WithLabelValues(version, revision, runtime.Version()).Set(1)
	return info
}

// counts is a counter for each word of a map that is kept elsewhere.
type counts struct {
	desc *prometheus.Desc
	read func() map[string]uint64
}

func (c counts) Describe(descs chan<- *prometheus.Desc) { descs <- c.desc }

func (c counts) Collect(metrics chan<- prometheus.Metric) {
	for word, n := range c.read() {
		metrics <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(n), word)
	}
}

// spoolCollector measures a spool, all of it at one moment.
type spoolCollector func() spool.State

var (
	spoolRecords = desc("spool_records", "Deliveries in the spool.")
	spoolBytes   = desc("spool_bytes", "Size of the spool.")
	spoolLimit   = desc("spool_limit_bytes", "The most that the spool may hold.")
	movedFiles   = desc("spool_moved_aside_files", "Spool files that were moved aside: they hold accepted deliveries that do not drain.")
	movedAge     = desc("spool_moved_aside_oldest_age_seconds", "Age, at the most, of the oldest delivery that they may hold; 0 when there is no such file.")
	spoolGone    = desc("spool_unavailable", "1 while the spool can't be opened: what it holds does not drain, and it takes nothing.")
	spoolAge     = desc("spool_oldest_age_seconds", "Age of the oldest delivery in the spool; 0 when there is none.")
)

func (spoolCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- spoolRecords
	descs <- spoolBytes
	descs <- spoolLimit
	descs <- spoolAge
	descs <- spoolGone
	descs <- movedFiles
	descs <- movedAge
}

func (read spoolCollector) Collect(metrics chan<- prometheus.Metric) {
	s := read()
	send(metrics, prometheus.GaugeValue, spoolRecords, float64(s.Records))
	send(metrics, prometheus.GaugeValue, spoolBytes, float64(s.Bytes))
	send(metrics, prometheus.GaugeValue, spoolLimit, float64(s.Limit))
	send(metrics, prometheus.GaugeValue, spoolAge, age(s.Oldest))
	unavailable := 0.
	if s.Unavailable != nil {
		unavailable = 1
	}
	send(metrics, prometheus.GaugeValue, spoolGone, unavailable)
	send(metrics, prometheus.GaugeValue, movedFiles, float64(s.MovedAside.Files))
	send(metrics, prometheus.GaugeValue, movedAge, age(s.MovedAside.Oldest))
}

// age is in seconds, 0 where there is no such time.
func age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, time.Since(t).Seconds())
}

// poolCollector measures a connection pool.
type poolCollector struct{ pool *pgxpool.Pool }

var (
	poolConns    = desc("pool_connections", "Database connections by what they do.", "state")
	poolMax      = desc("pool_max_connections", "The most database connections there may be.")
	poolAcquires = desc("pool_acquires_total", "Connections taken from the pool.")
	poolEmpty    = desc("pool_empty_acquires_total", "Connections that had to be waited for.")
	poolWait     = desc("pool_wait_seconds_total", "Time spent waiting for connections.")
	poolCanceled = desc("pool_canceled_acquires_total", "Waits for a connection that were given up.")
)

func (poolCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{poolConns, poolMax, poolAcquires, poolEmpty, poolWait, poolCanceled} {
		descs <- d
	}
}

func (c poolCollector) Collect(metrics chan<- prometheus.Metric) {
	s := c.pool.Stat()
	send(metrics, prometheus.GaugeValue, poolConns, float64(s.IdleConns()), "idle")
	send(metrics, prometheus.GaugeValue, poolConns, float64(s.AcquiredConns()), "used")
	send(metrics, prometheus.GaugeValue, poolConns, float64(s.ConstructingConns()), "connecting")
	send(metrics, prometheus.GaugeValue, poolMax, float64(s.MaxConns()))
	send(metrics, prometheus.CounterValue, poolAcquires, float64(s.AcquireCount()))
	send(metrics, prometheus.CounterValue, poolEmpty, float64(s.EmptyAcquireCount()))
	send(metrics, prometheus.CounterValue, poolWait, s.EmptyAcquireWaitTime().Seconds())
	send(metrics, prometheus.CounterValue, poolCanceled, float64(s.CanceledAcquireCount()))
}

func send(metrics chan<- prometheus.Metric, kind prometheus.ValueType, d *prometheus.Desc, value float64, labels ...string) {
	metrics <- prometheus.MustNewConstMetric(d, kind, value, labels...)
}
