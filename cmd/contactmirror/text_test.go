package main

import (
	"strings"
	"testing"
	"time"
)

func TestPlain(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Cust1234":     "Cust1234",
		"Bjørge æøå 株": "Bjørge æøå 株",
		"":             `""`,
		"a\x1b[2J":     `"a\x1b[2J"`,
		"a\u202eb":     `"a\u202eb"`,
		"a\nb":         `"a\nb"`,
		"a\xffb":       `"a\xffb"`,
	} {
		if got := plain(text); got != want {
			t.Errorf("plain(%q): got %s, want %s", text, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0:                       "less than a second",
		1900 * time.Millisecond: "1 second",
		59 * time.Second:        "59 seconds",
		90 * time.Minute:        "1 hour",
		49 * time.Hour:          "2 days",
		400 * 24 * time.Hour:    "1 year",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v): got %q, want %q", d, got, want)
		}
	}
}

func TestWriteListWraps(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	long := strings.Repeat("x", 90)
	writeList(&out, "columns  ", []string{"a", "b", long, "c"})
	want := "columns  a, b,\n         " + long + ",\n         c\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
