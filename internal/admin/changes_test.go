package admin_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/admin"
	"contactmirror/internal/feed"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/settle"
)

// follow asks for changes.
func follow(t *testing.T, a *admin.Admin, query string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/changes"+query, nil)
	req.Host = "localhost:8081"
	answer := httptest.NewRecorder()
	a.ServeHTTP(answer, req)
	return answer
}

// A follower gets what has happened, waits for what comes, and goes on where it
// was.
func TestChanges(t *testing.T) {
	t.Parallel()
	w := newMirror(t)
	log := slog.New(slog.DiscardHandler)
	settler, changes := settle.New(w.Pool, log), feed.New(w.Pool, log)
	w.worker.Observe = func(mirror.Batch) { settler.Wake() }
	a := admin.New(admin.Config{Metrics: admin.NewMetrics(admin.Sources{}), Feed: changes})
	w.run(w.worker.Run)
	w.run(settler.Run)
	w.run(changes.Run)
	if got := follow(t, a, ""); got.Code != 200 || strings.TrimSpace(got.Body.String()) != `{"changes":[],"next":"0"}` {
		t.Errorf("of an empty log: %d %s", got.Code, got.Body)
	}

	waited := make(chan *httptest.ResponseRecorder, 1)
	go func() { waited <- follow(t, a, "?after=0&wait=20") }()
	began := time.Now()
	w.post(secret, sample(t, "v11-changed.json"), "", "200")
	first := <-waited
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the change came after %v", took)
	}
	var got struct {
		Changes []map[string]any
		Next    string
	}
	if err := json.Unmarshal(first.Body.Bytes(), &got); err != nil || len(got.Changes) != 1 {
		t.Fatalf("%v: %s", err, first.Body)
	}
	change := got.Changes[0]
	row, _ := change["contact"].(map[string]any)
	if row["contact_id"] != float64(18) || row["country_id"] != float64(826) || row["soft_deleted"] != false {
		t.Errorf("contact: %v", row)
	}
	delete(change, "contact")
	number, proved, _ := strings.Cut(got.Next, "-")
	newest, proof, _ := strings.Cut(proved, "-")
	seq, _ := strconv.ParseFloat(number, 64)
	if newest != number || len(proof) != 16 {
		t.Errorf("next: %s", got.Next)
	}
	want := map[string]any{
		"audit_seq": seq, "context_identifier": "Cust54321", "contact_id": float64(18), "change": "upserted", "event": "contact.changed",
		"event_id": change["event_id"], "occurred_at": "2025-05-14T10:48:07.891203Z", "outcome": "applied", "changed_columns": change["changed_columns"],
	}
	if diff := cmp.Diff(want, change); diff != "" {
		t.Errorf("change (-want +got):\n%s", diff)
	}

	if now := follow(t, a, "?after=now"); strings.TrimSpace(now.Body.String()) != `{"changes":[],"next":"`+got.Next+`"}` {
		t.Errorf("from now on: %s", now.Body)
	}
	if again := follow(t, a, "?after="+got.Next); again.Code != http.StatusOK {
		t.Errorf("from the last change on: %d %s", again.Code, again.Body)
	}
	// Numbers that prove nothing, a row that does not exist, and one that is another's.
	for _, after := range []string{number, "999999", "999999-999999-" + proof, "999999-" + proved, number + "-" + newest + "-0123456789abcdef", "0-999999-" + proof} {
		refused := follow(t, a, "?wait=20&after="+after)
		if refused.Code != http.StatusConflict || refused.Header().Get("Content-Type") != "application/problem+json" ||
			!strings.Contains(refused.Body.String(), "restored from a backup") || !strings.Contains(refused.Body.String(), "changes_cursor()") {
			t.Errorf("after=%s: %d %v %s", after, refused.Code, refused.Header(), refused.Body)
		}
	}
	for _, query := range []string{"?after=x", "?after=-1", "?after=" + number + "-", "?after=" + got.Next + ".", "?limit=0", "?limit=1001", "?limit=x", "?wait=21", "?wait=-1", "?wait=1.5"} {
		if wrong := follow(t, a, query); wrong.Code != http.StatusBadRequest || !strings.Contains(wrong.Body.String(), strings.Trim(strings.Split(query, "=")[0], "?")) {
			t.Errorf("%s: %d %s", query, wrong.Code, wrong.Body)
		}
	}
}

// No more than so many may ask at a time; a stranger may not at all.
func TestFollowersAreBounded(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	changes := feed.New(db.Pool, slog.New(slog.DiscardHandler))
	a := admin.New(admin.Config{Metrics: admin.NewMetrics(admin.Sources{}), Feed: changes})
	var followers sync.WaitGroup
	codes := make(chan *httptest.ResponseRecorder, 200)
	for range cap(codes) {
		followers.Go(func() { codes <- follow(t, a, "?wait=3") })
	}
	followers.Wait()
	close(codes)
	answers := map[int]int{}
	for answer := range codes {
		answers[answer.Code]++
		if answer.Code == http.StatusServiceUnavailable && answer.Header().Get("Retry-After") != "1" {
			t.Errorf("refused without a time to come back: %v", answer.Header())
		}
	}
	if diff := cmp.Diff(map[int]int{200: 64, 503: 136}, answers); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}

	guarded := admin.New(admin.Config{Token: token, Metrics: admin.NewMetrics(admin.Sources{}), Feed: changes})
	if answer := follow(t, guarded, ""); answer.Code != http.StatusUnauthorized {
		t.Errorf("without the token: %d", answer.Code)
	}
	req := httptest.NewRequestWithContext(t.Context(), "POST", "/changes", nil)
	req.Host = "localhost"
	answer := httptest.NewRecorder()
	if a.ServeHTTP(answer, req); answer.Code != http.StatusMethodNotAllowed || answer.Header().Get("Allow") != "GET" {
		t.Errorf("POST: %d, %v", answer.Code, answer.Header())
	}
}

// A follower that waits does not hold the end of the process up.
func TestAWaitingFollowerIsLetGo(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	changes := feed.New(db.Pool, slog.New(slog.DiscardHandler))
	a := admin.New(admin.Config{Metrics: admin.NewMetrics(admin.Sources{}), Feed: changes})
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(ctx, listener, 5*time.Second) }()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		get(t, &http.Client{Transport: &http.Transport{}}, "http://"+listener.Addr().String()+"/changes?wait=20")
	}()
	for s := db.Pool.Stat(); s.AcquireCount() < 1 || s.AcquiredConns() > 0; s = db.Pool.Stat() { // it has read, and found nothing
		runtime.Gosched()
	}
	began := time.Now()
	stop()
	if err := <-ended; err != nil || time.Since(began) > 4*time.Second {
		t.Errorf("ended after %v: %v", time.Since(began), err)
	}
	<-answered
}
