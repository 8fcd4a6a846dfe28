package pgtest

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/migrations"
)

func TestMain(m *testing.M) { Main(m) }

const (
	addEvent = `insert into webhook_events (context_identifier, event, received_at, ignored, keyless_sha256)
		values ('t', 'test', now(), true, '\x00')`
	addQueued = "insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes) values (0, 't', 1, now(), 0)"
)

func TestDatabasesAreMigratedAndApart(t *testing.T) {
	t.Parallel()
	a, b := New(t), New(t)
	if _, err := a.Pool.Exec(t.Context(), addEvent); err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, b.URL, "select count(*) from webhook_events"); n != 0 {
		t.Errorf("the second database holds %d events of the first", n)
	}
	conn, err := pgx.Connect(t.Context(), a.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := migrations.Check(t.Context(), conn); err != nil {
		t.Error(err)
	}
}

func TestDurableServerSyncs(t *testing.T) {
	t.Parallel()
	server, err := startServer(roomy, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		if got := value[string](t, server, "show "+setting); got != "on" {
			t.Errorf("%s is %s on the durable server, want on", setting, got)
		}
	}
}

// A test whose database does not account for its events fails, even if it has
// closed its pool; afterwards the database is gone.
func TestUnbalancedAccountFailsTheTest(t *testing.T) {
	t.Parallel()
	var name string
	verdict := judged{TB: t}
	t.Run("inner", func(t *testing.T) {
		verdict.TB = t
		db := New(&verdict)
		name = value[string](t, db.URL, "select current_database()")
		if _, err := db.Pool.Exec(t.Context(), addQueued); err != nil {
			t.Fatal(err)
		}
		db.Pool.Close()
	})
	if text := strings.Join(verdict.errors, "\n"); !strings.Contains(text, "queued:1") {
		t.Errorf("an event that was never accepted is queued, and the test's errors are %q", text)
	}
	if value[bool](t, New(t).URL, "select exists (select from pg_database where datname = '"+name+"')") {
		t.Errorf("database %s was not dropped", name)
	}
}

// judged collects what it is blamed for.
type judged struct {
	testing.TB
	errors []string
}

func (j *judged) Errorf(format string, args ...any) {
	j.errors = append(j.errors, fmt.Sprintf(format, args...))
}

// Several test binaries share the server of TEST_DATABASE_URL.
func TestTemplateIsMadeOnce(t *testing.T) {
	t.Parallel()
	server := emptyServer(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			from, err := makeTemplate(server)
			if err == nil {
				err = from.clone(t.Context(), fmt.Sprintf("clone%d", i))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	const templates = "select count(*)::int from pg_database where datname like 'contactmirror_test_%'"
	if diff := cmp.Diff(1, value[int](t, server, templates)); diff != "" {
		t.Errorf("templates (-want +got):\n%s", diff)
	}
}

// What a killed test binary left half migrated is no template.
func TestHalfMadeTemplateIsMadeAnew(t *testing.T) {
	t.Parallel()
	server := emptyServer(t)
	hash, err := migrationsHash()
	if err != nil {
		t.Fatal(err)
	}
	if err := execute(t.Context(), server, "create database contactmirror_test_"+hash+"_making"); err != nil {
		t.Fatal(err)
	}
	from, err := makeTemplate(server)
	if err != nil {
		t.Fatal(err)
	}
	if err := from.clone(t.Context(), "clone"); err != nil {
		t.Fatal(err)
	}
	if !value[bool](t, inDatabase(server, "clone"), "select to_regclass('event_accounting') is not null") {
		t.Error("the clone is not migrated")
	}
}

// emptyServer is a server without a template.
func emptyServer(t *testing.T) string {
	t.Helper()
	server, err := startServer(unsafe, memoryDir())
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// value is the only value that statement gives.
func value[T any](t *testing.T, url, statement string) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	rows, _ := conn.Query(t.Context(), statement) // CollectExactlyOneRow returns its error
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return v
}

// BenchmarkNew is what each test pays for its database.
func BenchmarkNew(b *testing.B) {
	if _, err := quick(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		New(b)
	}
}
