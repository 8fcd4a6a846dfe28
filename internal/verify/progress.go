package verify

import "sync/atomic"

// progressEvery is how many rows are read between two reports.
const progressEvery = 1000

// progress counts the rows that have been read.
type progress struct {
	report func(read, total int64)
	total  int64
	read   atomic.Int64
}

func newProgress(stored []storedHead, passes int, report func(read, total int64)) *progress {
	p := &progress{report: report}
	for _, s := range stored {
		p.total += int64(passes) * s.AuditCount
	}
	return p
}

func (p *progress) step() { p.add(1) }

func (p *progress) add(n int64) {
	read := p.read.Add(n)
	if p.report != nil && read/progressEvery != (read-n)/progressEvery {
		p.report(min(read, p.total), p.total)
	}
}
