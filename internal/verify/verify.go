package verify

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/refold"
)

// Conns is how many connections [Run] uses at the same time.
const Conns = 2*refold.Parts + 2

// Options say what is checked, and how.
type Options struct {
	// Tenant limits everything to one tenant. The chain, which runs through all of
	// them, is then not checked.
	Tenant *string
	// Keys are what links were made with. Links that name other keys can't be checked:
	// that is a difference, unless AllowUnchecked is set.
	Keys           chain.Keys
	AllowUnchecked bool
	// Against is heads exported earlier, which the chains must still contain.
	Against *Heads
	// Progress, when set, is told how many of about how many rows have been read.
	// Goroutines call it at the same time.
	Progress func(read, total int64)
}

// Report is what was found.
type Report struct {
	// At is the instant that was looked at, by the database's clock.
	At time.Time `json:"at"`
	// Chain is nil where it was not checked.
	Chain      *Chain     `json:"chain"`
	Mirror     Mirror     `json:"mirror"`
	Events     Events     `json:"events"`
	Accounts   Accounts   `json:"accounts"`
	Erasures   Erasures   `json:"erasures"`
	Duplicates Duplicates `json:"duplicates"`

	// Heads is the ends of the chains at the time.
	Heads *Heads `json:"-"`
}

// Mirror is what was found of the mirror beside the log.
type Mirror struct {
	Facts      int64 `json:"facts"`
	Contacts   int64 `json:"contacts"`
	Tombstones int64 `json:"tombstones"`
	// Different is the number of contacts of which the mirror holds something else
	// than the log comes to; Differences tells of the first ones.
	Different   int64               `json:"different"`
	Differences []refold.Difference `json:"differences"`
}

// Differences is how much is not as it should be.
func (r *Report) Differences() int64 {
	n := r.Mirror.Different + r.Events.Lost + r.Events.Invented + r.Events.Different + int64(r.Accounts.Wrong) + r.Erasures.Wrong + r.Duplicates.Wrong
	if r.Chain != nil {
		n += int64(len(r.Chain.Breaks))
	}
	return n
}

// Run checks the database behind pool, which needs [Conns] connections.
func Run(ctx context.Context, pool *pgxpool.Pool, options Options) (*Report, error) {
	report, err := run(ctx, pool, options)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	return report, nil
}

func run(ctx context.Context, pool *pgxpool.Pool, options Options) (*Report, error) {
	snapshot, err := refold.Take(ctx, pool, Conns)
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	stored, err := loadHeads(ctx, snapshot.Tx(0))
	if err != nil {
		return nil, err
	}
	if len(stored) != contact.Shards {
		return nil, fmt.Errorf("sync_shards has %d rows, want %d", len(stored), contact.Shards)
	}
	adoptions, err := loadAdoptions(ctx, snapshot.Tx(0))
	if err != nil {
		return nil, err
	}
	report := &Report{At: snapshot.At, Heads: export(snapshot.At, options.Keys, stored)}
	passes := 2 // of the log: for the mirror, and beside the events
	if options.Tenant == nil {
		passes++
	}
	progress := newProgress(stored, passes, options.Progress)
	last := 2 * refold.Parts // the refold has those before
	var group errgroup.Group
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	check := func(do func() error) {
		group.Go(func() error {
			err := do()
			if err != nil {
				cancel(err)
			}
			return err
		})
	}
	check(func() (err error) {
		report.Mirror, err = checkMirror(ctx, snapshot, options.Tenant, progress)
		return err
	})
	check(func() error { return report.checkTables(ctx, snapshot.Tx(last), options.Tenant, progress.step) })
	if options.Tenant == nil {
		check(func() error {
			found, err := checkChains(ctx, snapshot.Tx(last+1), newChains(stored, adoptions, options), progress.step)
			report.Chain = &found
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return report, nil
}

// checkTables compares the log with events, account, erasures and duplicates, one after
// another in tx.
func (r *Report) checkTables(ctx context.Context, tx pgx.Tx, tenant *string, step func()) (err error) {
	if r.Events, err = checkEvents(ctx, tx, tenant, step); err != nil {
		return err
	}
	if r.Accounts, err = checkAccounts(ctx, tx, tenant); err != nil {
		return err
	}
	if r.Erasures, err = checkErasures(ctx, tx, tenant); err != nil {
		return err
	}
	r.Duplicates, err = checkDuplicates(ctx, tx, tenant)
	return err
}

func checkMirror(ctx context.Context, snapshot *refold.Snapshot, tenant *string, progress *progress) (Mirror, error) {
	found := Mirror{Differences: []refold.Difference{}}
	err := refold.Each(ctx, snapshot, refold.Scope{Tenant: tenant}, func(contacts []*refold.Contact) error {
		for _, c := range contacts {
			progress.add(int64(c.Facts))
			found.Facts += int64(c.Facts)
			if c.Row != nil {
				found.Contacts++
			}
			if c.Tombstone != nil {
				found.Tombstones++
			}
			differences := c.Differences()
			if len(differences) == 0 {
				continue
			}
			found.Different++
			if len(found.Differences) < maxLines {
				found.Differences = append(found.Differences, differences...)
			}
		}
		return nil
	})
	return found, err
}
