package retention

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

const (
	// Least is the shortest retention: the database refuses to drop anything
	// younger, whoever asks.
	Least = 24 * time.Hour
	// batch is how many rows one statement looks at.
	batch = 5000
)

var (
	cutoffStmt       = pg.NewQuery[cutoffArgs, cutoff](sql.RetentionCutoff)
	partitionsStmt   = pg.NewQuery[partitionsArgs, partition](sql.RetentionPartitions)
	dropStmt         = pg.NewQuery[dropArgs, verdict](sql.RetentionDrop)
	deleteBodiesStmt = pg.NewQuery[deleteBodiesArgs, deleted](sql.RetentionDelete)
	emptyEntriesStmt = pg.NewQuery[batchArgs, emptied](sql.RetentionQuarantine)
)

type (
	cutoffArgs     struct{ Bodies, Ignored *int64 } // in microseconds
	partitionsArgs struct{ BodiesBefore, IgnoredBefore *time.Time }
	dropArgs       struct {
		PartitionName string
		Before        time.Time
		Really        bool
	}
	deleteBodiesArgs struct {
		PartitionName string
		batchArgs
	}
	batchArgs struct {
		Before time.Time
		After  int64
		Batch  int
		Really bool
	}
)

// cutoff is what has expired: what was received before these times, nothing where
// one is nil.
type cutoff struct{ Bodies, Ignored *time.Time }

type partition struct {
	PartitionName string
	Ignored       bool
	// IsDefault is set for partitions that are of no day, and never dropped.
	IsDefault bool
}

type verdict struct {
	Verdict       string
	Bodies, Bytes int64
}

type deleted struct {
	Reached       *int64
	Bodies, Bytes int64
}

type emptied struct {
	Reached           *int64
	Deliveries, Bytes int64
}

// Keep is how long bodies are kept, counted from when they were received, by the
// database's clock: [Least] or more, or 0 for ever.
type Keep struct {
	// Bodies is for the bodies of contact events, and for resolved quarantine entries.
	Bodies time.Duration
	// Ignored is for the bodies of ignored events.
	Ignored time.Duration
}

// Forever reports whether nothing ever expires.
func (k Keep) Forever() bool { return k == Keep{} }

func (k Keep) check() error {
	for _, d := range []time.Duration{k.Bodies, k.Ignored} {
		if d != 0 && d < Least {
			return fmt.Errorf("%v is shorter than %v", d, Least)
		}
	}
	return nil
}

func (k Keep) args() cutoffArgs {
	micros := func(d time.Duration) *int64 {
		if d == 0 {
			return nil
		}
		return new(d.Microseconds())
	}
	return cutoffArgs{micros(k.Bodies), micros(k.Ignored)}
}

// Options say what [Prune] may drop.
type Options struct {
	Keep Keep
	// DryRun only counts.
	DryRun bool
	// Actor is the operator who prunes; empty where serve does by itself, which is
	// not recorded.
	Actor operator.Actor
	// Progress, when set, is told of each partition that something was done to.
	Progress func(Partition)
}

// Partition is what was done to a part of the bodies.
type Partition struct {
	Name string `json:"name"`
	// Dropped is set where the whole partition went, else rows were deleted.
	Dropped bool  `json:"dropped"`
	Bodies  int64 `json:"bodies"`
	// Bytes is what a dropped partition took on disk, or what deleted bodies held.
	Bytes int64 `json:"bytes"`
}

// Account is what one [Prune] has done, or would do.
type Account struct {
	// Before and IgnoredBefore are when contact events, and ignored ones, were
	// received whose bodies have expired; nil where none ever do.
	Before        *time.Time `json:"before"`
	IgnoredBefore *time.Time `json:"ignored_before"`

	DryRun     bool        `json:"dry_run"`
	Partitions []Partition `json:"partitions"`
	Dropped    int         `json:"dropped"` // partitions
	Bodies     int64       `json:"bodies"`
	// Quarantined is how many resolved quarantine entries lost their bytes.
	Quarantined      int64 `json:"quarantined"`
	QuarantinedBytes int64 `json:"quarantined_bytes"`
	// Held is the partitions of which something had to stay though all of it has
	// expired: an event is queued or in open quarantine.
	Held []string `json:"held"`
	// Busy is the partitions that could not be locked in time.
	Busy []string `json:"busy"`
}

