package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"contactmirror/internal/simulator"
)

// simulation is what a run found.
type simulation struct {
	tally    *simulator.Tally
	drain    time.Duration
	drainErr error
	verdict  *simulator.Verdict // nil: not judged
}

// lost is how many deliveries never got their 200.
func (f *simulation) lost() int { return f.tally.GivenUp + f.tally.NotSent }

// differences is how much is wrong, with the lines that say what.
func (f *simulation) differences() (int, []string) {
	n, lines := f.tally.Wrong, f.tally.WrongAnswers
	if f.verdict != nil {
		n += f.verdict.Count()
		lines = slices.Concat(lines, f.verdict.Differences)
	}
	return n, lines
}

// conclude prints what was found, and returns the error that it amounts to.
func (s *simulateCmd) conclude(call *invocation, f *simulation) error {
	err := f.writeTable(call.stdout, s)
	if s.JSON {
		err = writeJSON(call.stdout, f.document(s))
	}
	if err != nil {
		return err
	}
	switch n, _ := f.differences(); {
	case n > 0:
		return codedError{fmt.Errorf("simulate: %s", count(int64(n), "difference", "differences")), foundDifference}
	case f.drainErr != nil:
		return fmt.Errorf("simulate: %w", f.drainErr)
	case f.lost() > 0:
		return fmt.Errorf("simulate: %s lost", count(int64(f.lost()), "delivery was", "deliveries were"))
	}
	return nil
}

// progress shows on a terminal how far a run is.
func (s *simulateCmd) progress(w io.Writer) (update func(events int), finish func()) {
	if !terminal(w) {
		return nil, func() {}
	}
	start, total := time.Now(), int64(s.Events)
	if s.Duration > 0 {
		total = s.Duration.Milliseconds()
	}
	bars := mpb.New(mpb.WithOutput(w), mpb.WithWidth(64))
	bar := bars.AddBar(total,
		mpb.PrependDecorators(decor.Name("simulating ")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), decor.Elapsed(decor.ET_STYLE_GO)))
	update = func(events int) {
		done := int64(events)
		if s.Duration > 0 {
			done = max(done*total/int64(s.Events), time.Since(start).Milliseconds())
		}
		bar.SetCurrent(min(done, total-1)) // the bar ends with the last answer
	}
	return update, func() {
		bar.SetTotal(total, true)
		bars.Wait()
	}
}

func (f *simulation) writeTable(w io.Writer, s *simulateCmd) error {
	if s.JSON {
		return nil
	}
	if err := writeTable(w, f.rows(s)); err != nil {
		return err
	}
	n, lines := f.differences()
	if len(lines) > 0 {
		fmt.Fprintln(w)
	}
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	if n > len(lines) {
		fmt.Fprintf(w, "and %d more\n", n-len(lines))
	}
	return nil
}

func (f *simulation) rows(s *simulateCmd) [][]string {
	t := f.tally
	deliveries := t.Deliveries[simulator.Genuine] + t.Deliveries[simulator.Duplicate] + t.Deliveries[simulator.Tampered] + t.Deliveries[simulator.Malformed]
	rows := [][]string{
		{"seed", strconv.FormatUint(s.Seed, 10)},
		{"tenants", fmt.Sprintf("%d, %s-1 to %s-%d", s.Tenants, s.Prefix, s.Prefix, s.Tenants)},
		{"events", fmt.Sprintf("%d in the lives of %s", t.Events, count(int64(t.Contacts), "contact", "contacts"))},
		{"deliveries", fmt.Sprintf("%d: %d of events, %d repeated, %d tampered with, %d malformed", deliveries,
			t.Deliveries[simulator.Genuine], t.Deliveries[simulator.Duplicate], t.Deliveries[simulator.Tampered], t.Deliveries[simulator.Malformed])},
		{"took", fmt.Sprintf("%v, %.0f deliveries/s", t.Took.Round(time.Millisecond), float64(deliveries)/t.Took.Seconds())},
		{"attempts", fmt.Sprintf("%d, answered within %v (half), %v (99%%), %v (all)", t.Attempts,
			rounded(t.Latency(0.5)), rounded(t.Latency(0.99)), rounded(t.Latency(1)))},
	}
	for i, answer := range slices.Sorted(maps.Keys(t.Answers)) {
		rows = append(rows, []string{[]string{"answers", ""}[min(i, 1)], fmt.Sprintf("%s: %d", plain(answer), t.Answers[answer])})
	}
	rows = append(rows, []string{"lost", f.lossText()})
	for _, h := range t.HooksOff {
		rows = append(rows, []string{"HOOK OFF", fmt.Sprintf("%s, after %s in a row; the last: %s %s",
			h.Tenant, count(int64(h.Failures), "failed attempt", "failed attempts"), status(h.Last), answer(h.Last))})
	}
	return append(rows, []string{"mirror", f.mirrorText()})
}

