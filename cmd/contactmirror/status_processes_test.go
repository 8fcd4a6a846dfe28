package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"contactmirror/internal/report"
)

// Each problem is printed with the process and the tenant that have it.
func TestStatus_ofProcesses(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	before := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	refusal := "no \x1b[2Jtable"
	var well, away, rotated, applying, former, unable report.Process
	well.Host, well.PID, well.Roles = "well", 1, []string{"receive"}
	well.StartedAt, well.HeartbeatAt, well.AcceptedAt = *before(3 * time.Hour), now, before(2*time.Second)
	well.RefusedSince, well.Refused = before(time.Minute), 7
	well.Secrets = []report.Secret{{ContextIdentifier: "*", Ordinal: 1, RefusedSince: before(time.Hour)}}
	away.Host, away.PID, away.Roles = "away", 2, []string{"receive", "sync"}
	away.StartedAt, away.HeartbeatAt = *before(72 * time.Hour), *before(5 * time.Minute)
	away.ObservedAt = away.HeartbeatAt
	away.SpoolRecords, away.SpoolBytes, away.SpoolOldestAt = 3, 700, before(6*time.Minute)
	away.SpoolMovedAsideFiles, away.SpoolMovedAsideOldestAt = 2, before(8*time.Minute)
	away.SpoolingSince, away.ApplyError, away.ApplyFailingSince = before(6*time.Minute), &refusal, before(7*time.Minute)
	rotated.Host, rotated.PID, rotated.StartedAt, rotated.HeartbeatAt = "rotated", 3, *before(time.Hour), now
	rotated.Secrets = []report.Secret{
		{ContextIdentifier: "*", Ordinal: 1, MatchedAt: before(time.Second)},
		{ContextIdentifier: "", Ordinal: 1, NotAfter: before(time.Minute), RefusedSince: before(time.Minute)},
		{ContextIdentifier: "", Ordinal: 2, NotBefore: before(-time.Minute), RefusedSince: before(time.Minute)},
		{ContextIdentifier: "Cust1", Ordinal: 1, NotAfter: before(-time.Hour)},
	}

	applying.Host, applying.PID, applying.Roles, applying.StartedAt, applying.HeartbeatAt = "applying", 4, []string{"sync"}, *before(time.Hour), now
	applying.AppliedAt, applying.HorizonError, applying.HorizonFailingSince = before(4*time.Second), &refusal, before(9*time.Minute)
	former.Host, former.PID, former.Roles, former.StartedAt, former.HeartbeatAt = "former", 5, []string{"admin"}, *before(time.Hour), now
	former.SpoolMovedAsideFiles, former.SpoolMovedAsideOldestAt = 1, before(time.Hour)
	unable.Host, unable.PID, unable.Roles, unable.StartedAt, unable.HeartbeatAt = "unable", 6, []string{"receive"}, *before(time.Hour), now
	unable.SpoolError, unable.SpoolFailingSince, unable.SpoolRecords, unable.SpoolBytes = &refusal, before(10*time.Minute), 1, 70

	s := assess(report.Status{Mirror: report.Mirror{Now: now, CompleteThrough: away.SpoolOldestAt, CompleteThroughAsOf: before(3 * time.Second), HeldBy: []string{"spool away:2", "queue \x1b[2J"}, ReceiversAlive: 1}, Processes: []report.Process{well, away, rotated, applying, former, unable}})
	var out bytes.Buffer
	if err := s.write(&out); err != nil {
		t.Fatal(err)
	}
	squeezed := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"NO SYNC WORKER RUNS",
		"complete through " + when(now, *away.SpoolOldestAt) + ", held by spool away:2, \"queue \\x1b[2J\"; as of 3 seconds ago",
		"HOST:PID ROLES RUNNING SPOOL LAST ACCEPTED LAST APPLIED well:1 receive for 3 hours empty 2 seconds ago -",
		"away:2 receive,sync SILENT for 5 minutes 3 deliveries, 700 bytes, the oldest of " + when(now, *away.SpoolOldestAt) + "; 2 files MOVED ASIDE nothing yet nothing yet",
		"away:2: 2 files MOVED ASIDE IN THE SPOOL: deliveries received since " + when(now, *before(8 * time.Minute)),
		"all others 1 rotated:3 yes 1 second ago",
		`"" 1 rotated:3 ended ` + when(now, *before(time.Minute)),
		`"" 2 rotated:3 from ` + when(now, *before(-time.Minute)),
		"Cust1 1 rotated:3 until " + when(now, *before(-time.Hour)) + " not since the start, " + when(now, rotated.StartedAt),
		"well:1: EVERY SIGNED DELIVERY REFUSED since " + when(now, *before(time.Minute)) + " for its signature, 7 so far",
		`rotated:3: EVERY SIGNED DELIVERY OF "" REFUSED since ` + when(now, *before(time.Minute)),
		"away:2: could not reach the database since " + when(now, *before(6 * time.Minute)),
		"away:2: CAN'T APPLY EVENTS since " + when(now, *before(7 * time.Minute)) + `: "no \x1b[2Jtable"`,
		"applying:4 sync for 1 hour - - 4 seconds ago",
		"applying:4: CAN'T ADVANCE THE CHANGE FEED since " + when(now, *before(9 * time.Minute)) + `: "no \x1b[2Jtable"`,
		"former:5 admin for 1 hour empty; 1 file MOVED ASIDE - -",
		"unable:6 receive for 1 hour UNAVAILABLE; last known: 1 delivery, 70 bytes nothing yet -",
		"unable:6: CAN'T OPEN ITS SPOOL since " + when(now, *before(10 * time.Minute)),
	} {
		if !strings.Contains(squeezed, want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if n := strings.Count(squeezed, "REFUSED"); n != 2 {
		t.Errorf("%d lines about refusals, want 2:\n%s", n, out.String())
	}
}
