package audit_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"contactmirror/internal/audit"
	"contactmirror/internal/pgtest"
)

// The table has the columns of Row and no other: one with a default, which nobody
// writes, would not be noticed.
func TestRow_hasTheTablesColumns(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	want := rows(t, db, `
		select attname::text from pg_attribute
		where attrelid = 'contact_audit_log'::regclass and attnum > 0 and not attisdropped`)
	got := audit.Columns(audit.All)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("columns %v, the table has %v", got, want)
	}
}

// What history shows is what has a name in the JSON of a row, the same one.
func TestRow_showsItsColumns(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(audit.Row{})
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	got, want := slices.Sorted(maps.Keys(members)), audit.Columns(audit.Shown)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("JSON has %v, want %v", got, want)
	}
}
