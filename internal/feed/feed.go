// Package feed hands out what happens to contacts, for systems that follow the
// mirror: the audit log as changes, each with its contact's row as it is now.
//
// A [Cursor] is all that a consumer keeps. Reading on from there gives each change
// once and leaves none out, whatever commits in which order, for the log is read up
// to the horizon only, below which nothing can appear any more. A transaction that
// runs long, in any database of the server, delays the feed and has no other effect.
// After a restore or a failover that lost rows which a consumer has read or been
// shown, its cursor is refused with [ErrLost]: numbers are used again, so reading on
// would skip changes.
//
// However many consumers wait, one poller asks the database for all of them, when
// it is notified and once a second, and not at all while nobody waits. Nothing is
// remembered of a consumer, and nothing is written.
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

	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	changesStmt = pg.NewQuery[changesArgs, Change](sql.FeedChanges)
	endStmt     = pg.NewColumn[pg.NoArgs, int64](sql.FeedEnd)
	checkStmt   = pg.NewQuery[checkArgs, checked](sql.FeedCheck)
)

type (
	changesArgs struct {
		After   int64
		MaxRows int
	}
	checkArgs struct{ Cursor string }
	checked   struct {
		Held bool
		// Now is the cursor of the end.
		Now string
	}
)

// Change is one event that was dealt with, an erasure, or its lifting.
type Change struct {
	AuditSeq          int64          `json:"audit_seq"`
	ContextIdentifier string         `json:"context_identifier"`
	ContactID         int64          `json:"contact_id"`
	Change            contact.Effect `json:"change"`
	Event             string         `json:"event"`
	EventID           string         `json:"event_id"`
	OccurredAt        time.Time      `json:"occurred_at"`
	// Outcome is nil of an erasure and of its lifting.
	Outcome *string `json:"outcome"`
	// ChangedColumns are SuperOffice's names, as the event had them.
	ChangedColumns []string `json:"changed_columns"`
	// Contact is the row of contacts as it is now, later changes included, and
	// null where there is none.
	Contact json.RawMessage `json:"contact"`
}

// ErrLost is returned for a cursor that proves a row which this log does not hold:
// the database was restored, or failed over to a server that lost its last commits,
// or it is another database.
var ErrLost = errors.New("feed: the log does not hold the rows of the cursor")

// snapshot is the transaction in which a cursor is checked and read from, so that
// both see the same log. It does not depend on the database's defaults.
var snapshot = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

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
	end     int64         // as last seen
	moved   chan struct{} // closed when end moves
}

// New makes a feed of the database behind pool.
func New(pool *pgxpool.Pool, log *slog.Logger) *Feed {
	return &Feed{
		pool: pool, log: log,
		reading: make(chan struct{}, readers), wanted: make(chan struct{}, 1), moved: make(chan struct{}),
	}
}

// Now returns the cursor after the last change that can be read.
func (f *Feed) Now(ctx context.Context) (Cursor, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	_, now, err := check(ctx, f.pool, Cursor{})
	if err != nil {
		return Cursor{}, fmt.Errorf("feed: look for the end of the log: %w", err)
	}
	return now, nil
}

// Read returns up to limit changes after a cursor, oldest first, and the cursor to
// read on from. There may be more where it returns that many. It fails with
// [ErrLost] where the log is no longer the one that the cursor is of.
func (f *Feed) Read(ctx context.Context, after Cursor, limit int) (page []Change, next Cursor, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	select {
	case f.reading <- struct{}{}:
		defer func() { <-f.reading }()
	case <-ctx.Done():
		return nil, after, fmt.Errorf("feed: wait for other readers: %w", ctx.Err())
	}
	err = pgx.BeginTxFunc(ctx, f.pool, snapshot, func(tx pgx.Tx) error {
		page, next, err = read(ctx, tx, after, limit)
		return err
	})
	if err != nil {
		return nil, after, fmt.Errorf("feed: read after %v: %w", after, err)
	}
	if len(page) == 0 {
		f.forgetAbove(after)
	}
	return page, next, nil
}

func read(ctx context.Context, tx pgx.Tx, after Cursor, limit int) (page []Change, next Cursor, err error) {
	held, now, err := check(ctx, tx, after)
	if err != nil {
		return nil, after, err
	}
	if !held {
		return nil, after, ErrLost
	}
	page, err = changesStmt.All(ctx, tx, changesArgs{After: after.after, MaxRows: min(limit, MaxChanges)})
	if err != nil {
		return nil, after, err
	}
	next = Cursor{after: after.after, proof: now.proof}
	if len(page) > 0 {
		next.after = page[len(page)-1].AuditSeq
	}
	return page, next, nil
}

// check reports whether the log holds what c proves, and returns the cursor of the end.
func check(ctx context.Context, db pg.DB, c Cursor) (held bool, now Cursor, err error) {
	found, err := checkStmt.All(ctx, db, checkArgs{c.String()})
	if err != nil {
		return false, Cursor{}, err
	}
	if now, err = ParseCursor(found[0].Now); err != nil {
		return false, Cursor{}, err
	}
	return found[0].Held, now, nil
}

// forgetAbove is for when the log was found to end at a cursor. An end above it may
// have been seen before a restore, and [Feed.Wait] would never wait. Where it is the
// newer one, the next look sees it again.
func (f *Feed) forgetAbove(c Cursor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end = min(f.end, c.after)
}

// Wait returns when [Feed.Read] may say something else about a cursor: there is
// something to read, or the log ends below it. It returns too when ctx ends.
func (f *Feed) Wait(ctx context.Context, after Cursor) {
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
	// An end that was seen before the call may be an old one.
	for known := false; end <= after.after; known = true {
		if known && end < after.after {
			return
		}
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
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	end, err := endStmt.One(ctx, f.pool, pg.NoArgs{})
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
