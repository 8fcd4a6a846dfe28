package migrations_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/inbox"
	"contactmirror/internal/localpg"
	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	"contactmirror/migrations"
)

// subscriber is a second server, migrated, with a pool on it.
func subscriber(t *testing.T) (url string, pool *pgxpool.Pool) {
	t.Helper()
	dir, err := os.MkdirTemp("", "contactmirror-subscriber-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { // as root, the server runs as a user that has to get in
		t.Fatal(err)
	}
	server, err := localpg.Start(t.Context(), localpg.Options{Dir: dir, DieWithParent: true, Parameters: map[string]string{
		"fsync": "off", "shared_buffers": "16MB", "wal_level": "replica",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if _, err := migrations.Up(t.Context(), server.URL()); err != nil {
		t.Fatal(err)
	}
	if pool, err = pg.Open(server.URL(), 4); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return server.URL(), pool
}

// copied is all that is published.
const copied = `
	select 'contact ' || to_jsonb(c)::text from contacts c
	union all select 'tombstone ' || to_jsonb(t)::text from contact_tombstones t
	union all select 'audit ' || to_jsonb(a)::text from contact_audit_log a
	order by 1`

// A subscriber has what the mirror has: the rows that were there before, and
// then those that come, change, are deleted and restored; and an erasure.
func TestSubscriberFollows(t *testing.T) {
	t.Parallel()
	s := newService(t)
	if level := texts(t, s.Pool, `show wal_level`)[0]; level != "logical" {
		if os.Getenv("CI") != "" {
			t.Fatalf("wal_level of the test server is %s", level)
		}
		t.Skipf("NOT TESTED: wal_level of the server of TEST_DATABASE_URL is %s", level)
	}
	s.put("contact.created", 1, `,"FieldValues":{"name":"before"}`, inbox.Accepted)
	s.until(outcomes, "0 0 1 0 0 0 t")
	done, err := migrations.Publish(t.Context(), s.URL, "Followers", "tester")
	if want := (migrations.Published{Tables: []string{"contact_audit_log", "contact_tombstones", "contacts"}, Created: true}); err != nil || !cmp.Equal(done, want) {
		t.Fatalf("published %+v, %v, want %+v", done, err, want)
	}
	_, pool := subscriber(t)
	subscribe := `create subscription contactmirror connection '` + strings.ReplaceAll(s.URL, "'", "''") + `' publication "Followers"`
	if _, err := pool.Exec(t.Context(), subscribe); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // with its slot, which would keep the database from being dropped
		if _, err := pool.Exec(context.Background(), `drop subscription contactmirror`); err != nil {
			t.Error(err)
		}
	})
	follows := func(step, state string) {
		t.Helper()
		s.until(`select coalesce((select concat_ws(' ', name, soft_deleted) from contacts), 'gone')`, state)
		want, deadline := texts(t, s.Pool, copied), time.Now().Add(time.Minute)
		got := texts(t, pool, copied)
		for ; !slices.Equal(want, got) && time.Now().Before(deadline); got = texts(t, pool, copied) {
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after %s (-mirror +subscriber):\n%s", step, diff)
		}
	}
	follows("the first copy", "before f")
	for _, step := range []struct {
		name, rest, state string
		day               int
	}{
		{"contact.changed", `,"FieldValues":{"name":"after"}`, "after f", 2},
		{"contact.softdeleted", ``, "after t", 3},
		{"contact.changed", `,"FieldValues":{"deleted":0}`, "after f", 4},
		{"contact.deleted", ``, "gone", 5},
	} {
		s.put(step.name, step.day, step.rest, inbox.Accepted)
		follows(step.name, step.state)
	}
	if _, err := s.Pool.Exec(t.Context(), `alter table contact_audit_log disable trigger user;
		update contact_audit_log set field_values = null, given_columns = 0, last_known = null;
		alter table contact_audit_log enable trigger user`); err != nil {
		t.Fatal(err)
	}
	follows("an erasure", "gone")
	if left := texts(t, pool, `select concat_ws(' ', count(*), count(field_values), count(last_known)) from contact_audit_log`); left[0] != "5 0 0" {
		t.Errorf("the subscriber's log after an erasure: %s, want 5 0 0", left[0])
	}
}

func TestPublishWhereNobodyCanSubscribe(t *testing.T) {
	t.Parallel()
	url, pool := subscriber(t)
	done, err := migrations.Publish(t.Context(), url, "followers", "tester")
	want := []string{"nobody can subscribe while the server's wal_level is replica: alter system set wal_level = logical, and restart the server"}
	if err != nil || !cmp.Equal(done.Warnings, want) {
		t.Errorf("warnings %q, %v, want %q", done.Warnings, err, want)
	}
	if got := texts(t, pool, `select tablename::text from pg_publication_tables where pubname = 'followers' order by 1`); !cmp.Equal(got, done.Tables) {
		t.Errorf("published %q, want %q", got, done.Tables)
	}
}

// A table without replica identity would have its updates refused once it is
// published, and the mirror would stop.
func TestPublishIdentifiesRows(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `alter table contacts replica identity nothing`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := migrations.Publish(t.Context(), db.URL, "followers", "tester"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Pool.Exec(t.Context(), `update contacts set name = ''; delete from contacts; delete from contact_tombstones`); err != nil {
		t.Error(err)
	}
}
