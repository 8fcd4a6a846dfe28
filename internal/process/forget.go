package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var forget = pg.Query[Forgotten](sql.HeartbeatForget)

var (
	// ErrUnknown is returned by [Forget] for a receiver that is not on the list.
	ErrUnknown = errors.New("no such receiver")
	// ErrAlive is returned by [Forget] for a receiver that still says that it runs.
	ErrAlive = errors.New("the receiver runs: stop it instead")
)

// Forgotten is what the row of a receiver said.
type Forgotten struct {
	Host            string
	PID             int32
	HeartbeatAt     time.Time
	SpoolRecords    int64
	MovedAsideFiles int32
	Forgotten       bool
}

// Forget takes a receiver that has been silent for longer than silence off the
// list, so that nothing waits for what its spool may hold. It touches no spool:
// if the receiver comes back, so does its row, and what it drains is applied.
func Forget(ctx context.Context, db pg.DB, id ID, silence time.Duration) (Forgotten, error) {
	rows, err := forget.All(ctx, db, pgx.StrictNamedArgs{"receiver_id": string(id), "silence": silence})
	switch {
	case err != nil:
		return Forgotten{}, fmt.Errorf("heartbeat: forget %s: %w", id, err)
	case len(rows) == 0:
		return Forgotten{}, ErrUnknown
	case !rows[0].Forgotten:
		return rows[0], ErrAlive
	}
	return rows[0], nil
}
