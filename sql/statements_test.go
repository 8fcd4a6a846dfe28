package sql_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	_ "contactmirror/internal/audit"
	_ "contactmirror/internal/contactrow"
	_ "contactmirror/internal/erasure"
	_ "contactmirror/internal/feed"
	_ "contactmirror/internal/freshness"
	_ "contactmirror/internal/inbox"
	_ "contactmirror/internal/mirror"
	_ "contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	_ "contactmirror/internal/process"
	_ "contactmirror/internal/quarantine"
	_ "contactmirror/internal/rebuild"
	_ "contactmirror/internal/refold"
	_ "contactmirror/internal/report"
	_ "contactmirror/internal/retention"
	_ "contactmirror/internal/sequence"
	_ "contactmirror/internal/settle"
	_ "contactmirror/internal/verify"
)

// What the program declares of a statement is what PostgreSQL says of it: parameters
// of types that their values can be sent as, and columns with the names and types that
// rows are read into. A mistake in a statement that no test runs, or none with a row,
// is found too.
func TestDeclarations_fitTheirStatements(t *testing.T) {
	t.Parallel()
	conn, err := pgtest.New(t).Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	makeTemporaryTables(t, conn.Conn())
	for name, text := range files(t) {
		if !strings.HasPrefix(text, "-- ") {
			t.Errorf("%s does not begin with a line that says what it is for", name)
		}
		declarations := slices.DeleteFunc(pg.Declarations(), func(d pg.Declaration) bool { return d.Text != text })
		if len(declarations) != 1 {
			t.Errorf("%s is declared %d times, want once: by a package that this test imports", name, len(declarations))
			continue
		}
		d := &declarations[0]
		prepared, err := conn.Conn().Prepare(t.Context(), "", d.Positional)
		if err == nil {
			err = fits(d, prepared, conn.Conn().TypeMap())
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The texts of statements are used by declarations only, so no other code runs one
// without the checks above. Rows are not read by pgx.ForEachRow, which compares nothing
// where no row comes.
func TestDeclarations_areTheOnlyUses(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("sql.go")
	if err != nil {
		t.Fatal(err)
	}
	uses := map[string]int{} // by the variable's name
	for _, m := range regexp.MustCompile(`//go:embed \w+\.sql\n\s+(\w+) string`).FindAllStringSubmatch(string(source), -1) {
		uses[m[1]] = 0
	}
	use := regexp.MustCompile(`\bsql\.([A-Z]\w*)`)
	err = filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range use.FindAllStringSubmatch(string(text), -1) {
			if _, embedded := uses[m[1]]; embedded {
				uses[m[1]]++
			}
		}
		if strings.Contains(string(text), "pgx.ForEachRow(") && filepath.Base(filepath.Dir(path)) != "pg" {
			t.Errorf("%s calls pgx.ForEachRow: declare a pg.Stream", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range uses {
		if n != 1 {
			t.Errorf("sql.%s is used %d times, want once: in its declaration", name, n)
		}
	}
	if all := files(t); len(uses) != len(all) {
		t.Errorf("sql.go embeds %d files by name, of %d", len(uses), len(all))
	}
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

// fits compares a declaration with its prepared statement.
func fits(d *pg.Declaration, prepared *pgconn.StatementDescription, types *pgtype.Map) error {
	var faults []error
	if len(d.Parameters) != len(prepared.ParamOIDs) {
		return fmt.Errorf("%d parameters, declared are %d", len(prepared.ParamOIDs), len(d.Parameters))
	}
	for i, p := range d.Parameters {
		format := int16(pgx.BinaryFormatCode)
		switch p.Value.(type) {
		case nil: // an interface: anything
			continue
		case string, *string: // as pgx sends them
			format = pgx.TextFormatCode
		}
		oid := prepared.ParamOIDs[i]
		if types.PlanEncode(oid, format, p.Value) == nil || !fitsExec(types, oid, p.Value) {
			faults = append(faults, fmt.Errorf("parameter %s of type %s is given a %T", p.Name, typeName(types, oid), p.Value))
		}
	}
	if d.Scan != nil {
		faults = append(faults, d.Scan(&described{fields: prepared.Fields, types: types}))
	}
	return errors.Join(faults...)
}

// fitsExec tells whether a value fits a parameter in exec mode, in which pgx does not
// know the parameter's type: it sends the text of the type that it takes the value for,
// which is bytea for a []byte.
func fitsExec(types *pgtype.Map, oid uint32, value any) bool {
	switch value.(type) {
	case []byte:
		return oid == pgtype.ByteaOID
	case [][]byte:
		return oid == pgtype.ByteaArrayOID
	}
	return types.PlanEncode(0, pgx.TextFormatCode, value) != nil
}

// described is a row of which only the columns are known. Scan fails where a row
// could not be scanned, whatever its values.
type described struct {
	pgx.CollectableRow
	fields []pgconn.FieldDescription
	types  *pgtype.Map
}

func (r *described) FieldDescriptions() []pgconn.FieldDescription { return r.fields }

func (r *described) Scan(targets ...any) error {
	if len(targets) != len(r.fields) {
		return fmt.Errorf("%d columns, and %d targets", len(r.fields), len(targets))
	}
	var faults []error
	for i, target := range targets {
		oid := r.fields[i].DataTypeOID
		if plan := r.types.PlanScan(oid, pgx.BinaryFormatCode, target); reflect.TypeOf(plan).String() == "*pgtype.scanPlanFail" {
			faults = append(faults, fmt.Errorf("column %s of type %s is scanned into a %T", r.fields[i].Name, typeName(r.types, oid), target))
		}
	}
	return errors.Join(faults...)
}

func typeName(types *pgtype.Map, oid uint32) string {
	if known, ok := types.TypeForOID(oid); ok {
		return known.Name
	}
	return fmt.Sprint(oid)
}

// fits finds every kind of mistake.
func TestFits(t *testing.T) {
	t.Parallel()
	conn, err := pgtest.New(t).Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	type row struct {
		A int64
		B string
	}
	byName := func(r pgx.CollectableRow) error {
		_, err := pgx.RowToStructByName[row](r)
		return err
	}
	one := func(r pgx.CollectableRow) error {
		_, err := pgx.RowTo[int64](r)
		return err
	}
	of := func(values ...any) (parameters []pg.Parameter) {
		for _, v := range values {
			parameters = append(parameters, pg.Parameter{Name: "p", Value: v})
		}
		return parameters
	}
	for _, c := range []struct {
		text       string
		parameters []pg.Parameter
		scan       func(pgx.CollectableRow) error
		fault      string // "" for none
	}{
		{"select $1::bigint as a, $2::uuid::text as b", of(int64(0), ""), byName, ""},
		{"select 'a' as b, $1::bigint as a", of(nil), byName, ""},
		{"select $1::bigint, 1", of(int64(0)), nil, ""},
		{"select count(*)", nil, one, ""},
		{"select $1::bigint", of(), nil, "1 parameters"},
		{"select $1::bigint", of([]int64{}), nil, "parameter p of type int8"},
		{"select $1::timestamptz", of(int64(0)), nil, "parameter p of type timestamptz"},
		{"select $1::jsonb", of([]byte(nil)), nil, "parameter p of type jsonb"},
		{"select $1::jsonb[]", of([][]byte(nil)), nil, "parameter p of type _jsonb"},
		{"select 1 as a", nil, byName, "B"},
		{"select 1 as a, 'b' as b, 3 as c", nil, byName, "c"},
		{"select 1 as a, 'c' as c", nil, byName, "c"},
		{"select 'a' as a, 'b' as b", nil, byName, "column a of type text"},
		{"select 1, 2", nil, one, "2 columns, and 1 targets"},
		{"select now()", nil, one, "type timestamptz"},
	} {
		prepared, err := conn.Conn().Prepare(t.Context(), "", c.text)
		if err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		err = fits(&pg.Declaration{Parameters: c.parameters, Scan: c.scan}, prepared, conn.Conn().TypeMap())
		if (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %v, want %q", c.text, err, c.fault)
		}
	}
}
