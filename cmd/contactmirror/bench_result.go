package main

import (
	"fmt"
	"time"
)

// benchResult is one line of what was measured.
type benchResult struct {
	Measure string  `json:"measure"`
	What    string  `json:"what"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	// Against is what Value is compared with, empty where with nothing.
	Against      string  `json:"against,omitempty"`
	AgainstValue float64 `json:"against_value,omitempty"`
	Ratio        float64 `json:"ratio,omitempty"`
}

func (b *benchRun) found(measure, what string, value float64, unit string) {
	b.results = append(b.results, benchResult{Measure: measure, What: what, Value: value, Unit: unit})
	b.say("  %s: %s", what, amount(value, unit))
}

func (b *benchRun) compared(measure, what string, value float64, unit, against string, other float64) {
	r := benchResult{Measure: measure, What: what, Value: value, Unit: unit, Against: against, AgainstValue: other, Ratio: value / other}
	b.results = append(b.results, r)
	b.say("  %s: %s; %s: %s; ratio %.2f", what, amount(value, unit), against, amount(other, unit), r.Ratio)
}

// amount is a value with as many digits as it is good for.
func amount(value float64, unit string) string {
	switch {
	case value >= 100:
		return fmt.Sprintf("%.0f %s", value, unit)
	case value >= 10:
		return fmt.Sprintf("%.1f %s", value, unit)
	}
	return fmt.Sprintf("%.2f %s", value, unit)
}

func (b *benchRun) print() error {
	if b.JSON {
		return writeJSON(b.call.stdout, struct {
			Machine benchMachine  `json:"machine"`
			Dials   benchDials    `json:"dials"`
			Results []benchResult `json:"results"`
		}{b.machine, benchDials{b.Events, b.Contacts, b.Grown, b.Duration.String(), b.Workers}, b.results})
	}
	m := b.machine
	fmt.Fprintf(b.call.stdout, "%s, %s, %s, PostgreSQL %s, contactmirror %s\n%d events over %d contacts, grown to %d, %v a flood, %d workers\n\n",
		m.At.Format(time.DateOnly), m.System, count(int64(m.Cores), "core", "cores"), m.PostgreSQL, m.Build, b.Events, b.Contacts, b.Grown, b.Duration, b.Workers)
	rows := [][]string{{"measure", "what", "value", "compared with", "value", "ratio"}}
	for _, r := range b.results {
		row := []string{r.Measure, r.What, amount(r.Value, r.Unit), "", "", ""}
		if r.Against != "" {
			row[3], row[4], row[5] = r.Against, amount(r.AgainstValue, r.Unit), fmt.Sprintf("%.2f", r.Ratio)
		}
		rows = append(rows, row)
	}
	return writeTable(b.call.stdout, rows)
}

// benchDials are the dials of a run.
type benchDials struct {
	Events   int    `json:"events"`
	Contacts int    `json:"contacts"`
	Grown    int    `json:"grown"`
	Duration string `json:"duration"`
	Workers  int    `json:"workers"`
}
