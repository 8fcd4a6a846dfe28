package inbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/erasure"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	waitingStmt    = pg.NewColumn[marksArgs, bool](sql.InboxWaiting)
	belowMarksStmt = pg.NewColumn[marksArgs, bool](sql.InboxBelowMarks)
	lockStmt       = pg.NewQuery[lockArgs, lockedShard](sql.InboxLock)
	claimStmt      = pg.NewQuery[claimArgs, claimRow](sql.InboxClaim)
	bodiesStmt     = pg.NewQuery[bodiesArgs, bodyRow](sql.InboxBodies)
	blameStmt      = pg.NewCommand[blameArgs](sql.InboxBlame)
)

type (
	marksArgs struct {
		MarkedQueue              string
		MarkedShards             []int16
		MarkedContextIdentifiers []string
		Marks                    []string
	}
	lockArgs struct {
		marksArgs
		Shards   int
		Rotation int32
	}
	claimArgs struct {
		marksArgs
		Shards       []int16
		Batch, Bytes int
	}
	bodiesArgs struct {
		EventSeqs   []int64
		First, Last time.Time
	}
	blameArgs struct {
		EventSeq   int64
		ReceivedAt time.Time
		Reason     string
	}
)

type lockedShard struct {
	Shard int16
	Now   time.Time
}

// Lock is the shards that a transaction has locked: until it ends, nobody else
// applies events of their contacts.
type Lock struct {
	Shards []int16
	except []string // tenants whose events are not claimed
	// At is a time after the shards were locked, by the database's clock: rows of the
	// log are recorded then, never before those of the lock's previous holder.
	At time.Time
}

// Claimed is an event taken out of the queue.
type Claimed struct {
	claimRow
	// Body is nil where it has been lost.
	Body []byte
}

type claimRow struct {
	EventSeq   int64
	ReceivedAt time.Time
	Lane
	// Share is how many the claim would have taken of each lane: of one that gave so
	// many there may be more.
	Share int64
	// Where it stood in the lane, which transactions may still have queued
	// something when it was taken, and of which server, database and table that is.
	WrittenBy, Horizon string
	Queue              string
}

// Lane is a queue within the queue: the events of a tenant in a shard.
type Lane struct {
	Shard             int16
	ContextIdentifier string
}

type bodyRow struct {
	EventSeq int64
	Body     []byte
}

// Waiting reports whether anything is queued, locked or not.
func Waiting(ctx context.Context, db pg.DB, m *Marks) (bool, error) {
	found, err := waitingStmt.OneCustomPlan(ctx, db, m.args(allShards, nil))
	if err != nil {
		return false, fmt.Errorf("inbox: look at the queue: %w", err)
	}
	return found, nil
}

// CheckMarks forgets m where anything is queued below a mark, and reports whether
// that is so: rows that did not come by [Inbox.Put] may claim to be of any
// transaction, such as those copied into the queue from a backup. It reads the rows
// that marks are there to skip, so it is to be called seldom.
func CheckMarks(ctx context.Context, db pg.DB, m *Marks) (wrong bool, err error) {
	wrong, err = belowMarksStmt.OneCustomPlan(ctx, db, m.args(allShards, nil))
	if err != nil {
		return false, fmt.Errorf("inbox: check the marks of the queue: %w", err)
	}
	if wrong {
		m.forget()
	}
	return wrong, nil
}

// LockShards locks up to n shards that have something queued for any tenant but
// those of except, beginning the search at shard number rotation, 0 to 31. It must
// be the transaction's first statement, and the isolation READ COMMITTED.
func LockShards(ctx context.Context, tx pgx.Tx, m *Marks, n int, rotation int32, except ...string) (Lock, error) {
	rows, err := lockStmt.All(ctx, tx, lockArgs{m.args(allShards, except), n, rotation})
	if err != nil {
		return Lock{}, fmt.Errorf("inbox: lock shards: %w", err)
	}
	l := Lock{except: except}
	for _, row := range rows {
		l.Shards, l.At = append(l.Shards, row.Shard), row.Now
	}
	return l, nil
}

// claimBytes is how many bytes of bodies a claim takes, and the last one's more:
// a batch has to fit into memory.
const claimBytes = 8 << 20

// Claim takes up to batch events out of the queues of locked shards, of the tenants
// that they were locked for, shared fairly among those that wait. They are back
// when tx is rolled back; when it has committed, m should be told of them.
func Claim(ctx context.Context, tx pgx.Tx, m *Marks, l Lock, batch int) ([]Claimed, error) {
	rows, err := claimStmt.All(ctx, tx, claimArgs{m.args(l.Shards, l.except), l.Shards, batch, claimBytes})
	if err != nil {
		return nil, fmt.Errorf("inbox: claim: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	claimed := make([]Claimed, len(rows))
	place := make(map[int64]int, len(rows))
	for i, row := range rows {
		claimed[i].claimRow, place[row.EventSeq] = row, i
	}
	for _, day := range byDay(rows) {
		found, err := bodiesStmt.All(ctx, tx, bodiesArgs{day.eventSeqs, day.first, day.last})
		if err != nil {
			return nil, fmt.Errorf("inbox: bodies of %d claimed events: %w", len(rows), err)
		}
		for _, row := range found {
			claimed[place[row.EventSeq]].Body = row.Body
		}
	}
	return claimed, nil
}

// received is events that were received on the same day, by UTC: their bodies are in
// one partition.
type received struct {
	eventSeqs   []int64
	first, last time.Time
}

// byDay groups events by the day on which they were received. It is one day, unless a
// spool was drained or it is midnight.
func byDay(rows []claimRow) []received {
	const day = 24 * time.Hour
	var days []received
	for _, row := range rows {
		at := row.ReceivedAt.UTC()
		i := slices.IndexFunc(days, func(d received) bool { return d.first.Truncate(day).Equal(at.Truncate(day)) })
		if i < 0 {
			i = len(days)
			days = append(days, received{first: at, last: at})
		}
		d := &days[i]
		d.eventSeqs = append(d.eventSeqs, row.EventSeq)
		if at.Before(d.first) {
			d.first = at
		}
		if at.After(d.last) {
			d.last = at
		}
	}
	return days
}

// Blame quarantines a claimed event, received at receivedAt, that can't be applied,
// for reason; of an erased contact without its values, so that it can still be
// applied later.
func Blame(ctx context.Context, tx pgx.Tx, eventSeq int64, receivedAt time.Time, reason string) error {
	n, err := blameStmt.Run(ctx, tx, blameArgs{eventSeq, receivedAt, reason})
	if err != nil {
		return fmt.Errorf("inbox: quarantine event %d: %w", eventSeq, err)
	}
	if n != 1 {
		return fmt.Errorf("inbox: quarantine event %d: no such event", eventSeq)
	}
	return erasure.Quarantined(ctx, tx, eventSeq, receivedAt)
}
