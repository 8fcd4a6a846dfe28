package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// No transaction takes its isolation from the defaults of the database or the role,
// which may be any: whatever begins one says which it needs. A savepoint has that of
// its transaction.
func TestTransactions_nameTheirIsolation(t *testing.T) {
	t.Parallel()
	found := 0
	root := ".."
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && name != "." || name == "tools") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if literal, ok := n.(*ast.CompositeLit); ok && len(literal.Elts) == 0 {
				if kind, ok := literal.Type.(*ast.SelectorExpr); ok && kind.Sel.Name == "TxOptions" {
					t.Errorf("%s: TxOptions without an isolation", set.Position(n.Pos()))
				}
			}
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			function, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch function.Sel.Name {
			case "BeginTx", "BeginTxFunc":
				found++
			case "BeginFunc", "Begin":
				if !savepoint(call) {
					t.Errorf("%s: %s has the isolation that the database's or the role's default says: use BeginTxFunc", set.Position(call.Pos()), function.Sel.Name)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 5 {
		t.Errorf("%d transactions were found: the test looks in the wrong place", found)
	}
}

// savepoint reports whether call begins one: it is given a transaction, which is
// called tx everywhere.
func savepoint(call *ast.CallExpr) bool {
	if len(call.Args) < 2 {
		return false
	}
	switch parent := call.Args[1].(type) {
	case *ast.Ident:
		return parent.Name == "tx"
	case *ast.SelectorExpr:
		return parent.Sel.Name == "tx"
	}
	return false
}
