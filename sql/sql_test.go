package sql_test

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/contact"
	"contactmirror/internal/pgtest"
	"contactmirror/migrations"
	"contactmirror/sql"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func files(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	names, err := fs.Glob(sql.FS, "*.sql")
	if err != nil || len(names) == 0 {
		t.Fatal("no files", err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(sql.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}

// makeTemporaryTables makes the tables that some statements make for others.
func makeTemporaryTables(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for name, text := range files(t) {
		if !strings.Contains(text, "\ncreate temp table") {
			continue
		}
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// PostgreSQL itself checks every statement against the schema.
func TestEveryFileIsAStatement(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), pgtest.New(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	makeTemporaryTables(t, conn)
	for name, text := range files(t) {
		if !strings.HasPrefix(text, "-- ") {
			t.Errorf("%s does not begin with a line that says what it is for", name)
		}
		positional, _, err := pgx.NamedArgs{}.RewriteQuery(t.Context(), conn, text, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := conn.Prepare(t.Context(), name, positional); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryFileIsUsed(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("sql.go")
	if err != nil {
		t.Fatal(err)
	}
	for name := range files(t) {
		if !strings.Contains(string(source), "//go:embed "+name+"\n") {
			t.Errorf("%s is embedded under no name", name)
		}
	}
}

// The statements that spell the mirrored columns out name all of them.
func TestColumnsAreComplete(t *testing.T) {
	t.Parallel()
	all := files(t)
	for name, want := range map[string]int{"mirror_insert.sql": 2, "mirror_update.sql": 4, "mirror_contacts.sql": 1, "mirror_update_sent.sql": 4, "mirror_contacts_sent.sql": 1, "refold_rows.sql": 1, "rebuild_write.sql": 4} {
		for i, spec := range contact.Columns[1:] {
			times := want
			if strings.HasSuffix(name, "_sent.sql") && !contact.Sent.Has(contact.Column(i+1)) {
				times = 0
			}
			if n := len(regexp.MustCompile(`\b`+spec.Name+`\b`).FindAllString(all[name], -1)); n != times {
				t.Errorf("%s names %s %d times, want %d", name, spec.Name, n, times)
			}
		}
	}
}

var anyConflict = regexp.MustCompile(`on conflict\s+do`)

// An "on conflict" that names no key takes a number that is taken for a row that is
// there, and keeps silent about what it did not write.
func TestConflictsNameTheirKeys(t *testing.T) {
	t.Parallel()
	texts := files(t)
	all, err := fs.ReadDir(migrations.FS, ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range all {
		text, err := fs.ReadFile(migrations.FS, entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		texts[entry.Name()] = string(text)
	}
	for name, text := range texts {
		if anyConflict.MatchString(text) {
			t.Errorf("%s: an on conflict names no key", name)
		}
	}
}
