package rebuild

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/contact"
	"contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/internal/refold"
	"contactmirror/sql"
)

// Conns is how many connections [Run] uses at the same time.
const Conns = 2*refold.Parts + 1

// Options say what is made anew.
type Options struct {
	// Scope is the contacts meant. Where it says Logged, rows and tombstones that the
	// log knows nothing of stay.
	refold.Scope
	// Actor is who does it, and Action one of rebuild and replay.
	Actor  operator.Actor
	Action operator.Action
	// DryRun finds out what differs, and writes and locks nothing.
	DryRun bool
	// Wait is how long is waited for the lock of each shard, which a worker's batch
	// holds for a second at most.
	Wait time.Duration
	// Found, when set, is told of each difference, before anything is written.
	Found func(refold.Difference) error
	// Progress, when set, is told how many facts have been folded.
	Progress func(facts int64)
}

// Result is what was done, or with DryRun would have been.
type Result struct {
	// Facts is how many logged facts were folded, into how many Contacts, of which
	// Different were not in the mirror as they should be.
	Facts     int64 `json:"facts"`
	Contacts  int64 `json:"contacts"`
	Different int64 `json:"different"`
	// Unreadable contacts have a fact in the log that can't be read. They were left
	// as they are.
	Unreadable int64 `json:"unreadable"`
	// Meanwhile is how many contacts were folded again under the locks, because
	// something was logged or erased during the first fold.
	Meanwhile int64 `json:"meanwhile"`
	// What was written.
	Rows              int64 `json:"rows_written"`
	RowsRemoved       int64 `json:"rows_removed"`
	Tombstones        int64 `json:"tombstones_written"`
	TombstonesRemoved int64 `json:"tombstones_removed"`
	// Folding is how long the fold took, and Locked how long the shards were
	// locked.
	Folding time.Duration `json:"-"`
	Locked  time.Duration `json:"-"`
}

// LockedError tells that a shard could not be locked in time.
type LockedError struct{ Wait time.Duration }

func (e *LockedError) Error() string {
	return fmt.Sprintf("a shard could not be locked within %v: somebody holds it, as pg_stat_activity shows; nothing was written", e.Wait)
}

var (
	lockStmt      = pg.NewColumn[pg.NoArgs, int16](sql.RebuildLock)
	lastStmt      = pg.NewColumn[pg.NoArgs, int64](sql.RebuildLast)
	shadowStmt    = pg.NewCommand[pg.NoArgs](sql.RebuildShadow)
	dropStmt      = pg.NewCommand[pg.NoArgs](sql.RebuildDrop)
	writeStmt     = pg.NewCommand[pg.NoArgs](sql.RebuildWrite)
	removeStmt    = pg.NewCommand[pg.NoArgs](sql.RebuildRemove)
	buryStmt      = pg.NewCommand[pg.NoArgs](sql.RebuildBury)
	exhumeStmt    = pg.NewCommand[pg.NoArgs](sql.RebuildExhume)
	supersedeStmt = pg.NewQuery[supersedeArgs, struct {
		ContextIdentifier string
		ContactID         int64
	}](sql.RebuildSupersede)
)

type supersedeArgs struct{ AuditSeq int64 }

// Run makes the contacts of options anew on the database behind pool, which
// needs [Conns] connections. The error is a [*LockedError] where somebody else
// holds a shard for too long.
func Run(ctx context.Context, pool *pgxpool.Pool, options Options) (*Result, error) {
	r := &run{options: options}
	var err error
	if options.DryRun {
		err = r.fold(ctx, pool)
	} else {
		err = r.write(ctx, pool)
	}
	if err != nil {
		return nil, fmt.Errorf("rebuild: %w", err)
	}
	return &r.result, nil
}

type run struct {
	options Options
	result  Result
	tx      pgx.Tx // that writes; nil when nothing is to be written
	// exhume is set when a tombstone is to be removed, which takes a right that
	// the service does not have.
	exhume bool
	// end is the number of the last row of the log in the snapshot that was folded.
	// What has changed a contact's facts since, an event or an erasure, has written a
	// row with a greater one.
	end int64
}

// writing is how the transaction begins that writes. Between its statements it
// waits for the fold.
const writing = "begin isolation level read committed; set local jit = off; set local lock_timeout = %d; " +
	"set local work_mem = '64MB'; set local idle_in_transaction_session_timeout = 0"

func (r *run) write(ctx context.Context, pool *pgxpool.Pool) error {
	begin := pgx.TxOptions{BeginQuery: fmt.Sprintf(writing, r.options.Wait.Milliseconds())}
	return pgx.BeginTxFunc(ctx, pool, begin, func(tx pgx.Tx) error {
		r.tx = tx
		if _, err := shadowStmt.Run(ctx, tx, pg.NoArgs{}); err != nil {
			return fmt.Errorf("make the shadow: %w", err)
		}
		if err := r.fold(ctx, pool); err != nil {
			return err
		}
		if err := r.lockShards(ctx, tx); err != nil {
			return err
		}
		locked := time.Now()
		if err := r.meanwhile(ctx); err != nil {
			return fmt.Errorf("fold again what has changed since: %w", err)
		}
		if err := r.apply(ctx); err != nil {
			return err
		}
		r.result.Locked = time.Since(locked)
		if _, err := dropStmt.Run(ctx, tx, pg.NoArgs{}); err != nil {
			return err
		}
		return operator.Record(ctx, tx, r.record())
	})
}

