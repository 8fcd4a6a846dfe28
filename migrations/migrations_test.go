package migrations_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/contact"
	"contactmirror/internal/pgtest"
	"contactmirror/migrations"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func texts(t *testing.T, db *pgxpool.Pool, query string) []string {
	t.Helper()
	rows, _ := db.Query(t.Context(), query)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return values
}

// schema is every column, constraint, index, trigger, function and view.
const schema = `
	select concat_ws(' ', 'column', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull)
	from pg_attribute a join pg_class c on c.oid = attrelid
	where relnamespace = current_schema()::regnamespace and attnum > 0 and not attisdropped and relname not like 'goose%'
	union all select concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint where connamespace = current_schema()::regnamespace and conrelid::regclass::text not like 'goose%'
	union all select indexdef from pg_indexes where schemaname = current_schema() and tablename not like 'goose%'
	union all select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
	union all select case prokind when 'a' then oid::regprocedure::text else pg_get_functiondef(oid) end from pg_proc where pronamespace = current_schema()::regnamespace
	union all select pg_get_viewdef(oid) from pg_class where relnamespace = current_schema()::regnamespace and relkind = 'v'
	order by 1`

func TestUpDownUp(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	before := texts(t, db.Pool, schema)
	if err := migrations.Check(t.Context(), db.Pool); err != nil {
		t.Fatal(err)
	}
	done, err := migrations.Down(t.Context(), db.URL, 0, false)
	if err != nil || len(done) == 0 || done[len(done)-1].Version != 1 {
		t.Fatalf("down: %v, %v", done, err)
	}
	if left := texts(t, db.Pool, schema); len(left) > 0 {
		t.Errorf("down to nothing left %q", left)
	}
	var version *migrations.VersionError
	if err := migrations.Check(t.Context(), db.Pool); !errors.As(err, &version) || version.Have != 0 {
		t.Errorf("check of an empty database: %v", err)
	}
	if _, err := migrations.Up(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, texts(t, db.Pool, schema)); diff != "" {
		t.Errorf("up again (-first +second):\n%s", diff)
	}
}

func TestDownRefusesToDestroyEvents(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `insert into webhook_events (context_identifier, event, received_at, ignored, keyless_sha256) values ('', 'test', now(), true, '\x00')`); err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Down(t.Context(), db.URL, 0, false); !errors.Is(err, migrations.ErrHoldsEvents) {
		t.Errorf("down: %v, want ErrHoldsEvents", err)
	}
	if got := texts(t, db.Pool, `select count(*)::text from webhook_events`); got[0] != "1" {
		t.Errorf("%s events left, want 1", got[0])
	}
	if _, err := migrations.Down(t.Context(), db.URL, 0, true); err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Up(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
}

func TestUpAtTheSameMoment(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := migrations.Down(t.Context(), db.URL, 0, false); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	for range 3 {
		go func() {
			_, err := migrations.Up(context.Background(), db.URL)
			failed <- err
		}()
	}
	for range 3 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// The table in the code, the table in the database and the view agree.
func TestColumns(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	var want []string
	for _, spec := range contact.Columns {
		want = append(want, spec.Source+" "+spec.Name+" "+string(spec.Type))
	}
	got := texts(t, db.Pool, `select concat_ws(' ', v.source_name, v.column_name, v.type)
		from contact_columns v
		join pg_attribute a on a.attrelid = 'contacts'::regclass and a.attname = v.column_name
			and format_type(a.atttypid, null) = case v.type when 'timestamptz' then 'timestamp with time zone' when 'timestamp' then 'timestamp without time zone' else v.type end`)
	if diff := cmp.Diff(want, got, cmp.Transformer("set", func(list []string) map[string]bool {
		set := map[string]bool{}
		for _, s := range list {
			set[s] = true
		}
		return set
	})); diff != "" {
		t.Errorf("columns (-code +database):\n%s", diff)
	}
	if got := texts(t, db.Pool, `select count(*)::text from sync_shards`); got[0] != "32" || contact.Shards != 32 {
		t.Errorf("%s shards in the database, %d in the code", got[0], contact.Shards)
	}
}

func TestLogsAreAppendOnly(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for _, statement := range []string{
		`update contact_audit_log set outcome = 'no_op'`, `delete from contact_audit_log`, `truncate contact_audit_log`,
		`update webhook_events set event = ''`, `delete from webhook_events`, `truncate webhook_events`,
	} {
		if _, err := db.Pool.Exec(t.Context(), statement); err == nil {
			t.Errorf("%s is allowed", statement)
		}
	}
}

func TestEverythingHasAComment(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	missing := texts(t, db.Pool, `select concat_ws('.', c.relname, a.attname)
		from pg_class c left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
			and (c.relkind = 'r' or c.relname not in ('contact_columns', 'event_accounting'))
		where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'v') and c.relname not like 'goose%'
			and (obj_description(c.oid) is null or a.attnum is not null and col_description(c.oid, a.attnum) is null)
		union all
		select oid::regprocedure::text
		from pg_proc
		where pronamespace = current_schema()::regnamespace and proname <> 'contactmirror_append_only' and obj_description(oid) is null`)
	if len(missing) > 0 {
		t.Errorf("no comment on %q", missing)
	}
}

// A migration that fails leaves nothing behind, and those before it standing.
func TestFailedMigrationLeavesTheOldVersion(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	all, err := migrations.List(t.Context(), db.URL)
	if err != nil {
		t.Fatal(err)
	}
	previous := all[len(all)-2].Version
	const relations = `select relname::text from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'v', 'i') order by 1`
	newest := texts(t, db.Pool, relations)
	if _, err := migrations.Down(t.Context(), db.URL, previous, false); err != nil {
		t.Fatal(err)
	}
	older := texts(t, db.Pool, relations)
	newest = slices.DeleteFunc(newest, func(name string) bool { return slices.Contains(older, name) })
	before := texts(t, db.Pool, schema)
	inTheWay := newest[len(newest)-1]
	if _, err := db.Pool.Exec(t.Context(), `create view `+inTheWay+` as select 1 as in_the_way`); err != nil {
		t.Fatal(err)
	}
	ran, err := migrations.Up(t.Context(), db.URL)
	if err == nil || len(ran) != 0 {
		t.Fatalf("up: %v, %v, want an error and nothing run", ran, err)
	}
	if _, err := db.Pool.Exec(t.Context(), `drop view `+inTheWay); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, texts(t, db.Pool, schema)); diff != "" {
		t.Errorf("the failed migration left (-before +after):\n%s", diff)
	}
	var version *migrations.VersionError
	if err := migrations.Check(t.Context(), db.Pool); !errors.As(err, &version) || version.Have != previous {
		t.Errorf("version after the failure: %v, want %d", err, previous)
	}
	if _, err := migrations.Up(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
}
