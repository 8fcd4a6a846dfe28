// Package contactrow reads and writes rows of contacts for those who hold the locks
// of their shards: the worker, which folds events into them, and an erasure, which
// writes one again from the log.
//
// A row is read with its address, and written there: the lock guarantees that it has
// not moved since.
package contactrow

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var removeStmt = pg.NewCommand[removeArgs](sql.MirrorRemove)

type removeArgs struct {
	Row               []pgtype.TID
	ContextIdentifier []string
	ContactID         []int64
}

// Row is a contact's row: as it is stored, and as it should be.
type Row struct {
	Key contact.Key
	// Shape is what is read and written of it.
	Shape *Shape
	// Stored is the state that was read: Live where there is a row, at address.
	Stored contact.State
	State  contact.State

	address pgtype.TID
}

// QueueLoad reads the rows that there are into Stored.
func QueueLoad(batch *pgx.Batch, rows []*Row) {
	for _, s := range []*Shape{&Whole, &Sent} {
		some := slices.DeleteFunc(slices.Clone(rows), func(r *Row) bool { return r.Shape != s })
		if len(some) == 0 {
			continue
		}
		tenants, ids := Split(Keys(some))
		s.load.Queue(batch, keysArgs{tenants, ids}, func(found *loaded) (err error) {
			r := some[found.place-1]
			r.address = found.row
			r.Stored, err = found.state()
			return err
		})
	}
}

// Keys is the keys of rows.
func Keys(rows []*Row) []contact.Key {
	keys := make([]contact.Key, len(rows))
	for i, r := range rows {
		keys[i] = r.Key
	}
	return keys
}

// QueueWrite writes the rows of live contacts of which anything changed, be it only
// what the last event was.
func QueueWrite(batch *pgx.Batch, rows []*Row, now time.Time) {
	var (
		keys     []contact.Key
		inserted []*contact.State
		updates  = map[*Shape]*addresses{&Whole: {}, &Sent: {}}
		updated  = map[*Shape][]*contact.State{}
		stored   = map[*Shape][]*contact.State{}
	)
	for _, r := range rows {
		switch {
		case r.State.Life != contact.Live || r.State.Row == r.Stored.Row && r.State.Last == r.Stored.Last:
		case r.Stored.Life == contact.Live:
			updates[r.Shape].add(r)
			stored[r.Shape], updated[r.Shape] = append(stored[r.Shape], &r.Stored), append(updated[r.Shape], &r.State)
		default:
			keys, inserted = append(keys, r.Key), append(inserted, &r.State)
		}
	}
	if len(inserted) > 0 {
		insertStmt.Queue(batch, Whole.insertArgs(keys, inserted, now)).Exec(pg.Touched(len(inserted)))
	}
	for _, s := range []*Shape{&Whole, &Sent} {
		if states := updated[s]; len(states) > 0 {
			s.update.Queue(batch, s.updateArgs(updates[s], states, stored[s], now)).Exec(pg.Touched(len(states)))
		}
	}
}

// QueueRemove removes the rows of contacts that are gone.
func QueueRemove(batch *pgx.Batch, rows []*Row) {
	var gone addresses
	for _, r := range rows {
		if r.Stored.Life == contact.Live && r.State.Life == contact.Gone {
			gone.add(r)
		}
	}
	if n := len(gone.rows); n > 0 {
		tenants, ids := Split(gone.keys)
		removeStmt.Queue(batch, removeArgs{gone.rows, tenants, ids}).Exec(pg.Touched(n))
	}
}

// addresses are where rows of contacts are stored, with the keys that they must
// still have.
type addresses struct {
	rows []pgtype.TID
	keys []contact.Key
}

func (a *addresses) add(r *Row) {
	a.rows, a.keys = append(a.rows, r.address), append(a.keys, r.Key)
}

// Rewrite writes the row of a live contact again: s is the fold of what the log says
// of it.
func Rewrite(ctx context.Context, tx pgx.Tx, key contact.Key, s *contact.State, now time.Time) error {
	r := &Row{Key: key, Shape: &Whole}
	var read, write pgx.Batch
	QueueLoad(&read, []*Row{r})
	err := tx.SendBatch(ctx, &read).Close()
	if err == nil {
		r.State = *s
		QueueWrite(&write, []*Row{r}, now)
		err = tx.SendBatch(ctx, &write).Close()
	}
	if err != nil {
		return fmt.Errorf("contactrow: rewrite the row of %v: %w", key, err)
	}
	return nil
}
