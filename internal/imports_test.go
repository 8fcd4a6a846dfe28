// Package internal_test holds the arrows between the packages: an architecture
// that is not tested is a drawing.
package internal_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// allowed says what of ours, and which of the libraries that are kept in one
// place, each package may import itself: of a library all packages, by its name in
// kept, or a single one, by its path. What is not listed may be imported by nobody
// but cmd.
var allowed = map[string][]string{
	"internal/contact":    {"github.com/jackc/pgx/v5/pgtype"}, // the data types of columns
	"internal/event":      {"internal/contact"},
	"internal/chain":      {},
	"internal/signature":  {},
	"internal/pg":         {"pgx"},
	"internal/sequence":   {"internal/pg", "sql", "pgx"},
	"internal/operator":   {"internal/pg", "sql"},
	"internal/inbox":      {"internal/contact", "internal/erasure", "internal/event", "internal/pg", "internal/sequence", "internal/signature", "sql", "pgx"},
	"internal/contactrow": {"internal/contact", "internal/pg", "sql", "pgx"},
	"internal/audit":      {"internal/chain", "internal/contact", "internal/event", "internal/pg", "sql", "pgx"},
	"internal/mirror":     {"internal/audit", "internal/chain", "internal/contact", "internal/contactrow", "internal/erasure", "internal/event", "internal/inbox", "internal/pg", "internal/sequence", "sql", "pgx"},
	"internal/quarantine": {"internal/contact", "internal/erasure", "internal/event", "internal/inbox", "internal/operator", "internal/pg", "internal/sequence", "internal/signature", "sql", "pgx"},
	"internal/erasure":    {"internal/audit", "internal/chain", "internal/contact", "internal/contactrow", "internal/event", "internal/operator", "internal/pg", "internal/sequence", "sql", "pgx"},
	"internal/retention":  {"internal/operator", "internal/pg", "sql", "pgx"},
	"internal/refold":     {"internal/audit", "internal/contact", "internal/pg", "sql", "pgx"},
	"internal/rebuild":    {"internal/contact", "internal/operator", "internal/pg", "internal/refold", "sql", "pgx"},
	"internal/verify":     {"internal/chain", "internal/contact", "internal/event", "internal/operator", "internal/pg", "internal/refold", "sql", "pgx"},
	"internal/freshness":  {"internal/pg", "sql", "pgx"},
	"internal/settle":     {"internal/pg", "sql", "pgx"},
	"internal/feed":       {"internal/contact", "internal/pg", "sql", "pgx"},
	"internal/bench":      {"internal/contact", "internal/signature", "pgx"},
	"internal/report":     {"internal/pg", "sql"},
	"internal/admin":      {"internal/contact", "internal/feed", "internal/mirror", "internal/report", "internal/spool", "pgx", "echo", "prometheus"},
	"internal/receive":    {"internal/event", "internal/inbox", "internal/signature", "echo"},
	"internal/process":    {"internal/operator", "internal/pg", "internal/signature", "internal/smallfile", "sql", "pgx"},
	"internal/smallfile":  {},
	"internal/spool":      {},
	"internal/accept":     {"internal/event", "internal/inbox", "internal/pg", "internal/signature", "internal/spool"},
	"internal/faults":     {},
	"internal/simulator":  {"internal/contact", "internal/event", "internal/pg", "internal/signature", "pgx"},
	"internal/localpg":    {"internal/smallfile", "pgx"},
	"internal/pgtest":     {"internal/localpg", "internal/pg", "migrations", "pgx"},
	"migrations":          {"internal/operator", "pgx", "goose", "database/sql"},
	"sql":                 {},
	"sql/generate":        {"internal/contact"},
}

// kept are the libraries whose importers are held, by the name used above.
var kept = map[string]string{
	"github.com/jackc/pgx/":      "pgx",
	"github.com/labstack/echo/":  "echo",
	"github.com/pressly/goose/":  "goose",
	"github.com/alecthomas/kong": "kong",
	"github.com/prometheus/":     "prometheus",
	"database/sql":               "database/sql",
}

func TestImportsPointDownwards(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "contactmirror/...")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], "contactmirror/")
		if strings.HasPrefix(name, "cmd/") || strings.HasPrefix(name, "tools") {
			continue
		}
		permitted, listed := allowed[name]
		if !listed && name != "internal" {
			t.Errorf("%s is not in the list of packages", name)
		}
		seen[name] = true
		for _, path := range fields[1:] {
			if imported := judged(path); imported != "" && !slices.Contains(permitted, imported) && !slices.Contains(permitted, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
	for name := range allowed {
		if !seen[name] {
			t.Errorf("%s is listed, but there is no such package", name)
		}
	}
}

// judged is the name that an import has in the list, "" where anybody may have it.
func judged(path string) string {
	if ours, ok := strings.CutPrefix(path, "contactmirror/"); ok {
		return ours
	}
	for prefix, name := range kept {
		if strings.HasPrefix(path, prefix) {
			return name
		}
	}
	return ""
}

// Every pool has the settings and encoders of pg.Open, in tests too: a test on a
// pool of its own making would not run what production runs. A pool for other
// settings is made of a copy of such a pool's Config.
func TestPoolsAreOpenedByPg(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-f",
		`{{range .GoFiles}}{{$.Dir}}/{{.}} {{end}}{{range .TestGoFiles}}{{$.Dir}}/{{.}} {{end}}{{range .XTestGoFiles}}{{$.Dir}}/{{.}} {{end}}`, "contactmirror/...")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	inTests := regexp.MustCompile(`pgxpool\.(New|ParseConfig)\(`)
	elsewhere := regexp.MustCompile(`pgxpool\.New\w*\(`)
	for _, file := range strings.Fields(string(out)) {
		if strings.HasSuffix(file, "/internal/pg/pg.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		forbidden := elsewhere
		if strings.HasSuffix(file, "_test.go") || strings.Contains(file, "/internal/pgtest/") {
			forbidden = inTests
		}
		if found := forbidden.Find(source); found != nil {
			t.Errorf("%s calls %s…), not pg.Open", file, found)
		}
	}
}
