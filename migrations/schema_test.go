package migrations_test

import (
	"bytes"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"

	"contactmirror/internal/pgtest"
	"contactmirror/migrations"
)

var update = flag.Bool("update", false, "write testdata/schema.sql")

// dumpVersion is the major version of PostgreSQL whose dump is in testdata: others
// write the same schema in other words.
const dumpVersion = 15

// unstable is what a dump says about pg_dump and the session, and not the schema.
var unstable = regexp.MustCompile(`(?m)^(--.*|\\(un)?restrict .*|SET .*|SELECT pg_catalog\.set_config\(.*)\n`)

// dump is the schema of the database at url as pg_dump writes it: without goose's
// tables, and without the partitions of days, which depend on the date.
func dump(t *testing.T, url string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), program(t, "pg_dump"), "--schema-only", "--no-owner",
		"--exclude-table=goose_*", "--exclude-table=webhook_bodies_contact_2*", "--exclude-table=webhook_bodies_ignored_2*", "--dbname="+url)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v: %s", err, stderr.String())
	}
	text := unstable.ReplaceAllString(string(out), "")
	return strings.TrimSpace(regexp.MustCompile(`\n{2,}`).ReplaceAllString(text, "\n\n")) + "\n"
}

// program is the path of a client program of PostgreSQL.
func program(t *testing.T, name string) string {
	t.Helper()
	tool, err := exec.LookPath(name)
	if dir, failed := exec.CommandContext(t.Context(), "pg_config", "--bindir").Output(); failed == nil {
		tool, err = filepath.Join(strings.TrimSpace(string(dir)), name), nil
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("NOT TESTED: %v", err)
	}
	return tool
}

// major is the major version of the server.
func major(t *testing.T, db *pgxpool.Pool) string {
	t.Helper()
	return texts(t, db, `select (current_setting('server_version_num')::integer / 10000)::text`)[0]
}

// testdata/schema.sql is the schema as the migrations make it, to be read in one
// piece. go test ./migrations -run TestSchema_isTheOneInTestdata -update writes it.
func TestSchema_isTheOneInTestdata(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if have := major(t, db.Pool); have != fmt.Sprint(dumpVersion) {
		t.Skipf("NOT TESTED: the dump is of PostgreSQL %d, the test server is version %s", dumpVersion, have)
	}
	const file = "testdata/schema.sql"
	got := dump(t, db.URL)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the schema is not the one in %s; if it should be, run this test with -update (-file +database):\n%s", file, diff)
	}
}

// The stock goose command and migrate give the same schema: up, down to nothing,
// and up again. What is left in between is goose's own.
func TestGoose_givesTheSameSchema(t *testing.T) { //nolint:paralleltest // the command's dialect and logger are global
	db := pgtest.New(t)
	want := dump(t, db.URL)
	steps := []string{"down to nothing", "up again", "down by the stock command", "up by the stock command"}
	stock, err := sql.Open("pgx", db.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stock.Close(); err != nil {
			t.Error(err)
		}
	}()
	goose.SetLogger(goose.NopLogger())
	if err := goose.SetDialect("postgres"); err != nil {
		t.Fatal(err)
	}
	for i, step := range steps {
		var err error
		switch i {
		case 0:
			_, err = migrations.Down(t.Context(), db.URL, 0, false)
		case 1:
			_, err = migrations.Up(t.Context(), db.URL)
		case 2: // as the command calls it, on the files
			err = goose.RunContext(t.Context(), "down-to", stock, ".", "0")
		case 3:
			err = goose.RunContext(t.Context(), "up", stock, ".")
		}
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		expected := want
		if i%2 == 0 {
			expected = "\n"
		}
		if diff := cmp.Diff(expected, dump(t, db.URL)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
		if left := texts(t, db.Pool, everything); i%2 == 0 && len(left) > 0 {
			t.Errorf("%s left %q", step, left)
		}
	}
	if err := migrations.Check(t.Context(), db.Pool); err != nil {
		t.Error(err)
	}
}

// everything is all objects of the schema but goose's.
const everything = `
	with objects as (
		select 'relation ' || relname as name, oid, 'pg_class'::regclass as class from pg_class where relnamespace = current_schema()::regnamespace
		union all select 'function ' || proname, oid, 'pg_proc'::regclass from pg_proc where pronamespace = current_schema()::regnamespace
		union all select 'type ' || typname, oid, 'pg_type'::regclass from pg_type where typnamespace = current_schema()::regnamespace
		union all select 'statistics ' || stxname, oid, 'pg_statistic_ext'::regclass from pg_statistic_ext where stxnamespace = current_schema()::regnamespace
	)
	select name
	from objects
	where name not similar to '(relation|type) (goose\_|\_goose\_)%'
	order by 1`

// A file that is no migration stops the stock command.
func TestFiles_areMigrationsNumberedInOrder(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.sql")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != int(migrations.Version) {
		t.Errorf("%d files, the newest is version %d", len(files), migrations.Version)
	}
	for i, file := range files {
		if want := fmt.Sprintf("%05d_", i+1); !strings.HasPrefix(file, want) {
			t.Errorf("%s: want a name that begins with %s", file, want)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(text, []byte("-- ")) {
			t.Errorf("%s does not begin with what it holds", file)
		}
	}
}

// Every sequence is explicit, and owned by the column that it numbers.
func TestSequences_areOwnedByTheColumnTheyNumber(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	got := texts(t, db.Pool, `
		select concat_ws(' ', q.relname, format_type(s.seqtypid, null), t.relname || '.' || a.attname, pg_get_expr(d.adbin, d.adrelid))
		from pg_class q
		join pg_sequence s on s.seqrelid = q.oid
		left join pg_depend o on o.classid = 'pg_class'::regclass and o.objid = q.oid and o.refclassid = 'pg_class'::regclass and o.deptype = 'a'
		left join pg_class t on t.oid = o.refobjid
		left join pg_attribute a on a.attrelid = t.oid and a.attnum = o.refobjsubid
		left join pg_attrdef d on d.adrelid = t.oid and d.adnum = a.attnum
		where q.relkind = 'S' and q.relnamespace = current_schema()::regnamespace and q.relname not like 'goose%'
		order by 1`)
	var want []string
	for _, column := range []string{
		"contact_audit_log.audit_seq", "duplicate_deliveries.duplicate_seq",
		"operator_actions.action_seq", "quarantined_deliveries.quarantine_seq", "webhook_events.event_seq",
	} {
		name := strings.ReplaceAll(column, ".", "_") + "_seq"
		want = append(want, fmt.Sprintf("%s bigint %s nextval('%s'::regclass)", name, column, name))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sequences (-want +got):\n%s", diff)
	}
}

// Each index says which statements need it.
func TestIndexes_sayWhatTheyAreFor(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	missing := texts(t, db.Pool, `
		select c.relname::text
		from pg_index i
		join pg_class c on c.oid = i.indexrelid
		join pg_class t on t.oid = i.indrelid
		where c.relnamespace = current_schema()::regnamespace and not t.relispartition
			and t.relname not like 'goose%'
			and obj_description(c.oid) is null
		order by 1`)
	if len(missing) > 0 {
		t.Errorf("no comment on %q", missing)
	}
}
