package mirror

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"contactmirror/internal/bench"
	"contactmirror/internal/inbox"
	"contactmirror/internal/pgtest"
)

// Beside a backlog, live traffic is applied by itself: all of it, in whatever
// shards nobody works on, and none of the backlog with it.
func TestExpressTakesLiveTrafficOnly(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	w := New(db.Pool, slog.New(slog.DiscardHandler), 1)
	queue := func(tenant string, from, events int) {
		t.Helper()
		b := bench.Backlog{Traffic: bench.Traffic{Tenant: tenant, Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, Events: events, Contacts: events, From: from}
		if err := b.Queue(t.Context(), db.Pool); err != nil {
			t.Fatal(err)
		}
	}
	apply := func(what string, want int, batch func() (int, bool, error)) {
		t.Helper()
		applied, _, err := batch()
		if err != nil {
			t.Fatal(err)
		}
		if applied != want {
			t.Errorf("%s applied %d events, want %d", what, applied, want)
		}
	}
	own := express{w: w}
	defer own.release()
	express := func() (int, bool, error) { return own.batch(t.Context(), batchSize) }
	queue("Live", 0, 50)
	apply("express without a backlog", 0, express)
	apply("a batch", 50, func() (int, bool, error) { return w.batch(t.Context(), batchSize) })
	queue("Burst", 0, 2000)
	if applied, _, err := w.batch(t.Context(), batchSize); err != nil || applied == 0 {
		t.Fatalf("a batch of the backlog: %d events, %v", applied, err)
	}
	select {
	case <-w.express:
	default:
		t.Error("a new backlog does not wake the express loop, for what others had queued before")
	}
	queue("Live", 1, 50)

	// Another worker has a quarter of the shards.
	tx, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "select from sync_shards where shard < 8 for update"); err != nil {
		t.Fatal(err)
	}
	var free int
	if err := db.Pool.QueryRow(t.Context(), "select count(*) from sync_queue where context_identifier = 'Live' and shard >= 8").Scan(&free); err != nil {
		t.Fatal(err)
	}
	apply("express beside locked shards", free, express)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	apply("express once they are free", 50-free, express)
	apply("express of nothing", 0, express)
	for more := true; more; {
		if _, more, err = w.batch(t.Context(), batchSize); err != nil {
			t.Fatal(err)
		}
	}
}

// The express loop is woken for live traffic beside a backlog, and not for more of
// the backlog.
func TestExpressIsWokenForLiveTrafficOnly(t *testing.T) {
	t.Parallel()
	w := New(nil, slog.New(slog.DiscardHandler), 1)
	woken := func(tenants ...string) bool {
		w.Wake(tenants...)
		select {
		case <-w.express:
			return true
		default:
			return false
		}
	}
	if woken("Live") || woken() {
		t.Error("woken while nobody is behind")
	}
	w.backlogs.note(fullClaim("Burst", 100), 100)
	if w.backlogs.awaited() {
		t.Error("live traffic is awaited before there was any")
	}
	if woken("Burst") {
		t.Error("woken for more of the backlog")
	}
	if !woken("Burst", "Live") || !woken() {
		t.Error("not woken for live traffic, or for what may be some")
	}
	if !w.backlogs.awaited() {
		t.Error("live traffic that was queued is not awaited")
	}
}

// Who has caught up while another is behind is live traffic again; and the express
// loop is told when nobody is behind any more, so that it lets its connection go.
func TestWhoHasCaughtUpIsLiveTraffic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b backlogs
		if !b.note(fullClaim("First", 100), 100) || b.note(fullClaim("First", 100), 100) {
			t.Error("that a tenant falls behind is to be reported once")
		}
		time.Sleep(behindFor + 1) // in the bubble
		if !b.note(fullClaim("Second", 100), 100) || !b.concerns([]string{"First"}) || b.concerns([]string{"Second"}) {
			t.Error("the first tenant still counts as behind, or the second one does not")
		}
		time.Sleep(behindFor + 1)
		if !b.note(nil, 100) || len(b.tenants()) > 0 {
			t.Error("that nobody is behind any more is not reported")
		}
	})
}

// fullClaim is a claim of n events of one lane that leaves more in it.
func fullClaim(tenant string, n int) []inbox.Claimed {
	found := make([]inbox.Claimed, n)
	for i := range found {
		found[i].Lane, found[i].Share = inbox.Lane{ContextIdentifier: tenant}, int64(n)
	}
	return found
}
