package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"contactmirror/internal/contact"
)

// The files in the repository are what their templates give now.
func TestRender_filesAreCurrent(t *testing.T) {
	t.Parallel()
	statements, err := render("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(statements) == 0 {
		t.Error("there are no templates")
	}
	for name, want := range statements {
		if got, err := os.ReadFile(filepath.Join("..", name)); err != nil || string(got) != want {
			t.Errorf("%s is not what its template gives (%v): run go generate ./...", name, err)
		}
	}
}

// No statement lists the columns by hand, or is left of a template that is gone.
func TestRender_writesEveryList(t *testing.T) {
	t.Parallel()
	statements, err := render("..")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, path := range files {
		name := filepath.Base(path)
		if statements[name] != "" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), " Generated from ") {
			t.Errorf("%s was generated, and has no template", name)
		}
		if n := listed(string(text)); n > 5 {
			t.Errorf("%s names %d of the mirrored columns: generate it", name, n)
		}
	}
	templates, err := filepath.Glob("../*.sql.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range templates {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := listed(strings.ReplaceAll(string(text), "$name", "")); n > 0 {
			t.Errorf("%s names %d of the mirrored columns", filepath.Base(path), n)
		}
	}
}

// listed is how many of the mirrored columns text names.
func listed(text string) (n int) {
	for _, spec := range contact.Columns {
		if spec.Name != "contact_id" && regexp.MustCompile(`\b`+spec.Name+`\b`).MatchString(text) {
			n++
		}
	}
	return n
}

func TestList(t *testing.T) {
	t.Parallel()
	columns := []contact.Spec{{Name: "a", Type: "bigint"}, {Name: strings.Repeat("b", 90), Type: "text"}, {Name: "c", Type: "text"}, {Name: "d", Type: "text"}}
	got, err := list(4, columns, "@$name::$type[]")
	want := "@a::bigint[],\n    @" + strings.Repeat("b", 90) + "::text[],\n    @c::text[], @d::text[]"
	if err != nil || got != want {
		t.Errorf("list is %q, %v, want %q", got, err, want)
	}
	for line := range strings.Lines(got) {
		if len(line) > width {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	if _, err := list(0, columns, "$nome"); err == nil || !strings.Contains(err.Error(), "nome") {
		t.Errorf("a variable that there is not: %v", err)
	}
}
