// Command generate writes the statements that list the mirrored columns: each
// ../*.sql.tmpl becomes the .sql file of the same name, with the lists of
// [contact.Columns] and [contact.Sent]. `go generate ./...` runs it, and a test
// fails where a file is not current.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"contactmirror/internal/contact"
)

// width is where lists are wrapped.
const width = 110

// lists are what a template is given.
type lists struct {
	// Columns is all columns but the id: that one is part of the key, and each
	// statement treats keys in its own way.
	Columns []contact.Spec
	// Sent is those whose values SuperOffice sends.
	Sent []contact.Spec
}

func main() {
	dir := flag.String("dir", ".", "the folder of the templates")
	flag.Parse()
	statements, err := render(*dir)
	if err == nil {
		err = write(*dir, statements)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func write(dir string, statements map[string]string) error {
	for name, text := range statements {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render returns the statements of the templates in dir, by the name of their file.
// Templates may use what others define.
func render(dir string) (map[string]string, error) {
	all, err := template.New("").Funcs(template.FuncMap{"list": list}).ParseGlob(filepath.Join(dir, "*.sql.tmpl"))
	if err != nil {
		return nil, err
	}
	var data lists
	for c, spec := range contact.Columns {
		if spec.Name == "contact_id" {
			continue
		}
		data.Columns = append(data.Columns, spec)
		if contact.Sent.Has(contact.Column(c)) {
			data.Sent = append(data.Sent, spec)
		}
	}
	statements := map[string]string{}
	for _, t := range all.Templates() {
		name, isFile := strings.CutSuffix(t.Name(), ".tmpl")
		if !isFile {
			continue
		}
		var text bytes.Buffer
		if err := t.Execute(&text, data); err != nil {
			return nil, err
		}
		title, rest, _ := strings.Cut(text.String(), "\n")
		if !strings.HasPrefix(title, "-- ") || !strings.HasSuffix(title, ".") {
			return nil, fmt.Errorf("%s: the first line is no comment of whole sentences: %s", t.Name(), title)
		}
		statements[name] = fmt.Sprintf("%s Generated from %s.\n%s", title, t.Name(), rest)
	}
	return statements, nil
}

// list returns pattern for each column, where $name is the column's name and $type
// its type, with commas between. Lines that continue it are indented by some spaces.
func list(indent int, columns []contact.Spec, pattern string) (string, error) {
	var (
		text    strings.Builder
		unknown []string
		length  = indent
	)
	for i, spec := range columns {
		item := os.Expand(pattern, func(variable string) string {
			switch variable {
			case "name":
				return spec.Name
			case "type":
				return string(spec.Type)
			}
			unknown = append(unknown, variable)
			return ""
		})
		if i < len(columns)-1 {
			item += ","
		}
		switch {
		case i == 0:
		case length+1+len(item) > width:
			text.WriteString("\n" + strings.Repeat(" ", indent))
			length = indent
		default:
			text.WriteString(" ")
			length++
		}
		text.WriteString(item)
		length += len(item)
	}
	if len(unknown) > 0 {
		return "", fmt.Errorf("%q: a column has no %q", pattern, slices.Compact(unknown))
	}
	return text.String(), nil
}
