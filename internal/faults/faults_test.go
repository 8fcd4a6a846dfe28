//go:build linux

package faults

import (
	"testing"
)

// fault is one row of the table.
type fault struct {
	name string
	run  func(*lab)
	// lossAllowed: the database itself may lose what it has committed.
	lossAllowed bool
}

// TestFaults breaks one thing after the other. Not in parallel: each measures
// how long answers take.
func TestFaults(t *testing.T) {
	var all []fault
	for _, some := range [][]fault{serverFaults, failoverFaults, networkFaults, processFaults, diskFaults, dataFaults, restoreFaults, freshnessFaults} {
		all = append(all, some...)
	}
	for _, f := range all {
		t.Run(f.name, func(t *testing.T) {
			l := newLab(t)
			l.lossAllowed = f.lossAllowed
			l.row = table.enter(f.name)
			t.Cleanup(func() { l.row.failed, l.row.skipped = t.Failed(), t.Skipped() })
			f.run(l)
		})
	}
}
