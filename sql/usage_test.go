package sql_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/contact"
	"contactmirror/internal/pgtest"
)

const (
	sqlPackage = "contactmirror/sql"
	pgPackage  = "contactmirror/internal/pg"
)

// scanned says, of the statements whose rows are scanned by position, which
// function has the targets, as its only literal of type []any. Without a function
// the targets are put together at run time, and pg.ForEach compares their number
// with the columns whenever the statement runs, rows or none.
var scanned = map[string]string{
	"refold_tombstones.sql":    "contactmirror/internal/refold.loadStored",
	"refold_rows.sql":          "",
	"mirror_contacts.sql":      "",
	"mirror_contacts_sent.sql": "",
	"mirror_tombstones.sql":    "contactmirror/internal/mirror.load",
	"verify_chain.sql":         "(*contactmirror/internal/verify.logRow).targets",
	"verify_events.sql":        "contactmirror/internal/verify.checkEvents",
}

// Every statement has the parameters and the columns of the Go values that it is
// used with, as far as their names, numbers and types go. A mistake in one that no
// test happens to run, or to run with a row, is found too.
func TestEveryStatementFitsItsUse(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn, err := db.Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	p := load(t)
	texts := files(t)
	for name, text := range texts {
		if strings.Contains(text, "\ncreate temp table") { // others are about it
			if _, err := conn.Exec(t.Context(), text); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	p.walk(func(_ []ast.Node, name *ast.Ident, object types.Object) {
		position := p.fset.Position(name.Pos())
		if object.Name() == "ForEachRow" && !strings.HasSuffix(filepath.Dir(position.Filename), "/internal/pg") {
			t.Errorf("%s: %s compares nothing where no row comes: use pg.ForEach", position, object.Name())
		}
	})
	uses := p.uses(t)
	for name, text := range texts {
		if len(uses[name]) == 0 {
			t.Errorf("%s is used by nobody", name)
		}
		names, positional := parameters(t, text)
		prepared, err := conn.Conn().Prepare(t.Context(), name, positional)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s := statement{name, names, prepared, conn.Conn().TypeMap()}
		for _, u := range uses[name] {
			for _, fault := range s.check(p, u) {
				t.Errorf("%s, used at %s: %s", name, p.fset.Position(u.at), fault)
			}
		}
	}
}

// parameters are the names in text, in the order of $1, $2, …
func parameters(t *testing.T, text string) (names []string, positional string) {
	t.Helper()
	args := pgx.NamedArgs{}
	for _, name := range regexp.MustCompile(`@([a-z_]\w*)`).FindAllStringSubmatch(text, -1) {
		args[name[1]] = name[1]
	}
	positional, ordered, err := args.RewriteQuery(t.Context(), nil, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range ordered {
		if arg != nil { // a name in a comment is none
			names = append(names, arg.(string))
		}
	}
	return names, positional
}

// statement is a prepared file.
type statement struct {
	file   string
	params []string
	*pgconn.StatementDescription
	types *pgtype.Map
}

func (s *statement) check(p *program, u use) (faults []string) {
	if u.args != nil {
		faults = append(faults, s.checkArgs(u.args)...)
	}
	switch u.kind {
	case "Query":
		faults = append(faults, s.checkFields(u.row)...)
	case "Column":
		faults = append(faults, s.checkTargets([]types.Type{types.NewPointer(u.row)})...)
	case "Command": // drops its rows
	default:
		function, byPosition := scanned[s.file]
		_, intoRow := intoAuditRow[s.file]
		switch {
		case intoRow:
			faults = append(faults, s.checkAuditRow()...)
		case byPosition && function == "":
		case byPosition:
			targets, err := p.targets(function)
			if err != nil {
				return append(faults, err.Error())
			}
			faults = append(faults, s.checkTargets(targets)...)
		case u.row != nil && isStruct(u.row):
			faults = append(faults, s.checkFields(u.row)...)
		case u.row != nil:
			faults = append(faults, s.checkTargets([]types.Type{types.NewPointer(u.row)})...)
		case len(s.Fields) > 0:
			faults = append(faults, "its rows are read in a way that this test can't follow: see scanned")
		}
	}
	return faults
}

func (s *statement) checkArgs(args *arguments) (faults []string) {
	for i, name := range s.params {
		given, ok := args.types[name]
		if !ok {
			if _, column := contact.ByName(name); !args.open || !column {
				faults = append(faults, fmt.Sprintf("parameter %s is not given", name))
			}
			continue
		}
		value, err := zero(given)
		switch {
		case err != nil:
			faults = append(faults, fmt.Sprintf("parameter %s: %v", name, err))
		case value == nil: // anything
		case !s.encodes(s.ParamOIDs[i], reflect.ValueOf(value).Elem().Interface()):
			faults = append(faults, fmt.Sprintf("parameter %s of type %s is given a %s", name, s.typeName(s.ParamOIDs[i]), given))
		}
	}
	for name := range args.types {
		if !slices.Contains(s.params, name) {
			faults = append(faults, fmt.Sprintf("%s is given, and no parameter", name))
		}
	}
	return faults
}

// encodes reports whether pgx has a way to send value, which for texts is as text.
func (s *statement) encodes(oid uint32, value any) bool {
	format := int16(pgx.BinaryFormatCode)
	switch value.(type) {
	case string, *string:
		format = pgx.TextFormatCode
	}
	return s.types.PlanEncode(oid, format, value) != nil
}

func (s *statement) checkTargets(targets []types.Type) (faults []string) {
	if len(targets) != len(s.Fields) {
		return []string{fmt.Sprintf("it has %d columns, and is scanned into %d targets", len(s.Fields), len(targets))}
	}
	for i, target := range targets {
		faults = append(faults, s.checkColumn(&s.Fields[i], target)...)
	}
	return faults
}

// checkColumn checks that a column can be scanned into a target, a pointer.
func (s *statement) checkColumn(column *pgconn.FieldDescription, target types.Type) []string {
	pointer, ok := target.Underlying().(*types.Pointer)
	if !ok {
		return []string{fmt.Sprintf("column %s is scanned into %s, which is no pointer", column.Name, target)}
	}
	value, err := zero(pointer.Elem())
	if err != nil {
		return []string{fmt.Sprintf("column %s: %v", column.Name, err)}
	}
	if fmt.Sprintf("%T", s.types.PlanScan(column.DataTypeOID, pgx.BinaryFormatCode, value)) == "*pgtype.scanPlanFail" {
		return []string{fmt.Sprintf("column %s of type %s is scanned into %s", column.Name, s.typeName(column.DataTypeOID), target)}
	}
	return nil
}

// checkFields matches columns and fields by name, as pgx.RowToStructByName does.
func (s *statement) checkFields(row types.Type) (faults []string) {
	fields := map[string]types.Type{}
	collectFields(row, fields)
	for i := range s.Fields {
		column := &s.Fields[i]
		name := folded(column.Name)
		field, ok := fields[name]
		if !ok {
			faults = append(faults, fmt.Sprintf("column %s has no field in %s", column.Name, row))
			continue
		}
		delete(fields, name)
		faults = append(faults, s.checkColumn(column, types.NewPointer(field))...)
	}
	for name := range fields {
		faults = append(faults, fmt.Sprintf("field %s of %s has no column", name, row))
	}
	return faults
}

func isStruct(t types.Type) bool {
	_, ok := t.Underlying().(*types.Struct)
	return ok
}

func folded(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

func collectFields(row types.Type, fields map[string]types.Type) {
	of := row.Underlying().(*types.Struct)
	for i := range of.NumFields() {
		f := of.Field(i)
		switch {
		case reflect.StructTag(of.Tag(i)).Get("db") == "-":
		case f.Embedded() && isStruct(f.Type()):
			collectFields(f.Type(), fields)
		case f.Exported():
			fields[folded(f.Name())] = f.Type()
		}
	}
}

func (s *statement) typeName(oid uint32) string {
	if known, ok := s.types.TypeForOID(oid); ok {
		return known.Name
	}
	return fmt.Sprint(oid)
}

// foreign are types of other modules that values are given and scanned as.
var foreign = map[string]reflect.Type{
	"time.Time": reflect.TypeFor[time.Time](), "time.Duration": reflect.TypeFor[time.Duration](), "encoding/json.RawMessage": reflect.TypeFor[json.RawMessage](),
}

func init() {
	for _, t := range []reflect.Type{
		reflect.TypeFor[pgtype.Int2](), reflect.TypeFor[pgtype.Int4](), reflect.TypeFor[pgtype.Int8](), reflect.TypeFor[pgtype.Bool](), reflect.TypeFor[pgtype.Text](),
		reflect.TypeFor[pgtype.Timestamp](), reflect.TypeFor[pgtype.Timestamptz](), reflect.TypeFor[pgtype.UUID](), reflect.TypeFor[pgtype.TID](), reflect.TypeFor[contact.Value](),
	} {
		foreign[t.PkgPath()+"."+t.Name()] = t
	}
}

// zero is a pointer to a zero value that the driver treats as one of type t: types
// of our own are what they are made of. It is nil for an interface, and for nil.
func zero(t types.Type) (any, error) {
	if _, ok := t.Underlying().(*types.Interface); ok || t == types.Typ[types.UntypedNil] {
		return nil, nil
	}
	like, err := reflected(t)
	if err != nil {
		return nil, err
	}
	return reflect.New(like).Interface(), nil
}

func reflected(t types.Type) (reflect.Type, error) {
	if known, ok := foreign[types.TypeString(t, nil)]; ok {
		return known, nil
	}
	switch t := t.Underlying().(type) {
	case *types.Basic:
		for _, basic := range []reflect.Type{
			reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](),
			reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](), reflect.TypeFor[float64](), reflect.TypeFor[string](),
		} {
			if basic.Name() == types.Default(t).String() {
				return basic, nil
			}
		}
		if types.Default(t).String() == "byte" {
			return reflect.TypeFor[byte](), nil
		}
	case *types.Pointer:
		of, err := reflected(t.Elem())
		if err != nil {
			return nil, err
		}
		return reflect.PointerTo(of), nil
	case *types.Slice:
		of, err := reflected(t.Elem())
		if err != nil {
			return nil, err
		}
		return reflect.SliceOf(of), nil
	case *types.Map:
		key, err := reflected(t.Key())
		if err != nil {
			return nil, err
		}
		of, err := reflected(t.Elem())
		if err != nil {
			return nil, err
		}
		return reflect.MapOf(key, of), nil
	case *types.Array:
		of, err := reflected(t.Elem())
		if err != nil {
			return nil, err
		}
		return reflect.ArrayOf(int(t.Len()), of), nil
	}
	return nil, fmt.Errorf("type %s is not among foreign", t)
}

// program is this module's packages, type-checked without their tests.
type program struct {
	fset  *token.FileSet
	info  *types.Info
	files []*ast.File
	// declared are the functions with a body.
	declared map[types.Object]*ast.FuncDecl
}

func load(t *testing.T) *program {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Export,Dir,GoFiles", "contactmirror/...")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	type listed struct {
		ImportPath, Export, Dir string
		GoFiles                 []string
	}
	exports := map[string]string{}
	var ours []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var l listed
		if err := decoder.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[l.ImportPath] = l.Export
		if l.ImportPath == sqlPackage || strings.HasPrefix(l.ImportPath, "contactmirror/") {
			ours = append(ours, l)
		}
	}
	p := &program{fset: token.NewFileSet(), declared: map[types.Object]*ast.FuncDecl{}, info: &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}, Instances: map[*ast.Ident]types.Instance{},
	}}
	config := types.Config{Importer: importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	for _, l := range ours {
		var parsed []*ast.File
		for _, name := range l.GoFiles {
			file, err := parser.ParseFile(p.fset, filepath.Join(l.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, file)
		}
		if _, err := config.Check(l.ImportPath, p.fset, parsed, p.info); err != nil {
			t.Fatal(err)
		}
		p.files = append(p.files, parsed...)
	}
	for _, file := range p.files {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				p.declared[p.info.Defs[f.Name]] = f
			}
		}
	}
	return p
}

