package spool

import "time"

// Every makes s look more often at the files that were moved aside.
func (s *Spool) Every(d time.Duration) { s.interval = d }

// Escaped and Unescaped are what keeps marks out of a frame's content.
var Escaped, Unescaped, Mark = escaped, unescaped, mark

// KeepOpen is how many closed segments s keeps open.
func (s *Spool) KeepOpen(n int) { s.maxOpen = n }

// Refresh looks at the files that were moved aside.
func (s *Spool) Refresh() error { return s.refresh() }
