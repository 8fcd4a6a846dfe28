package sql_test

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

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