// use is a place where a statement is declared or run.
type use struct {
	at   token.Pos
	kind string     // Query, Column or Command of pg, or "" where pgx runs it
	row  types.Type // what a row is read into; nil where that does not say
	args *arguments // nil where the place does not run it
}

// arguments are the named ones of a call. open says that there are others, whose
// names are made at run time.
type arguments struct {
	types map[string]types.Type
	open  bool
}

// uses are the uses of each file.
func (p *program) uses(t *testing.T) map[string][]use {
	t.Helper()
	embedded := map[string]string{} // by the variable's name
	source, err := os.ReadFile("sql.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`//go:embed (\w+\.sql)\n\s+(\w+) string`).FindAllStringSubmatch(string(source), -1) {
		embedded[m[2]] = m[1]
	}
	found := map[string][]use{}
	declared := map[string]string{} // package and variable of a pg.Query, pg.Column or pg.Command to the file
	p.walk(func(path []ast.Node, name *ast.Ident, object types.Object) {
		if object.Pkg() == nil || object.Pkg().Path() != sqlPackage || embedded[object.Name()] == "" {
			return
		}
		file := embedded[object.Name()]
		call, ok := parent(path, 1).(*ast.CallExpr)
		switch {
		case !ok: // a field of something that runs it
			found[file] = append(found[file], use{at: name.Pos()})
		case p.info.Types[call.Fun].IsType():
			u := use{at: name.Pos()}
			converted := p.info.Types[call.Fun].Type.(*types.Named)
			if converted.Obj().Pkg().Path() == pgPackage {
				u.kind = converted.Obj().Name()
			}
			if of := converted.TypeArgs(); of.Len() == 1 {
				u.row = of.At(0)
			}
			found[file] = append(found[file], u)
			if spec, ok := parent(path, 2).(*ast.ValueSpec); ok {
				variable := p.info.Defs[spec.Names[slices.Index(spec.Values, ast.Expr(call))]]
				declared[id(variable)] = file
			}
		case strings.HasPrefix(types.ExprString(call.Fun), "pg.New"): // TestDeclarations_fitTheirStatements checks it
			found[file] = append(found[file], use{at: name.Pos(), kind: "Command"})
		default: // pgx runs it
			u := use{at: name.Pos(), args: &arguments{types: map[string]types.Type{}}}
			if i := slices.IndexFunc(call.Args, func(e ast.Expr) bool { return e.Pos() <= name.Pos() && name.Pos() < e.End() }); i+1 < len(call.Args) {
				p.add(u.args, call.Args[i+1], map[types.Object]bool{})
			}
			u.row = p.byName(parent(path, 3))
			found[file] = append(found[file], u)
		}
	})
	p.walk(func(path []ast.Node, name *ast.Ident, object types.Object) {
		file := declared[id(object)]
		if file == "" {
			return
		}
		u := use{at: name.Pos(), kind: "run", args: &arguments{types: map[string]types.Type{}}}
		if selector, ok := parent(path, 1).(*ast.SelectorExpr); ok && selector.X == ast.Expr(name) {
			if call, ok := parent(path, 2).(*ast.CallExpr); ok && call.Fun == ast.Expr(selector) {
				p.add(u.args, call.Args[2], map[types.Object]bool{})
			}
		} // else it is passed on, and then it has no parameters
		u.kind = found[file][0].kind
		u.row = found[file][0].row
		found[file] = append(found[file], u)
	})
	return found
}

