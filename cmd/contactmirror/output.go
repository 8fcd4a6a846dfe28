package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// writeJSON prints v as one indented JSON document.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// writeBody prints a delivery's body line by line, with what a terminal should
// not be shown escaped.
func writeBody(w io.Writer, body []byte) {
	for line := range strings.Lines(string(body)) {
		line = strings.TrimRight(line, "\r\n")
		if line != "" {
			line = plain(line)
		}
		fmt.Fprintln(w, line)
	}
}

// writeTable prints rows in columns aligned to the left.
func writeTable(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// writeNumbers prints rows in columns aligned to the right, but for the first,
// which names the row.
func writeNumbers(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		fmt.Fprintf(w, "%-*s", widths[0], row[0])
		for i, cell := range row[1:] {
			fmt.Fprintf(w, "   %*s", widths[i+1], cell)
		}
		fmt.Fprintln(w)
	}
}
