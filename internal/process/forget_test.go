package heartbeat_test

import (
	"errors"
	"testing"
	"time"

	"contactmirror/internal/heartbeat"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/report"
)

func TestForget(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	id := heartbeat.NewID()
	c := heartbeat.Condition{At: at, SpoolRecords: 2, SpoolBytes: 100, SpoolOldest: at, MovedAsideFiles: 3, MovedAsideOldest: at}
	h := newHeart(db.Pool, id, &c)
	beat(t, h)
	beat(t, newHeart(db.Pool, heartbeat.NewID(), &heartbeat.Condition{At: at}))
	if was, err := heartbeat.Forget(t.Context(), db.Pool, id, report.Silence); !errors.Is(err, heartbeat.ErrAlive) || was.Host != "one" || was.PID != 7 {
		t.Errorf("while it lives: %+v, %v", was, err)
	}
	if _, err := db.Pool.Exec(t.Context(), `update receivers set heartbeat_at = heartbeat_at - interval '31 s' where receiver_id = $1`, string(id)); err != nil {
		t.Fatal(err)
	}
	if _, err := heartbeat.Forget(t.Context(), db.Pool, id, time.Hour); !errors.Is(err, heartbeat.ErrAlive) {
		t.Errorf("silent for less than an hour: %v", err)
	}
	if was, err := heartbeat.Forget(t.Context(), db.Pool, id, report.Silence); err != nil || was.SpoolRecords != 2 || was.MovedAsideFiles != 3 {
		t.Errorf("silent: %+v, %v", was, err)
	}
	same(t, "receivers left", texts(t, db.Pool, `select count(*)::text from receivers`), "1")
	if _, err := heartbeat.Forget(t.Context(), db.Pool, id, report.Silence); !errors.Is(err, heartbeat.ErrUnknown) {
		t.Errorf("again: %v", err)
	}
	beat(t, h) // it comes back
	same(t, "receivers after all", texts(t, db.Pool, `select count(*)::text from receivers`), "2")
}