// id tells package-level variables apart: imports of one are other objects.
func id(object types.Object) string {
	if object == nil || object.Pkg() == nil || object.Parent() != object.Pkg().Scope() {
		return ""
	}
	return object.Pkg().Path() + "." + object.Name()
}

// parent is the i-th last node of a path, where a selector counts as its name.
func parent(path []ast.Node, i int) ast.Node {
	if len(path) > 1 {
		if s, ok := path[len(path)-2].(*ast.SelectorExpr); ok && s.Sel == path[len(path)-1] {
			path = path[:len(path)-1]
		}
	}
	if i >= len(path) {
		return nil
	}
	return path[len(path)-1-i]
}

// walk calls visit for each use of an object.
func (p *program) walk(visit func(path []ast.Node, name *ast.Ident, object types.Object)) {
	for _, file := range p.files {
		var path []ast.Node
		ast.Inspect(file, func(n ast.Node) bool {
			if n == nil {
				path = path[:len(path)-1]
				return true
			}
			path = append(path, n)
			if name, ok := n.(*ast.Ident); ok && p.info.Uses[name] != nil {
				visit(path, name, p.info.Uses[name])
			}
			return true
		})
	}
}

// byName is the type that rows are read into by pgx.RowToStructByName within n.
func (p *program) byName(n ast.Node) (row types.Type) {
	if n == nil {
		return nil
	}
	ast.Inspect(n, func(n ast.Node) bool {
		if name, ok := n.(*ast.Ident); ok && slices.Contains([]string{"RowToStructByName", "RowTo"}, name.Name) {
			if of := p.info.Instances[name].TypeArgs; of.Len() == 1 {
				row = of.At(0)
			}
		}
		return true
	})
	return row
}

