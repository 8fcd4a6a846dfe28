package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// plain is text from outside as a terminal may be shown it: quoted where it
// holds what does not print, and where nothing would be seen of it.
func plain(text string) string {
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError }) {
		return strconv.Quote(text)
	}
	return text
}

// clock is an instant as a person reads it, to the second.
func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }

// when is an instant both absolute and as seen from now.
func when(now, t time.Time) string {
	if d := now.Sub(t); d < 0 {
		return clock(t) + " (in " + span(-d) + ")"
	}
	return clock(t) + " (" + span(now.Sub(t)) + " ago)"
}

// span is a length of time in its largest unit, cut.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		size time.Duration
		name string
	}{
		{365 * day, "year"}, {30 * day, "month"}, {day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"},
	} {
		if d >= unit.size {
			return count(int64(d/unit.size), unit.name, unit.name+"s")
		}
	}
	return "less than a second"
}

// count is a number of things.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// writeList prints a label and words after it, wrapped and indented under the
// first of them.
func writeList(w io.Writer, label string, words []string) {
	const width = 100
	line, indent := label, strings.Repeat(" ", utf8.RuneCountInString(label))
	empty := true
	for i, word := range words {
		if i < len(words)-1 {
			word += ","
		}
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			fmt.Fprintln(w, line)
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	fmt.Fprintln(w, line)
}
