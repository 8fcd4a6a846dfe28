package inbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var notifyStmt = pg.NewCommand[pg.NoArgs](sql.InboxNotify)

// notifyInterval keeps notifications rare: their commits are serialised across
// the whole server, and one wakes a worker as well as a hundred.
const notifyInterval = 200 * time.Millisecond

// Notifier tells workers of other processes that something is queued. They poll
// anyhow; this only spares them the wait.
type Notifier struct {
	pool  *pgxpool.Pool
	dirty chan struct{}
}

// NewNotifier makes a notifier on the database behind pool.
func NewNotifier(pool *pgxpool.Pool) *Notifier {
	return &Notifier{pool: pool, dirty: make(chan struct{}, 1)}
}

// Queued asks for a notification soon. It never blocks.
func (n *Notifier) Queued() {
	select {
	case n.dirty <- struct{}{}:
	default:
	}
}

// Run sends what is asked for until ctx ends. A notification that fails is
// dropped: a database in trouble has other ways to be noticed.
func (n *Notifier) Run(ctx context.Context) error {
	pause := time.NewTicker(notifyInterval)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.dirty:
		}
		bounded, cancel := context.WithTimeout(ctx, Timeout)
		_, _ = notifyStmt.Run(bounded, n.pool, pg.NoArgs{})
		cancel()
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
	}
}

// Listen calls wake for each notification, as [pg.Listen] does.
func Listen(ctx context.Context, config *pgx.ConnConfig, wake func()) error {
	if err := pg.Listen(ctx, config, "contactmirror_queue", wake); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	return nil
}
