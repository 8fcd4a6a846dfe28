package sql_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"contactmirror/internal/audit"
)

var update = flag.Bool("update", false, "write the generated lists of columns into the statements, as go generate does")

// sets are the sets of an audit row's columns, as statements name them.
var sets = map[string]audit.Set{
	"audit.Key | audit.Fact": audit.Key | audit.Fact, "audit.Fact": audit.Fact, "audit.Shown": audit.Shown, "audit.Committed": audit.Committed,
}

var generated = regexp.MustCompile(`(?s)( *)-- generated: ([\w.| ]+) of (\w+)\n(.*?) *-- end\n`)

// The columns of an audit row that a statement selects are listed by generation: a
// column is added in package audit.
func TestAuditColumns_areCurrent(t *testing.T) {
	t.Parallel()
	lists := 0
	for name, text := range files(t) {
		want := generated.ReplaceAllStringFunc(text, func(found string) string {
			lists++
			part := generated.FindStringSubmatch(found)
			indent, set, table := part[1], part[2], part[3]
			columns, ok := sets[set]
			if !ok {
				t.Errorf("%s: there is no set %s", name, set)
			}
			return fmt.Sprintf("%s-- generated: %s of %s\n%s%s-- end\n", indent, set, table, list(indent, table, audit.Columns(columns)), indent)
		})
		switch {
		case want == text:
		case !*update:
			t.Errorf("%s: its list of columns is not current: run go generate ./sql", name)
		default:
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	if lists == 0 {
		t.Error("no statement has a generated list")
	}
}

// list lays names out in lines.
func list(indent, table string, names []string) string {
	var lines []string
	line := indent
	for i, name := range names {
		item := table + "." + name
		if i < len(names)-1 {
			item += ","
		}
		if len(line)+len(item) > 110 {
			lines = append(lines, strings.TrimRight(line, " "))
			line = indent
		}
		line += item + " "
	}
	return strings.Join(append(lines, strings.TrimRight(line, " ")), "\n") + "\n"
}
