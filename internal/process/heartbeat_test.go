package heartbeat_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/heartbeat"
	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/report"
	"contactmirror/internal/signature"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var at = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func process(id heartbeat.ID) heartbeat.Process {
	return heartbeat.Process{ID: id, Host: "one", PID: 7, Roles: []string{"receive", "sync"}, Version: "v1", StartedAt: at}
}

func newHeart(db pg.DB, id heartbeat.ID, c *heartbeat.Condition) *heartbeat.Heart {
	return heartbeat.New(db, process(id), func() heartbeat.Condition { return *c }, slog.New(slog.DiscardHandler))
}

func beat(t *testing.T, h *heartbeat.Heart) {
	t.Helper()
	if err := h.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func texts(t *testing.T, db *pgxpool.Pool, query string) []string {
	t.Helper()
	rows, _ := db.Query(t.Context(), query)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return values
}

func same(t *testing.T, name string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

const (
	rows = `select (to_jsonb(r) - 'receiver_id' - 'heartbeat_at' - 'host' - 'pid' - 'roles' - 'version' - 'started_at')::text
		from receivers r order by receiver_id`
	secrets = `select concat_ws(' ', context_identifier, ordinal, coalesce(not_after at time zone 'UTC', 'infinity'),
		coalesce(last_matched_at at time zone 'UTC', '-infinity'), refused_since at time zone 'UTC')
		from receiver_secrets order by receiver_id, context_identifier, ordinal`
)

func TestBeat(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	c := heartbeat.Condition{At: at}
	h := newHeart(db.Pool, heartbeat.NewID(), &c)
	beat(t, h)
	same(t, "nothing to tell", texts(t, db.Pool, rows),
		`{"refused": 0, "observed_at": "2026-11-01T12:00:00+00:00", "spool_bytes": 0, "worker_error": null, "refused_since": null, `+
			`"spool_records": 0, "spool_oldest_at": null, "inbox_away_since": null, "last_accepted_at": null, "moved_aside_files": 0, "worker_failing_since": null, "moved_aside_oldest_at": null}`)
	same(t, "no secrets", texts(t, db.Pool, secrets), []string{}...)
	same(t, "heartbeat", texts(t, db.Pool, `select concat_ws(' ', host, pid, roles, version, started_at at time zone 'UTC', now() - heartbeat_at < '1 minute') from receivers`),
		"one 7 {receive,sync} v1 2026-11-01 12:00:00 t")

	minute := func(n int) time.Time { return at.Add(time.Duration(n) * time.Minute) }
	c = heartbeat.Condition{
		At: minute(9), SpoolRecords: 3, SpoolBytes: 700, SpoolOldest: minute(1), InboxAwaySince: minute(2),
		MovedAsideFiles: 2, MovedAsideOldest: minute(0),
		WorkerError: errors.New("no\x00 \xff"), WorkerFailingSince: minute(3),
		LastAccepted: minute(4), RefusedSince: minute(5), Refused: 6,
		Secrets: []signature.Use{
			{Tenant: "*", Ordinal: 1, NotAfter: minute(60)},
			{Tenant: "*", Ordinal: 2, LastMatched: minute(4)},
			{Tenant: "", Ordinal: 1, RefusedSince: minute(5)},
		},
	}
	beat(t, h)
	same(t, "everything", texts(t, db.Pool, rows),
		`{"refused": 6, "observed_at": "2026-11-01T12:09:00+00:00", "spool_bytes": 700, "worker_error": "no� �", "refused_since": "2026-11-01T12:05:00+00:00", `+
			`"spool_records": 3, "spool_oldest_at": "2026-11-01T12:01:00+00:00", "inbox_away_since": "2026-11-01T12:02:00+00:00", `+
			`"last_accepted_at": "2026-11-01T12:04:00+00:00", "moved_aside_files": 2, "worker_failing_since": "2026-11-01T12:03:00+00:00", "moved_aside_oldest_at": "2026-11-01T12:00:00+00:00"}`)
	same(t, "secrets", texts(t, db.Pool, secrets),
		" 1 infinity -infinity 2026-11-01 12:05:00", "* 1 2026-11-01 13:00:00 -infinity", "* 2 infinity 2026-11-01 12:04:00")

	c.Secrets = []signature.Use{{Tenant: "*", Ordinal: 1, LastMatched: minute(8)}}
	beat(t, h)
	same(t, "after a rotation", texts(t, db.Pool, secrets), "* 1 infinity 2026-11-01 12:08:00")
}

// Rows of which nothing changed are not written again: an idle receiver costs
// one small update every few seconds, however many secrets it has.
func TestIdleSecretsAreNotWritten(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	c := heartbeat.Condition{At: at, Secrets: []signature.Use{{Tenant: "*", Ordinal: 1}, {Tenant: "A", Ordinal: 1, LastMatched: at}}}
	h := newHeart(db.Pool, heartbeat.NewID(), &c)
	beat(t, h)
	const versions = `select concat_ws(' ', context_identifier, xmin) from receiver_secrets order by context_identifier`
	before := texts(t, db.Pool, versions)
	beat(t, h)
	same(t, "unchanged", texts(t, db.Pool, versions), before...)
	c.Secrets[1].LastMatched = at.Add(time.Second)
	beat(t, h)
	after := texts(t, db.Pool, versions)
	if after[0] != before[0] || after[1] == before[1] {
		t.Errorf("rows %v became %v", before, after)
	}
}

// What is written is what status reads.
func TestReport(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	id := heartbeat.NewID()
	c := heartbeat.Condition{At: at, SpoolRecords: 1, SpoolOldest: at, Secrets: []signature.Use{
		{Tenant: " first by letters", Ordinal: 1}, {Tenant: signature.AnyTenant, Ordinal: 1, LastMatched: at},
	}}
	beat(t, newHeart(db.Pool, heartbeat.NewID(), &heartbeat.Condition{At: at}))
	beat(t, newHeart(db.Pool, id, &c))
	status, err := report.Read(t.Context(), db.Pool)
	if err != nil || len(status.Receivers) != 2 {
		t.Fatalf("%+v, %v", status.Receivers, err)
	}
	for _, r := range status.Receivers {
		if r.Silent(status.Now) || !r.Silent(status.Now.Add(time.Minute)) {
			t.Errorf("silent: %+v at %v", r, status.Now)
		}
		if r.ReceiverID != string(id) {
			continue
		}
		if r.SpoolOldestAt == nil || !r.SpoolOldestAt.Equal(at) || len(r.Secrets) != 2 ||
			r.Secrets[0].ContextIdentifier != "*" || r.Secrets[0].LastMatchedAt == nil || r.Secrets[1].LastMatchedAt != nil {
			t.Errorf("%+v", r)
		}
	}
}

func TestLeave(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	kept := heartbeat.Condition{At: at, Secrets: []signature.Use{{Tenant: "*", Ordinal: 1}}}
	emptied := kept
	stays, goes := newHeart(db.Pool, heartbeat.NewID(), &kept), newHeart(db.Pool, heartbeat.NewID(), &emptied)
	beat(t, stays)
	beat(t, goes)
	kept.SpoolRecords, kept.SpoolBytes = 2, 100
	for _, h := range []*heartbeat.Heart{stays, goes} {
		if err := h.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "left", texts(t, db.Pool, `select spool_records::text from receivers`), "2")
	same(t, "secrets of those left", texts(t, db.Pool, `select count(*)::text from receiver_secrets`), "1")

	kept = heartbeat.Condition{At: at, MovedAsideFiles: 1, MovedAsideOldest: at}
	if err := stays.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "left with files moved aside", texts(t, db.Pool, `select concat_ws(' ', spool_records, moved_aside_files) from receivers`), "0 1")
}

// A database that refuses neither stops a heart nor fills the log, and the row
// is there once it can be.
func TestRun(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	rename := func(from, to string) {
		t.Helper()
		if _, err := db.Pool.Exec(t.Context(), "alter table "+from+" rename to "+to); err != nil {
			t.Fatal(err)
		}
	}
	rename("receivers", "elsewhere")
	log, looked := &lines{}, make(chan struct{})
	h := heartbeat.New(db.Pool, process(heartbeat.NewID()), func() heartbeat.Condition {
		looked <- struct{}{}
		return heartbeat.Condition{At: at}
	}, slog.New(slog.NewTextHandler(log, nil)))
	h.Every(time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	for range 3 {
		<-looked // so two beats have failed
	}
	rename("elsewhere", "receivers")
	for range 2 {
		<-looked
	}
	same(t, "rows", texts(t, db.Pool, `select count(*)::text from receivers`), "1")
	cancel()
	for {
		select {
		case <-looked:
			continue
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		}
		break
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, `level=WARN msg="can't write the receiver's heartbeat"`) {
		t.Errorf("log:\n%s", text)
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	ids := make(chan heartbeat.ID, 10)
	var starts sync.WaitGroup
	for range cap(ids) {
		starts.Go(func() {
			id, err := heartbeat.Identity(dir)
			if err != nil {
				t.Error(err)
			}
			ids <- id
		})
	}
	starts.Wait()
	first := <-ids
	for range cap(ids) - 1 {
		if id := <-ids; id != first {
			t.Errorf("one directory has the identities %s and %s", first, id)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
	if other, err := heartbeat.Identity(t.TempDir()); err != nil || other == first {
		t.Errorf("another directory: %s, %v", other, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "receiver-id"), []byte("none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := heartbeat.Identity(dir); err == nil || !strings.Contains(err.Error(), "holds no UUID") {
		t.Errorf("a damaged file: %q, %v", id, err)
	}
}
