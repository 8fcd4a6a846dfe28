package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/accept"
	"contactmirror/internal/admin"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/receive"
	"contactmirror/internal/signature"
	"contactmirror/internal/spool"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	secret  = "Something Super Secret"
	maxBody = 16 << 10
)

// wired is all that serve runs in one process, on a database of its own.
type wired struct {
	*pgtest.DB
	t        *testing.T
	admin    *admin.Admin
	receiver *receive.Receiver
	worker   *mirror.Worker
	gate     *accept.Gate
	// away makes the database look so to those who put deliveries into it.
	away atomic.Bool
	// applied tells how many events each batch dealt with.
	applied chan int
}

var errAway = errors.New("away")

func newMirror(t *testing.T) *wired {
	t.Helper()
	w := &wired{DB: pgtest.New(t), t: t, applied: make(chan int, 100)}
	log := slog.New(slog.DiscardHandler)
	w.worker = mirror.New(w.Pool, log, 2)
	box := inbox.New(w.Pool, w.worker.Wake)
	buffer, err := spool.Open(t.TempDir(), 4000, log)
	if err != nil {
		t.Fatal(err)
	}
	w.gate = accept.New(accept.Inbox{
		Put: func(ctx context.Context, d inbox.Delivery) (inbox.Result, error) {
			if w.away.Load() {
				return "", errAway
			}
			return box.Put(ctx, d)
		},
		Probe: func(ctx context.Context) error {
			if w.away.Load() {
				return errAway
			}
			return box.Probe(ctx)
		},
	}, buffer, log)
	var metrics *admin.Metrics
	w.receiver = receive.New(receive.Config{
		Keyring: signature.NewKeyring([]signature.Secret{{Key: secret}}, nil),
		MaxBody: maxBody, Put: w.gate.Accept,
		Answered: func(status int, took time.Duration) { metrics.Answered(status, took) },
	})
	metrics = admin.NewMetrics(admin.Sources{
		Version: "v1.2.3", Revision: "abc", Pool: w.Pool, Worker: w.worker.Health,
		Receiver: &admin.Receiver{
			Deliveries:   w.deliveries,
			Unsigned:     func() uint64 { return w.receiver.Counts()[receive.Unsigned] },
			Retries:      w.receiver.Retries,
			RefusedSince: func() time.Time { since, _ := w.receiver.Refused(); return since },
			LastAccepted: w.receiver.LastAccepted,
			Spool:        buffer.State,
			InboxAway:    func() bool { _, away := w.gate.AwaySince(); return away },
		},
	})
	w.worker.Observe = func(b mirror.Batch) { metrics.Batch(b); w.applied <- len(b.Applied) + b.Blamed }
	w.admin = admin.New(admin.Config{Metrics: metrics})
	w.run(buffer.Run)
	w.run(box.Run)
	w.run(w.gate.Run)
	return w
}

func (w *wired) deliveries() map[string]uint64 {
	counts := map[string]uint64{}
	for outcome, n := range w.receiver.Counts() {
		counts[string(outcome)] = n
	}
	delete(counts, string(receive.Unsigned))
	return counts
}

// run runs f until the test ends.
func (w *wired) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

// post delivers body, signed with key unless that is empty, and checks what is
// answered.
func (w *wired) post(key string, body []byte, retry, want string) {
	w.t.Helper()
	req := httptest.NewRequestWithContext(w.t.Context(), "POST", "/webhook", bytes.NewReader(body))
	if key != "" {
		req.Header.Set(signature.Header, signature.Sign(key, body))
	}
	if retry != "" {
		req.Header.Set("X-SuperOffice-Retry", retry)
	}
	answer := httptest.NewRecorder()
	w.receiver.ServeHTTP(answer, req)
	if got := fmt.Sprint(answer.Code, " ", answer.Body); !strings.HasPrefix(got, want) {
		w.t.Errorf("answered %s, want %s", got, want)
	}
}

// wait waits until n more events have been dealt with.
func (w *wired) wait(n int) {
	w.t.Helper()
	patience := time.After(30 * time.Second)
	for n > 0 {
		select {
		case applied := <-w.applied:
			n -= applied
		case <-patience:
			w.t.Fatalf("%d events were not applied; health: %+v", n, w.worker.Health())
		}
	}
}

