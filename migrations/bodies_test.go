package migrations_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/pgtest"
	"contactmirror/migrations"
)

// beforeBodies is the schema version before webhook_bodies was partitioned.
const beforeBodies = 10

// The bodies that are there stay where they lie, on the way up and on the way
// down, whatever their numbers; what lies elsewhere joins them.
func TestBodiesStayWhereTheyLie(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	execute := func(statement string) {
		t.Helper()
		if _, err := db.Pool.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if _, err := migrations.Down(t.Context(), db.URL, beforeBodies, false); err != nil {
		t.Fatal(err)
	}
	execute(`insert into webhook_bodies select n, convert_to('body ' || n, 'UTF8') from generate_series(1, 3000) n`)
	execute(`insert into webhook_bodies values (2500000, 'beyond the sequence')`)
	before := texts(t, db.Pool, `select pg_relation_filenode('webhook_bodies')::text`)
	const all = `select event_seq || ' ' || convert_from(body, 'UTF8') from webhook_bodies order by event_seq`
	bodies := texts(t, db.Pool, all)
	if _, err := migrations.Up(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, texts(t, db.Pool, `select pg_relation_filenode('webhook_bodies_0')::text`)); diff != "" {
		t.Errorf("up has rewritten the bodies (-before +after):\n%s", diff)
	}
	// The sequence has been moved past the highest number, and partitions made from there on.
	want := []string{"webhook_bodies_0 3000000", "webhook_bodies_3000000 3000000 4000000", "webhook_bodies_4000000 4000000 5000000", "webhook_bodies_default"}
	if diff := cmp.Diff(want, texts(t, db.Pool, `select concat_ws(' ', partition_name, from_seq, to_seq) from body_partitions order by to_seq`)); diff != "" {
		t.Errorf("partitions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(bodies, texts(t, db.Pool, all)); diff != "" {
		t.Errorf("bodies after up (-before +after):\n%s", diff)
	}
	execute(`insert into webhook_bodies values (9000000, 'in the default partition')`)
	if _, err := migrations.Down(t.Context(), db.URL, beforeBodies, false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, texts(t, db.Pool, `select pg_relation_filenode('webhook_bodies')::text`)); diff != "" {
		t.Errorf("down has rewritten the bodies (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(append(bodies, "9000000 in the default partition"), texts(t, db.Pool, all)); diff != "" {
		t.Errorf("bodies after down (-before +after):\n%s", diff)
	}
	if _, err := migrations.Up(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
}
