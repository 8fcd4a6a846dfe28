package process

import "time"

// SetInterval replaces [Interval].
func (h *Heartbeat) SetInterval(d time.Duration) { h.interval = d }
