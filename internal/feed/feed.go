// Package feed hands out what happens to contacts, for systems that follow the
// mirror: the audit log as changes, each with its contact's row as it is now.
//
// A place in the log is all that a follower keeps. Reading on from there gives
// each change once and leaves none out, whatever commits in which order, for the
// log is read up to the horizon only, below which nothing can appear any more. A
// transaction that runs long, in whatever database of the server, delays the
// feed and does it no other harm.
//
// However many followers wait, one poller asks the database for all of them, when
// it is notified and once a second, and not at all while nobody waits. Nothing is
// remembered of a follower, and nothing is written.
package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	changes = pg.Query[Change](sql.FeedChanges)
	horizon = pg.Column[int64](sql.FeedHorizon)
)

// Place is where in the audit log a follower has come to; 0 is the beginning.
type Place int64

// Kind is what a change did to its contact.
type Kind string

// The values of [Kind].
const (
	Upserted    Kind = "upserted"
	SoftDeleted Kind = "soft_deleted"
	Restored    Kind = "restored"
	Deleted     Kind = "deleted"
	// Unchanged is an event that came too late to matter or said what was known.
	Unchanged Kind = "unchanged"
)

// Change is one event that was dealt with.
type Change struct {
	AuditSeq          Place     `json:"audit_seq"`
	ContextIdentifier string    `json:"context_identifier"`
	ContactID         int64     `json:"contact_id"`
	Change            Kind      `json:"change"`
	Event             string    `json:"event"`
	EventID           string    `json:"event_id"`
	OccurredAt        time.Time `json:"occurred_at"`
	Outcome           string    `json:"outcome"`
	// ChangedColumns are SuperOffice's names, as the event had them.
	ChangedColumns []string `json:"changed_columns"`
	// Contact is the row of contacts as it is now, later changes included, and
	// null where there is none.
	Contact json.RawMessage `json:"contact"`
}

// ErrAhead tells that a place lies beyond the end of the log: it is of another
// database, or of one that has lost its last commits in a failover.
var ErrAhead = errors.New("feed: the place lies beyond the end of the log")

const (
	// MaxChanges is the most changes that one reading returns.
	MaxChanges = 1000
	// readers bounds the readings under way: each holds a page in memory, and a
	// connection.
	readers = 2
	// readTimeout bounds a reading, so that a server that hangs is noticed.
	readTimeout = 5 * time.Second
	// pollInterval is how often the database is asked while somebody waits and no
	// notification comes.
	pollInterval = time.Second
	// linger is how long notifications are listened for when nobody waits any
	// more: who waits usually comes back at once.
	linger = 30 * time.Second
	// listenPause is the time between attempts to listen.
	listenPause = 10 * time.Second
)

// Feed reads the changes. Make one with [New], and [Feed.Run] it for those who
// wait.
type Feed struct {
	pool    *pgxpool.Pool
	log     *slog.Logger
	reading chan struct{}
	wanted  chan struct{}

	troubled pg.RetryLog // of look

	mu      sync.Mutex
	waiting int
	end     Place         // as last seen
	moved   chan struct{} // closed when end moves
}

// New makes a feed of the database behind pool.
func New(pool *pgxpool.Pool, log *slog.Logger) *Feed {
	return &Feed{
		pool: pool, log: log,
		reading: make(chan struct{}, readers), wanted: make(chan struct{}, 1), moved: make(chan struct{}),
	}
}

// End is the place after the last change that can be read.
func (f *Feed) End(ctx context.Context) (Place, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	end, err := horizon.One(ctx, f.pool, nil)
	if err != nil {
		return 0, fmt.Errorf("feed: look for the end of the log: %w", err)
	}
	return Place(end), nil
}

// Read returns up to limit changes after a place, oldest first. There may be more
// where it returns that many, and none is [ErrAhead] where the place is beyond
// the end. The last one's AuditSeq is the next place.
func (f *Feed) Read(ctx context.Context, after Place, limit int) ([]Change, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	select {
	case f.reading <- struct{}{}:
		defer func() { <-f.reading }()
	case <-ctx.Done():
		return nil, fmt.Errorf("feed: wait for other readers: %w", ctx.Err())
	}
	page, err := changes.All(ctx, f.pool, pgx.StrictNamedArgs{"after": int64(after), "max_rows": min(limit, MaxChanges)})
	if err != nil {
		return nil, fmt.Errorf("feed: read after %d: %w", after, err)
	}
	if len(page) > 0 {
		return page, nil
	}
	end, err := f.End(ctx)
	if err == nil && end < after {
		err = ErrAhead
	}
	return nil, err
}

// Wait returns when there is something to read after a place, or ctx ends.
func (f *Feed) Wait(ctx context.Context, after Place) {
	f.mu.Lock()
	f.waiting++
	end, moved := f.end, f.moved
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.waiting--
		f.mu.Unlock()
	}()
	select {
	case f.wanted <- struct{}{}:
	default:
	}
	for end <= after {
		select {
		case <-ctx.Done():
			return
		case <-moved:
		}
		f.mu.Lock()
		end, moved = f.end, f.moved
		f.mu.Unlock()
	}
}

// Run looks out for those who wait, until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wanted:
		}
		f.lookOut(ctx)
	}
}

// lookOut asks for the end of the log until nobody has waited for a while.
func (f *Feed) lookOut(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	notified := make(chan struct{}, 1)
	go f.listen(ctx, notified)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for alone := time.Now(); time.Since(alone) < linger; {
		if f.awaited() {
			alone = time.Now()
			f.look(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-f.wanted:
		case <-notified:
		case <-tick.C:
		}
	}
}

func (f *Feed) awaited() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting > 0
}

// look asks for the end of the log, and tells those who wait where it has moved.
func (f *Feed) look(ctx context.Context) {
	end, err := f.End(ctx)
	if f.troubled.Due(err) {
		f.log.Log(ctx, pg.Level(err), "can't look for changes", "error", pg.Explain(err))
	}
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if end != f.end {
		f.end = end
		close(f.moved)
		f.moved = make(chan struct{})
	}
}

// listen hears of changes before the next poll.
func (f *Feed) listen(ctx context.Context, notified chan<- struct{}) {
	for ctx.Err() == nil {
		err := pg.Listen(ctx, f.pool.Config().ConnConfig, "contactmirror_settled", func() {
			select {
			case notified <- struct{}{}:
			default:
			}
		})
		if ctx.Err() != nil {
			return
		}
		f.log.Debug("not listening for changes; polling goes on", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(listenPause):
		}
	}
}
