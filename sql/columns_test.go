package sql_test

import (
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/contact"
	"contactmirror/internal/pgtest"
)

// The schema lists the columns by hand, for it does not change once it is released.
// What the catalog has is compared with the code: names, types, and their order.
func TestColumns_areTheSchemas(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	texts := func(query string, args ...any) []string {
		t.Helper()
		rows, _ := db.Pool.Query(t.Context(), query, args...)
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return found
	}
	// The types' names as PostgreSQL writes them out.
	names := map[contact.Type]string{contact.Timestamptz: "timestamp with time zone", contact.Timestamp: "timestamp without time zone"}
	var mirrored, view []string
	for _, spec := range contact.Columns {
		of := string(spec.Type)
		view = append(view, fmt.Sprintf("%s %s %s", spec.Source, spec.Name, of))
		if long, ok := names[spec.Type]; ok {
			of = long
		}
		mirrored = append(mirrored, spec.Name+" "+of)
	}
	if diff := cmp.Diff(view, texts(`select concat_ws(' ', source_name, column_name, type) from contact_columns`)); diff != "" {
		t.Errorf("contact_columns (-code +database):\n%s", diff)
	}
	if got := texts(`select contactmirror_sent()::text`)[0]; got != fmt.Sprint(uint64(contact.Sent)) {
		t.Errorf("contactmirror_sent() is %s, want %d", got, contact.Sent)
	}
	const columnsOf = `select attname || ' ' || format_type(atttypid, atttypmod) from pg_attribute
		where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum`
	contacts := texts(columnsOf, "contacts")
	want := slices.Concat([]string{"context_identifier text"}, mirrored, contacts[min(len(contacts), 1+len(mirrored)):])
	if diff := cmp.Diff(want, contacts); diff != "" {
		t.Errorf("contacts (-code +database):\n%s", diff)
	}
	asOf := slices.DeleteFunc(slices.Clone(contacts), func(column string) bool {
		return regexp.MustCompile(`^(first_seen_at|mirrored_at) `).MatchString(column)
	})
	if diff := cmp.Diff(asOf, texts(columnsOf, "contact_as_of")); diff != "" {
		t.Errorf("contact_as_of (-contacts without this database's times +contact_as_of):\n%s", diff)
	}
}

// A function or a view that names most of the columns that are sent, or most of all
// columns, under either of their names, names them all.
func TestColumns_areListedWhole(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	rows, _ := db.Pool.Query(t.Context(), `
		select proname::text as name, pg_get_functiondef(oid) as text from pg_proc
		where pronamespace = current_schema()::regnamespace and prokind = 'f' and prolang <> (select oid from pg_language where lanname = 'c')
		union all
		select viewname::text, definition from pg_views where schemaname = current_schema()`)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[struct{ Name, Text string }])
	if err != nil {
		t.Fatal(err)
	}
	lists := 0
	for _, object := range found {
		var named contact.Set
		for c, spec := range contact.Columns {
			if regexp.MustCompile(`\b(` + spec.Name + `|` + spec.Source + `)\b`).MatchString(object.Text) {
				named |= contact.SetOf(contact.Column(c))
			}
		}
		all := contact.Set(1)<<contact.NumColumns - 1
		for what, whole := range map[string]contact.Set{"columns that are sent": contact.Sent, "columns": all.Without(contact.Sent).Without(contact.SetOf(0))} {
			missing := whole.Without(named).Names()
			switch size := len(whole.Names()); {
			case len(missing) == 0:
				lists++
			case len(missing) <= size/2:
				t.Errorf("%s names most %s, but not %q", object.Name, what, missing)
			}
		}
	}
	if lists == 0 {
		t.Error("nothing lists the columns: this test tests nothing")
	}
}