// add adds the arguments that e holds: a literal, what a function returns, or a
// variable with all that is put into it.
func (p *program) add(to *arguments, e ast.Expr, seen map[types.Object]bool) {
	switch e := e.(type) {
	case *ast.CompositeLit:
		for _, element := range e.Elts {
			pair := element.(*ast.KeyValueExpr)
			p.put(to, pair.Key, p.info.TypeOf(pair.Value))
		}
	case *ast.CallExpr:
		var object types.Object
		switch f := e.Fun.(type) {
		case *ast.Ident:
			object = p.info.Uses[f]
		case *ast.SelectorExpr:
			object = p.info.Uses[f.Sel]
		}
		if f := p.declared[object]; f != nil {
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if r, ok := n.(*ast.ReturnStmt); ok {
					p.add(to, r.Results[0], seen)
				}
				_, inner := n.(*ast.FuncLit)
				return !inner
			})
		}
	case *ast.Ident:
		object := p.info.ObjectOf(e)
		if object == nil || seen[object] || types.Object(object) == types.Universe.Lookup("nil") {
			return
		}
		seen[object] = true
		for _, f := range p.declared {
			if f.Pos() <= object.Pos() && object.Pos() < f.End() {
				p.addVariable(to, object, f, seen)
			}
		}
	}
}

