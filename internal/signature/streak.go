package signature

import (
	"sync"
	"sync/atomic"
	"time"
)

// Streak is the wrong signatures since the last delivery that was verified. The zero
// value is none. It may be used by many at once, and costs a verified delivery
// nothing while there are none.
type Streak struct {
	n     atomic.Int64
	mu    sync.Mutex
	since time.Time
}

// Refused notes a delivery refused at now.
func (s *Streak) Refused(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n.Load() == 0 {
		s.since = now
	}
	s.n.Add(1)
}

// Verified notes a delivery that was not: the streak is over.
func (s *Streak) Verified() {
	if s.n.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n.Store(0)
	s.since = time.Time{}
}

// Since returns when the first of n refusals came; zero where there are none.
func (s *Streak) Since() (since time.Time, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since, s.n.Load()
}