// record is what operator_actions is to say.
func (r *run) record() operator.Entry {
	o, done := r.options, r.result
	return operator.Entry{
		Actor: o.Actor, Action: o.Action, Tenant: o.Tenant,
		Detail: operator.Detail{
			"contact_id": o.ContactID, "since": o.Since, "until": o.Until, "contacts": done.Contacts, "different": done.Different,
			"rows_written": done.Rows, "rows_removed": done.RowsRemoved,
			"tombstones_written": done.Tombstones, "tombstones_removed": done.TombstonesRemoved,
		},
	}
}

func (r *run) lockShards(ctx context.Context, tx pgx.Tx) error {
	_, err := lockStmt.All(ctx, tx, pg.NoArgs{})
	if pg.LockTimeout(err) {
		return &LockedError{r.options.Wait}
	}
	if err != nil {
		return fmt.Errorf("lock the shards: %w", err)
	}
	return nil
}

// snapshot takes one at a moment when nobody applies anything, so that whatever
// it does not see has a higher number in the log than all that it sees.
func (r *run) snapshot(ctx context.Context, pool *pgxpool.Pool) (snapshot *refold.Snapshot, err error) {
	if r.tx == nil {
		return refold.Take(ctx, pool, 2*refold.Parts)
	}
	// A savepoint that is rolled back gives the locks back.
	still := errors.New("taken")
	err = pgx.BeginFunc(ctx, r.tx, func(savepoint pgx.Tx) error {
		if err := r.lockShards(ctx, savepoint); err != nil {
			return err
		}
		if snapshot, err = refold.Take(ctx, pool, 2*refold.Parts); err != nil {
			return err
		}
		return still
	})
	if !errors.Is(err, still) {
		return nil, err
	}
	if r.end, err = lastStmt.One(ctx, snapshot.Tx(0), pg.NoArgs{}); err != nil {
		snapshot.Close()
		return nil, fmt.Errorf("read the end of the log: %w", err)
	}
	return snapshot, nil
}

// fold folds the log, and puts what differs into the shadow.
func (r *run) fold(ctx context.Context, pool *pgxpool.Pool) error {
	snapshot, err := r.snapshot(ctx, pool)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	began := time.Now()
	err = refold.Each(ctx, snapshot, r.options.Scope, func(contacts []*refold.Contact) error {
		return r.lay(ctx, contacts)
	})
	r.result.Folding = time.Since(began)
	return err
}

// lay tells of the contacts that differ, and puts them into the shadow.
func (r *run) lay(ctx context.Context, contacts []*refold.Contact) error {
	var shadows [][]any
	for _, c := range contacts {
		r.result.Contacts++
		r.result.Facts += int64(c.Facts)
		differences := c.Differences()
		for _, d := range differences {
			r.exhume = r.exhume || d.What == refold.UnexpectedTombstone
			if r.options.Found != nil {
				if err := r.options.Found(d); err != nil {
					return err
				}
			}
		}
		switch {
		case c.Unreadable != nil:
			r.result.Unreadable++
		case len(differences) > 0:
			r.result.Different++
			if r.tx != nil {
				shadows = append(shadows, shadowRow(c, differences))
			}
		}
	}
	if r.options.Progress != nil {
		r.options.Progress(r.result.Facts)
	}
	if len(shadows) == 0 {
		return nil
	}
	if _, err := r.tx.CopyFrom(ctx, pgx.Identifier{"rebuild_shadow"}, shadowColumns, pgx.CopyFromRows(shadows)); err != nil {
		return fmt.Errorf("fill the shadow: %w", err)
	}
	return nil
}

// meanwhile folds again, under the locks, the contacts in the shadow whose facts
// may have changed since the snapshot: events were logged, or values erased. A
// contact that is not in the shadow was right in the snapshot, and whatever has
// changed its facts since has written its row too.
func (r *run) meanwhile(ctx context.Context) error {
	keys, err := supersedeStmt.All(ctx, r.tx, supersedeArgs{r.end})
	if err != nil {
		return err
	}
	r.result.Meanwhile = int64(len(keys))
	r.result.Different -= r.result.Meanwhile
	told := r.result
	r.options.Found, r.options.Progress = nil, nil // of these contacts they have been told
	for some := range slices.Chunk(keys, 500) {
		again := make([]contact.Key, len(some))
		for i, k := range some {
			again[i] = contact.Key{Tenant: k.ContextIdentifier, ID: k.ContactID}
		}
		contacts, err := refold.Of(ctx, r.tx, again)
		if err != nil {
			return err
		}
		if err := r.lay(ctx, contacts); err != nil {
			return err
		}
	}
	r.result.Contacts, r.result.Facts = told.Contacts, told.Facts
	return nil
}

// apply writes the shadow into the mirror.
func (r *run) apply(ctx context.Context) error {
	if _, err := r.tx.Exec(ctx, "analyze rebuild_shadow"); err != nil {
		return fmt.Errorf("count the shadow: %w", err)
	}
	for _, step := range []struct {
		do   *pg.Command[pg.NoArgs]
		n    *int64
		what string
	}{
		{removeStmt, &r.result.RowsRemoved, "remove rows"},
		{writeStmt, &r.result.Rows, "write rows"},
		{buryStmt, &r.result.Tombstones, "write tombstones"},
		{exhumeStmt, &r.result.TombstonesRemoved, "remove tombstones, which only the owner of the tables may"},
	} {
		if step.do == exhumeStmt && !r.exhume {
			continue
		}
		n, err := step.do.Run(ctx, r.tx, pg.NoArgs{})
		if err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		*step.n = n
	}
	return nil
}
