package process_test

import (
	"errors"
	"testing"
	"time"

	"contactmirror/internal/pgtest"
	"contactmirror/internal/process"
	"contactmirror/internal/report"
)

func TestForget_removesASilentProcess(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	id := process.NewID()
	s := process.State{At: at, SpoolRecords: 2, SpoolBytes: 100, SpoolOldestAt: at, SpoolMovedAsideFiles: 3, SpoolMovedAsideOldestAt: at}
	h := newHeartbeat(db.Pool, id, &s)
	write(t, h)
	write(t, newHeartbeat(db.Pool, process.NewID(), &process.State{At: at}))
	if was, err := process.Forget(t.Context(), db.Pool, "tester", id, report.Silence); !errors.Is(err, process.ErrRunning) || was.Host != "one" || was.PID != 7 {
		t.Errorf("while it runs: %+v, %v", was, err)
	}
	if _, err := db.Pool.Exec(t.Context(), `update processes set heartbeat_at = heartbeat_at - interval '31 s' where process = $1`, string(id)); err != nil {
		t.Fatal(err)
	}
	if _, err := process.Forget(t.Context(), db.Pool, "tester", id, time.Hour); !errors.Is(err, process.ErrRunning) {
		t.Errorf("silent for less than an hour: %v", err)
	}
	if was, err := process.Forget(t.Context(), db.Pool, "tester", id, report.Silence); err != nil || was.SpoolRecords != 2 || was.SpoolMovedAsideFiles != 3 {
		t.Errorf("silent: %+v, %v", was, err)
	}
	same(t, "processes left", texts(t, db.Pool, `select count(*)::text from processes`), "1")
	if _, err := process.Forget(t.Context(), db.Pool, "tester", id, report.Silence); !errors.Is(err, process.ErrUnknown) {
		t.Errorf("again: %v", err)
	}
	write(t, h) // it comes back
	same(t, "processes after it came back", texts(t, db.Pool, `select count(*)::text from processes`), "2")
}
