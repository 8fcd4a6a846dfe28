package process

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var forgetStmt = pg.NewQuery[forgetArgs, Forgotten](sql.ProcessForget)

type forgetArgs struct {
	Process string
	Silence time.Duration
}

var (
	// ErrUnknown is returned by [Forget] if the process has no row.
	ErrUnknown = errors.New("no such process")
	// ErrRunning is returned by [Forget] if the process has a recent heartbeat.
	ErrRunning = errors.New("the process is running: stop it instead")
)

// Forgotten is what the row of a process said.
type Forgotten struct {
	Host                 string
	PID                  int32
	HeartbeatAt          time.Time
	SpoolRecords         int64
	SpoolMovedAsideFiles int32
	Forgotten            bool
}

// Forget removes the row of a process that has had no heartbeat for longer than
// silence, so that what its spool may hold no longer delays complete_through. It
// does not change the spool: if the process comes back, so does its row, and what
// it drains is applied.
func Forget(ctx context.Context, pool *pgxpool.Pool, by operator.Actor, id ID, silence time.Duration) (was Forgotten, err error) {
	err = pgx.BeginTxFunc(ctx, pool, pg.ReadCommitted, func(tx pgx.Tx) error {
		if was, err = forget(ctx, tx, id, silence); err != nil {
			return err
		}
		return operator.Record(ctx, tx, operator.Entry{Actor: by, Action: operator.ForgetProcess, Detail: operator.Detail{
			"process": string(id), "host": was.Host, "pid": was.PID, "heartbeat_at": was.HeartbeatAt,
			"spool_records": was.SpoolRecords, "spool_moved_aside_files": was.SpoolMovedAsideFiles,
		}})
	})
	return was, err
}

func forget(ctx context.Context, db pg.DB, id ID, silence time.Duration) (Forgotten, error) {
	rows, err := forgetStmt.All(ctx, db, forgetArgs{string(id), silence})
	switch {
	case err != nil:
		return Forgotten{}, fmt.Errorf("process: forget %s: %w", id, err)
	case len(rows) == 0:
		return Forgotten{}, ErrUnknown
	case !rows[0].Forgotten:
		return rows[0], ErrRunning
	}
	return rows[0], nil
}