func rounded(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

func (f *simulation) lossText() string {
	if f.lost() == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%s: %d given up after %d attempts, %d while the hook was off",
		count(int64(f.lost()), "delivery", "deliveries"), f.tally.GivenUp, simulator.MaxAttempts, f.tally.NotSent)
}

func (f *simulation) mirrorText() string {
	switch v := f.verdict; {
	case f.drainErr != nil:
		return "not checked: " + f.drainErr.Error()
	case v == nil:
		return "not checked"
	case v.Good():
		return fmt.Sprintf("exactly as it should be, with %s; all applied %v after the last answer", count(int64(v.Events), "event", "events"), f.drain.Round(time.Millisecond))
	default:
		return fmt.Sprintf("DIFFERS: %d lost, %d doubled, %d invented, %d wrong, %d not applied", v.Lost, v.Doubled, v.Invented, v.Wrong, v.Open)
	}
}

// simulationJSON is a simulation as --json prints it.
type simulationJSON struct {
	Seed             uint64             `json:"seed"`
	TenantPrefix     string             `json:"tenant_prefix"`
	Tenants          int                `json:"tenants"`
	Events           int                `json:"events"`
	Contacts         int                `json:"contacts"`
	Deliveries       map[string]int     `json:"deliveries"`
	Attempts         int                `json:"attempts"`
	Answers          map[string]int     `json:"answers"`
	GivenUp          int                `json:"given_up"`
	NotSent          int                `json:"not_sent"`
	HooksOff         []hookOffJSON      `json:"hooks_off"`
	Seconds          float64            `json:"seconds"`
	LatencySeconds   map[string]float64 `json:"latency_seconds"`
	DrainSeconds     *float64           `json:"drain_seconds"` // null: not waited for, or in vain
	NotDrained       string             `json:"not_drained,omitempty"`
	WrongAnswers     int                `json:"wrong_answers"`
	WrongAnswerLines []string           `json:"wrong_answer_lines"`
	Mirror           *simulator.Verdict `json:"mirror"` // null: not checked
}

type hookOffJSON struct {
	Tenant   string `json:"tenant"`
	Failures int    `json:"failures"`
	Last     string `json:"last"`
}

func (f *simulation) document(s *simulateCmd) simulationJSON {
	t := f.tally
	d := simulationJSON{
		Seed: s.Seed, TenantPrefix: s.Prefix, Tenants: s.Tenants, Events: t.Events, Contacts: t.Contacts,
		Deliveries: map[string]int{
			"genuine": t.Deliveries[simulator.Genuine], "duplicate": t.Deliveries[simulator.Duplicate],
			"tampered": t.Deliveries[simulator.Tampered], "malformed": t.Deliveries[simulator.Malformed],
		},
		Attempts: t.Attempts, Answers: t.Answers, GivenUp: t.GivenUp, NotSent: t.NotSent, HooksOff: []hookOffJSON{}, Seconds: t.Took.Seconds(),
		LatencySeconds: map[string]float64{"0.5": t.Latency(0.5).Seconds(), "0.99": t.Latency(0.99).Seconds(), "1": t.Latency(1).Seconds()},
		WrongAnswers:   t.Wrong, WrongAnswerLines: append([]string{}, t.WrongAnswers...), Mirror: f.verdict,
	}
	for _, h := range t.HooksOff {
		d.HooksOff = append(d.HooksOff, hookOffJSON{h.Tenant, h.Failures, status(h.Last) + " " + answer(h.Last)})
	}
	switch {
	case f.drainErr != nil:
		d.NotDrained = f.drainErr.Error()
	case f.verdict != nil:
		seconds := f.drain.Seconds()
		d.DrainSeconds = &seconds
		if d.Mirror.Differences == nil {
			d.Mirror.Differences = []string{}
		}
	}
	return d
}