// Prune drops what has expired. After an error, what was dropped before is
// gone, and in the account.
func Prune(ctx context.Context, pool *pgxpool.Pool, o Options) (Account, error) {
	a := Account{DryRun: o.DryRun, Partitions: []Partition{}, Held: []string{}, Busy: []string{}}
	if err := o.Keep.check(); err != nil {
		return a, fmt.Errorf("retention: %w", err)
	}
	expired, err := cutoffStmt.All(ctx, pool, o.Keep.args())
	if err != nil {
		return a, fmt.Errorf("retention: %w", err)
	}
	a.Before, a.IgnoredBefore = expired[0].Bodies, expired[0].Ignored
	if o.Actor != "" && !o.DryRun { // first: what is dropped stays so, whatever becomes of the rest
		e := operator.Entry{Actor: o.Actor, Action: operator.Prune, Detail: operator.Detail{"before": a.Before, "ignored_before": a.IgnoredBefore}}
		if err := operator.Record(ctx, pool, e); err != nil {
			return a, fmt.Errorf("retention: %w", err)
		}
	}
	begun, err := partitionsStmt.All(ctx, pool, partitionsArgs{a.Before, a.IgnoredBefore})
	if err != nil {
		return a, fmt.Errorf("retention: list the partitions: %w", err)
	}
	for _, found := range begun {
		p, err := a.partition(ctx, pool, found)
		if p.Bodies > 0 || p.Dropped {
			a.Partitions = append(a.Partitions, p)
			a.Bodies += p.Bodies
			if o.Progress != nil {
				o.Progress(p)
			}
		}
		if err != nil {
			return a, fmt.Errorf("retention: %s: %w", found.PartitionName, err)
		}
	}
	if a.Before != nil {
		if err := a.quarantine(ctx, pool); err != nil {
			return a, fmt.Errorf("retention: quarantine: %w", err)
		}
	}
	return a, nil
}

// call calls one of the functions that drop and delete, in a transaction of its own:
// each is several statements, which must see what was committed before them.
func call[T any](ctx context.Context, pool *pgxpool.Pool, do func(tx pgx.Tx) (T, error)) (result T, err error) {
	err = pgx.BeginTxFunc(ctx, pool, pg.ReadCommitted, func(tx pgx.Tx) error {
		result, err = do(tx)
		return err
	})
	return result, err
}

// partition drops a partition of which everything has expired, or deletes what has
// expired in it and can't be dropped with it.
func (a *Account) partition(ctx context.Context, pool *pgxpool.Pool, found partition) (Partition, error) {
	p := Partition{Name: found.PartitionName}
	expired := a.Before
	if found.Ignored {
		expired = a.IgnoredBefore
	}
	before := *expired // the partitions of the other kind are not listed
	if found.IsDefault {
		return p, a.deleteRows(ctx, pool, &p, before)
	}
	verdicts, err := call(ctx, pool, func(tx pgx.Tx) ([]verdict, error) {
		return dropStmt.All(ctx, tx, dropArgs{PartitionName: p.Name, Before: before, Really: !a.DryRun})
	})
	if err != nil {
		return p, err
	}
	switch v := verdicts[0]; v.Verdict {
	case "dropped":
		a.Dropped++
		p.Dropped, p.Bodies, p.Bytes = true, v.Bodies, v.Bytes
	case "busy":
		a.Busy = append(a.Busy, p.Name)
	case "held":
		a.Held = append(a.Held, p.Name)
		return p, a.deleteRows(ctx, pool, &p, before)
	}
	return p, nil
}

// deleteRows goes through all of a partition, a batch at a time.
func (a *Account) deleteRows(ctx context.Context, pool *pgxpool.Pool, p *Partition, before time.Time) error {
	for after := int64(-1 << 63); ; {
		found, err := call(ctx, pool, func(tx pgx.Tx) ([]deleted, error) {
			return deleteBodiesStmt.All(ctx, tx, deleteBodiesArgs{p.Name, batchArgs{Before: before, After: after, Batch: batch, Really: !a.DryRun}})
		})
		if err != nil {
			return err
		}
		if len(found) == 0 || found[0].Reached == nil {
			return nil
		}
		after = *found[0].Reached
		p.Bodies += found[0].Bodies
		p.Bytes += found[0].Bytes
	}
}

func (a *Account) quarantine(ctx context.Context, pool *pgxpool.Pool) error {
	for after := int64(0); ; {
		found, err := call(ctx, pool, func(tx pgx.Tx) ([]emptied, error) {
			return emptyEntriesStmt.All(ctx, tx, batchArgs{Before: *a.Before, After: after, Batch: batch, Really: !a.DryRun})
		})
		if err != nil {
			return err
		}
		if found[0].Reached == nil {
			return nil
		}
		after = *found[0].Reached
		a.Quarantined += found[0].Deliveries
		a.QuarantinedBytes += found[0].Bytes
	}
}
