package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"contactmirror/internal/report"
)

// What needs an operator stands out, and says of which receiver and tenant.
func TestStatusOfReceivers(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	before := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	refusal := "no \x1b[2Jtable"
	var well, away, rotated report.Receiver
	well.Host, well.PID, well.Roles = "well", 1, []string{"receive"}
	well.StartedAt, well.HeartbeatAt, well.LastAcceptedAt = *before(3 * time.Hour), now, before(2*time.Second)
	well.RefusedSince, well.Refused = before(time.Minute), 7
	well.Secrets = []report.Secret{{ContextIdentifier: "*", Ordinal: 1, RefusedSince: before(time.Hour)}}
	away.Host, away.PID, away.Roles = "away", 2, []string{"receive", "sync"}
	away.StartedAt, away.HeartbeatAt = *before(72 * time.Hour), *before(5 * time.Minute)
	away.ObservedAt = away.HeartbeatAt
	away.SpoolRecords, away.SpoolBytes, away.SpoolOldestAt = 3, 700, before(6*time.Minute)
	away.MovedAsideFiles, away.MovedAsideOldestAt = 2, before(8*time.Minute)
	away.InboxAwaySince, away.WorkerError, away.WorkerFailingSince = before(6*time.Minute), &refusal, before(7*time.Minute)
	rotated.Host, rotated.PID, rotated.StartedAt, rotated.HeartbeatAt = "rotated", 3, *before(time.Hour), now
	rotated.Secrets = []report.Secret{
		{ContextIdentifier: "*", Ordinal: 1, LastMatchedAt: before(time.Second)},
		{ContextIdentifier: "", Ordinal: 1, NotAfter: before(time.Minute), RefusedSince: before(time.Minute)},
		{ContextIdentifier: "", Ordinal: 2, NotBefore: before(-time.Minute), RefusedSince: before(time.Minute)},
		{ContextIdentifier: "Cust1", Ordinal: 1, NotAfter: before(-time.Hour)},
	}

	s := assess(report.Status{Mirror: report.Mirror{Now: now, CompleteThrough: *away.SpoolOldestAt}, Receivers: []report.Receiver{well, away, rotated}})
	var out bytes.Buffer
	if err := s.write(&out); err != nil {
		t.Fatal(err)
	}
	squeezed := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"complete through " + when(now, *away.SpoolOldestAt),
		"RECEIVER ROLES RUNNING SPOOL LAST ACCEPTED well:1 receive for 3 hours empty 2 seconds ago",
		"away:2 receive,sync SILENT for 5 minutes 3 deliveries, 700 bytes, the oldest of " + when(now, *away.SpoolOldestAt) + "; 2 files MOVED ASIDE nothing yet",
		"away:2: 2 files MOVED ASIDE IN THE SPOOL: deliveries received since " + when(now, *before(8 * time.Minute)),
		"all others 1 rotated:3 yes 1 second ago",
		`"" 1 rotated:3 ended ` + when(now, *before(time.Minute)),
		`"" 2 rotated:3 from ` + when(now, *before(-time.Minute)),
		"Cust1 1 rotated:3 until " + when(now, *before(-time.Hour)) + " not since the start, " + when(now, rotated.StartedAt),
		"well:1: EVERY DELIVERY REFUSED since " + when(now, *before(time.Minute)) + " for its signature, 7 so far",
		`rotated:3: EVERY DELIVERY OF "" REFUSED since ` + when(now, *before(time.Minute)),
		"away:2: could not reach the database since " + when(now, *before(6 * time.Minute)),
		"away:2: CAN'T APPLY EVENTS since " + when(now, *before(7 * time.Minute)) + `: "no \x1b[2Jtable"`,
	} {
		if !strings.Contains(squeezed, want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if n := strings.Count(squeezed, "REFUSED"); n != 2 {
		t.Errorf("%d lines about refusals, want 2:\n%s", n, out.String())
	}
}