// event is a contact.changed of a contact, with room bytes of padding.
func event(t *testing.T, contact, room int) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"EventId": fmt.Sprintf("8337ae4a-1dd6-40fd-8dc7-%012d", contact), "Event": "contact.changed",
		"Timestamp": time.Now().Add(-90 * time.Second).UTC().Format(time.RFC3339Nano),
		"Entity":    "contact", "PrimaryKey": contact, "ContextIdentifier": "Cust1",
		"Changes": []string{"contact_id", strings.Repeat("x", room)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func sample(t *testing.T, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("..", "..", "testdata", "deliveries", name))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// scraped is what /metrics answered.
type scraped struct {
	text   string
	values map[string]float64
}

func scrape(t *testing.T, a *admin.Admin) scraped {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil)
	req.Host = "localhost:8081"
	answer := httptest.NewRecorder()
	if a.ServeHTTP(answer, req); answer.Code != http.StatusOK {
		t.Fatalf("/metrics answered %d %s", answer.Code, answer.Body)
	}
	s := scraped{answer.Body.String(), map[string]float64{}}
	for line := range strings.Lines(s.text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil {
			s.values[strings.TrimPrefix(name, "contactmirror_")] = n
		}
	}
	return s
}

// check compares some of the values. The series wanted must be there.
func (s scraped) check(t *testing.T, want map[string]float64) {
	t.Helper()
	got := map[string]float64{}
	for name := range want {
		if value, ok := s.values[name]; ok {
			got[name] = value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("/metrics (-want +got):\n%s", diff)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newMirror(t)
	w.run(w.worker.Run)
	before := time.Now()

	w.post(secret, sample(t, "2018-changed.json"), "", `200 {"result":"accepted"}`)
	w.wait(1)
	w.post(secret, sample(t, "2018-changed.json"), "1", `200 {"result":"duplicate"}`)
	w.post(secret, sample(t, "2018-created.json"), "2", `200 {"result":"accepted"}`)
	w.wait(1)
	w.post(secret, sample(t, "2018-deleted.json"), "0", `200 {"result":"accepted"}`)
	w.wait(1)
	w.post(secret, sample(t, "test-event.json"), "3", `200 {"result":"ignored"}`)
	w.post(secret, []byte("{"), "x", `200 {"result":"quarantined"}`)
	w.post(secret, make([]byte, maxBody+1), "", "413")
	w.away.Store(true)
	w.post(secret, event(t, 1, 1500), "", `200 {"result":"spooled"}`)
	w.post(secret, event(t, 2, 1500), "", "503") // more than a tenant's part of the spool
	w.post("guessed", sample(t, "2018-changed.json"), "1", "401")
	w.post("", sample(t, "2018-changed.json"), "1", "401")

	s := scrape(t, w.admin)
	s.check(t, map[string]float64{
		`deliveries_total{result="accepted"}`: 3, `deliveries_total{result="duplicate"}`: 1,
		`deliveries_total{result="ignored"}`: 1, `deliveries_total{result="quarantined"}`: 1,
		`deliveries_total{result="spooled"}`: 1, `deliveries_total{result="unavailable"}`: 1,
		`deliveries_total{result="wrong_signature"}`: 1, `deliveries_total{result="missing_signature"}`: 1,
		`deliveries_total{result="too_large"}`: 1, `deliveries_total{result="malformed"}`: 0,
		`unsigned_deliveries_total`:         0,
		`delivery_retries_total{retry="0"}`: 4, `delivery_retries_total{retry="1"}`: 1,
		`delivery_retries_total{retry="2"}`: 1, `delivery_retries_total{retry="more"}`: 1,
		`delivery_retries_total{retry="unreadable"}`: 1,
		`webhook_answer_seconds_count{code="200"}`:   7, `webhook_answer_seconds_count{code="401"}`: 2,
		`webhook_answer_seconds_count{code="413"}`: 1, `webhook_answer_seconds_count{code="503"}`: 1,
		`inbox_away`: 1, `spool_records`: 1, `spool_limit_bytes`: 4000,
		`apply_batches_total{result="committed"}`: 3, `apply_batches_total{result="failed"}`: 0,
		`apply_batch_events_count`: 3, `apply_batch_events_sum`: 3, `apply_batch_duration_seconds_count`: 3,
		`events_total{outcome="applied"}`: 2, `events_total{outcome="no_op"}`: 1, `events_total{outcome="superseded"}`: 0,
		`events_total{outcome="after_delete"}`: 0, `events_total{outcome="quarantined"}`: 0,
		`event_visible_delay_seconds_count`: 3, `receipt_visible_delay_seconds_count`: 3,
		`event_visible_delay_seconds_bucket{le="86400"}`: 0, // the samples are years old
		`queue_readable`: 1, `queue_events`: 0, `queue_oldest_age_seconds`: 0,
		`quarantine_open{kind="delivery"}`: 1, `quarantine_open{kind="event"}`: 0,
		`unbalanced_tenants`: 0,
		`worker_failing`:     0, `pool_max_connections`: float64(w.Pool.Config().MaxConns),
	})
	for name, least := range map[string]float64{
		"spool_bytes": 1500, "spool_oldest_age_seconds": 0, "receipt_visible_delay_seconds_sum": 0,
		"apply_batch_duration_seconds_sum": 0, "pool_acquires_total": 5, "go_goroutines": 5, "process_resident_memory_bytes": 1e6,
		"refused_since_timestamp_seconds": float64(before.Unix()), "last_delivery_timestamp_seconds": float64(before.Unix()),
	} {
		if got, ok := s.values[name]; !ok || got < least {
			t.Errorf("%s is %v, %v, want at least %v", name, got, ok, least)
		}
	}
	if !strings.Contains(s.text, `contactmirror_build_info{goversion="go1.`) || !strings.Contains(s.text, `revision="abc",version="v1.2.3"} 1`) {
		t.Error("the build is missing")
	}
	promtool(t, s.text, "check", "metrics")

	w.away.Store(false)
	w.wait(1)
	w.post(secret, event(t, 3, 0), "", `200 {"result":"accepted"}`)
	w.wait(1)
	scrape(t, w.admin).check(t, map[string]float64{
		`inbox_away`: 0, `spool_records`: 0, `spool_bytes`: 0, `spool_oldest_age_seconds`: 0,
		`refused_since_timestamp_seconds`: 0, `events_total{outcome="applied"}`: 4,
		// Both events happened a minute and a half before.
		`event_visible_delay_seconds_bucket{le="60"}`: 0, `event_visible_delay_seconds_bucket{le="300"}`: 2,
		`receipt_visible_delay_seconds_count`: 5,
	})
}

// What waits is counted where nobody applies it.
func TestBacklog(t *testing.T) {
	t.Parallel()
	w := newMirror(t)
	for contact := range 3 {
		w.post(secret, event(t, contact+1, 0), "", `200 {"result":"accepted"}`)
	}
	s := scrape(t, w.admin)
	s.check(t, map[string]float64{`queue_events`: 3, `queue_readable`: 1})
	if age := s.values["queue_oldest_age_seconds"]; age <= 0 || age > 60 {
		t.Errorf("queue_oldest_age_seconds is %v", age)
	}
	w.post(secret, event(t, 4, 0), "", `200 {"result":"accepted"}`)
	scrape(t, w.admin).check(t, map[string]float64{`queue_events`: 3}) // the database is not asked again so soon
}

// A scrape says what it can while the database can't be asked, and in time.
func TestScrapeWithoutDatabase(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	tx, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), "lock table sync_queue in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	a := admin.New(admin.Config{Metrics: admin.NewMetrics(admin.Sources{Pool: db.Pool})})
	for range 2 {
		began := time.Now()
		s := scrape(t, a)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		s.check(t, map[string]float64{`queue_readable`: 0, `pool_max_connections`: float64(db.Pool.Config().MaxConns)})
		if _, ok := s.values["queue_events"]; ok {
			t.Error("queue_events is made up")
		}
	}
}

// An account that does not add up shows, and is not looked for in a long queue.
func TestUnbalancedAccountIsMeasured(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	const one = `insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes) values (0, 'Cust1', 1, now(), 0)`
	if _, err := db.Pool.Exec(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	scrape(t, admin.New(admin.Config{Metrics: admin.NewMetrics(admin.Sources{Pool: db.Pool})})).check(t, map[string]float64{
		`unbalanced_tenants`: 1, `queue_events`: 1,
	})
	if _, err := db.Pool.Exec(t.Context(), `insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes) select 0, 'Cust1', generate_series(2, 60000), now(), 0`); err != nil {
		t.Fatal(err)
	}
	s := scrape(t, admin.New(admin.Config{Metrics: admin.NewMetrics(admin.Sources{Pool: db.Pool})}))
	if n, ok := s.values["unbalanced_tenants"]; ok || s.values["queue_readable"] != 1 {
		t.Errorf("unbalanced_tenants is %v, want it to be missing", n)
	}
	if _, err := db.Pool.Exec(t.Context(), `truncate sync_queue`); err != nil {
		t.Fatal(err)
	}
}