// addVariable adds what is put into a variable of f.
func (p *program) addVariable(to *arguments, variable types.Object, f *ast.FuncDecl, seen map[types.Object]bool) {
	is := func(e ast.Expr) bool {
		name, ok := e.(*ast.Ident)
		return ok && p.info.ObjectOf(name) == variable
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if is(left) {
					p.add(to, n.Rhs[min(i, len(n.Rhs)-1)], seen)
				}
				if index, ok := left.(*ast.IndexExpr); ok && is(index.X) {
					value := p.info.TypeOf(n.Rhs[min(i, len(n.Rhs)-1)])
					if results, ok := value.(*types.Tuple); ok {
						value = results.At(i).Type()
					}
					p.put(to, index.Index, value)
				}
			}
		case *ast.CallExpr: // handed to another function, which may add to it
			for i, argument := range n.Args {
				if !is(argument) {
					continue
				}
				var callee types.Object
				switch f := n.Fun.(type) {
				case *ast.Ident:
					callee = p.info.Uses[f]
				case *ast.SelectorExpr:
					callee = p.info.Uses[f.Sel]
				}
				if called := p.declared[callee]; called != nil {
					if function, ok := callee.(*types.Func); ok {
						p.addVariable(to, function.Signature().Params().At(i), called, seen)
					}
				}
			}
		}
		return true
	})
}

func (p *program) put(to *arguments, key ast.Expr, value types.Type) {
	name := p.info.Types[key].Value
	if name == nil {
		to.open = true
		return
	}
	// Of several types, nil says least.
	if known := to.types[constant.StringVal(name)]; known == nil || known == types.Typ[types.UntypedNil] {
		to.types[constant.StringVal(name)] = value
	}
}

// targets are the types in the only literal of type []any in a function.
func (p *program) targets(function string) (targets []types.Type, err error) {
	var literals []*ast.CompositeLit
	for object, f := range p.declared {
		if object.(*types.Func).FullName() != function {
			continue
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			if literal, ok := n.(*ast.CompositeLit); ok && types.TypeString(p.info.TypeOf(literal), nil) == "[]any" {
				literals = append(literals, literal)
			}
			return true
		})
	}
	if len(literals) != 1 {
		return nil, fmt.Errorf("%d literals of targets in %s, want 1", len(literals), function)
	}
	for _, e := range literals[0].Elts {
		targets = append(targets, p.info.TypeOf(e))
	}
	return targets, nil
}
