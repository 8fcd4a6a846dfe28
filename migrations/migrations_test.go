package migrations_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/contact"
	"contactmirror/internal/pgtest"
	"contactmirror/migrations"
	"contactmirror/sql"
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
	if err != nil || len(done) == 0 || done[0].Version != migrations.Version || done[len(done)-1].Version != 1 {
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
		from pg_class c left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and c.relkind in ('r', 'p')
		where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p', 'v') and c.relname not like 'goose%'
			and (obj_description(c.oid) is null or a.attnum is not null and col_description(c.oid, a.attnum) is null)
		union all select proname::text from pg_proc where pronamespace = current_schema()::regnamespace and obj_description(oid) is null`)
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
	last := all[len(all)-2].Version
	if _, err := migrations.Down(t.Context(), db.URL, last, false); err != nil {
		t.Fatal(err)
	}
	before := texts(t, db.Pool, schema)
	// A migration's comments come after what they are about.
	if _, err := db.Pool.Exec(t.Context(), `create function refuse() returns event_trigger language plpgsql as 'begin raise ''in the way''; end';
		create event trigger in_the_way on ddl_command_end when tag in ('COMMENT') execute function refuse()`); err != nil {
		t.Fatal(err)
	}
	ran, err := migrations.Up(t.Context(), db.URL)
	if err == nil || len(ran) != 0 {
		t.Fatalf("up: %v, %v, want an error and nothing run", ran, err)
	}
	if _, err := db.Pool.Exec(t.Context(), `drop event trigger in_the_way; drop function refuse`); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, texts(t, db.Pool, schema)); diff != "" {
		t.Errorf("the failed migration left (-before +after):\n%s", diff)
	}
	var version *migrations.VersionError
	if err := migrations.Check(t.Context(), db.Pool); !errors.As(err, &version) || version.Have != last {
		t.Errorf("version after the failure: %v, want %d", err, last)
	}
	if _, err := migrations.Up(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
}

// beforeAccounting is the schema version before the account.
const beforeAccounting = 5

// The account is the same however much of it is sealed, counted row by row, and when
// its tables are made again.
func TestAccountSurvivesItsMigration(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t).Unchained(t)
	for _, statement := range []string{
		`insert into webhook_events (context_identifier, event_id, event, primary_key, occurred_at, occurred_ticks, received_at, ignored)
			select 'Cust' || n % 3, gen_random_uuid(), 'contact.changed', n, now(), 0, now(), n % 10 = 0 from generate_series(1, 5000) n`,
		`insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes)
			select 0, context_identifier, event_seq, received_at, 0 from webhook_events where primary_key % 10 = 1`,
		`insert into quarantined_deliveries (received_at, reason, context_identifier, event_seq, body, body_sha256)
			select now(), 'test', context_identifier, event_seq, '', '' from webhook_events where primary_key % 10 = 2`,
		`insert into contact_audit_log (event_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks,
				received_at, recorded_at, changed_columns, unreadable_columns, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain)
			select event_seq, 0, context_identifier, primary_key, event, event_id, occurred_at, 0, now(), now(), '{}', '{}', false,
				(array['applied', 'no_op', 'superseded', 'after_delete'])[1 + primary_key % 4], 'upserted', 0, 'webhook', 1, decode(repeat('00', 36), 'hex')
			from webhook_events where primary_key % 10 > 2`,
		`insert into contact_audit_log (shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks,
				received_at, recorded_at, changed_columns, unreadable_columns, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain)
			values (0, 'Cust0', 1, 'contact.changed', gen_random_uuid(), now(), 0, now(), now(), '{}', '{}', false, 'applied', 'upserted', 0, 'fetch', 1, decode(repeat('00', 36), 'hex'))`,
	} {
		if _, err := db.Pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	account := func() []string {
		t.Helper()
		return texts(t, db.Pool, `select a::text from event_accounting a order by context_identifier`)
	}
	want := []string{
		"(Cust0,1666,166,166,167,249,333,251,334,t)",
		"(Cust1,1667,167,167,166,251,333,249,334,t)",
		"(Cust2,1667,167,167,167,250,334,250,332,t)",
	}
	if diff := cmp.Diff(want, account()); diff != "" {
		t.Errorf("nothing sealed (-want +got):\n%s", diff)
	}
	for range 5 {
		for _, statement := range []string{`select * from advance_log_horizon()`, `select seal_accounts(1500)`} {
			if _, err := db.Pool.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, account()); diff != "" {
			t.Errorf("sealed in part (-want +got):\n%s", diff)
		}
	}
	counted := "select a::text from (" + strings.NewReplacer("@context_identifier::text", "null").Replace(sql.VerifyAccounts) + ") a"
	var rows []string
	for _, row := range texts(t, db.Pool, counted) {
		rows = append(rows, strings.TrimSuffix(row, ")")+",t)")
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("counted row by row (-want +got):\n%s", diff)
	}
	if _, err := migrations.Down(t.Context(), db.URL, beforeAccounting, true); err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Up(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, account()); diff != "" {
		t.Errorf("up again (-want +got):\n%s", diff)
	}
}
