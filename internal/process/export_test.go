package heartbeat

import "time"

// Every makes h beat more often than a database should be asked.
func (h *Heart) Every(d time.Duration) { h.interval = d }
