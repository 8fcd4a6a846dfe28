package pg

import (
	"log/slog"
	"time"
)

// RetryLog decides when a loop that goes on after errors logs them: an outage when
// it begins, for it ends by itself; any other error again every minute, for
// somebody has to act. The zero value is ready. It is for one goroutine.
type RetryLog struct {
	failing bool
	fault   time.Time // when an error that is no outage was logged last
}

// again is the time after which an error that is no outage is logged again.
const again = time.Minute

// Due reports whether err, the result of the last attempt, is to be logged now. A
// nil error is never, and ends the row of failures.
func (l *RetryLog) Due(err error) bool {
	if err == nil {
		*l = RetryLog{}
		return false
	}
	due := !l.failing
	if !Transient(err) && time.Since(l.fault) >= again {
		due, l.fault = true, time.Now()
	}
	l.failing = true
	return due
}

// Level is the level at which a loop logs err that can do without it for a while:
// an outage is known without it, anything else has to be seen to.
func Level(err error) slog.Level {
	if Transient(err) {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}
