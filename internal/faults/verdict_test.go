//go:build linux

package faults

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// slowest is the longest that an answer may take: two seconds, and what a busy
// machine with two cores adds to them.
const slowest = 2500 * time.Millisecond

// row is what the table says of one fault. Wrong are contacts, tombstones and
// audit rows that differ from the truth, that nobody sent, or that are missing.
type row struct {
	fault                   string
	offered, answered       int // deliveries
	lost, doubled, wrong    int
	unavailable             int // attempts answered 503
	longest, drained        time.Duration
	remark                  string
	judged, failed, skipped bool
}

// table is the rows of all faults, in the order in which they were tried.
var table rows

type rows struct {
	sync.Mutex
	all []*row
}

// enter adds a row for a fault that is about to be tried.
func (t *rows) enter(fault string) *row {
	t.Lock()
	defer t.Unlock()
	r := &row{fault: fault}
	t.all = append(t.all, r)
	return r
}

// settle ends a fault that has just been healed: everything that was received
// until now is applied, the traffic ends, everything is drained, and the mirror
// is judged.
func (l *lab) settle(load *traffic, db *server, services ...*service) *row {
	l.Helper()
	r := l.row
	healed := ask[time.Time](db, "select clock_timestamp()")
	r.drained = l.await("all that was received during the fault is applied", patience, func() bool {
		return drained(services) && ask[bool](db, "select not exists (select from sync_queue where received_at < $1)", healed)
	})
	load.stop()
	l.await("the queue and the spool are empty", patience, func() bool {
		return drained(services) && ask[bool](db, "select not exists (select from sync_queue)")
	})
	l.judge(r, load, db)
	l.assert(r)
	return r
}

func drained(services []*service) bool {
	return !slices.ContainsFunc(services, func(s *service) bool { return s.spooled() > 0 })
}

// judge fills the row with what load saw and with what db holds.
func (l *lab) judge(r *row, load *traffic, db *server) {
	l.Helper()
	load.mu.Lock()
	r.offered, r.answered, r.longest, r.unavailable = load.deliveries, load.delivered, load.longest, load.statuses[503]
	l.Logf("attempts by status (0: no answer): %v; results: %v", load.statuses, load.results)
	load.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	verdict, err := load.oracle.Judge(ctx, db.connect())
	if err != nil {
		l.Fatal(err)
	}
	r.judged = true
	r.lost, r.doubled, r.wrong = verdict.Lost, verdict.Doubled, verdict.Wrong+verdict.Invented+verdict.Open
	for _, difference := range verdict.Differences {
		if !l.lossAllowed || !strings.HasPrefix(difference, "lost") {
			l.Log(difference)
		}
	}
	if n := ask[int](db, "select count(*) from event_accounting where not balanced"); n > 0 {
		l.Errorf("event_accounting does not add up for %d tenants", n)
	}
}

func (l *lab) assert(r *row) {
	l.Helper()
	if r.lost > 0 && !l.lossAllowed {
		l.Errorf("%d accepted events are lost", r.lost)
	}
	if r.doubled > 0 || r.wrong > 0 {
		l.Errorf("%d events are doubled and %d rows wrong, want none", r.doubled, r.wrong)
	}
	if r.answered == 0 {
		l.Error("nothing was answered 200, so nothing was tested")
	}
	if r.longest > slowest {
		l.Errorf("the longest answer took %s, want at most %s", r.longest, slowest)
	}
}

// report prints the table, and writes it to the file of -faults.table.
func report() error {
	table.Lock()
	defer table.Unlock()
	if len(table.all) == 0 {
		return nil
	}
	fmt.Println()
	printTable(os.Stdout)
	if *tableFile == "" {
		return nil
	}
	var text strings.Builder
	printTable(&text)
	return os.WriteFile(*tableFile, []byte(text.String()), 0o644)
}

func printTable(w io.Writer) {
	version := "quick"
	if *long {
		version = "long"
	}
	fmt.Fprintf(w, "%s version, %s, %s/%s, %d cores, seed %d\n\n",
		version, time.Now().Format("2006-01-02"), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), *seed)
	fmt.Fprintln(w, "| fault | deliveries offered | answered 200 | lost | doubled | wrong rows | attempts answered 503 | longest answer | time to drain |")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, r := range table.all {
		name := r.fault
		if r.remark != "" {
			name += " (" + r.remark + ")"
		}
		switch {
		case r.failed:
			name = "**FAILED:** " + name
		case r.skipped:
			name = "**NOT TESTED:** " + name
		}
		if !r.judged {
			fmt.Fprintf(w, "| %s | – | – | – | – | – | – | – | – |\n", name)
			continue
		}
		fmt.Fprintf(w, "| %s | %d | %d | %d | %d | %d | %d | %s | %s |\n", name,
			r.offered, r.answered, r.lost, r.doubled, r.wrong, r.unavailable,
			r.longest.Round(time.Millisecond), r.drained.Round(10*time.Millisecond))
	}
}
