package refold

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

// Row is what contacts holds of a contact.
type Row struct {
	contact.Row
	LastEvent   string
	LastEventID contact.EventID
	LastEventAt contact.Value
	LastTicks   contact.Ticks
	ChangedBy   *int64
	// Odd is the names in pending_columns that are no column.
	Odd []string
}

// Tombstone is what contact_tombstones holds of a contact.
type Tombstone struct {
	DeletedAt contact.Value
	EventSeq  int64
	Ticks     contact.Ticks
	EventID   contact.EventID
}

// loadStored reads what the mirror holds of contacts, in one round trip.
func loadStored(ctx context.Context, tx pgx.Tx, contacts []*Contact) error {
	tenants, ids := make([]string, len(contacts)), make([]int64, len(contacts))
	for i, c := range contacts {
		tenants[i], ids[i] = c.Key.Tenant, c.Key.ID
	}
	args := pgx.StrictNamedArgs{"context_identifiers": tenants, "contact_ids": ids}
	var batch pgx.Batch
	batch.Queue(sql.RefoldRows, args).Query(func(rows pgx.Rows) error {
		return eachRow(rows, func(place int64, r *Row) { contacts[place-1].Row = r })
	})
	batch.Queue(sql.RefoldTombstones, args).Query(func(rows pgx.Rows) error {
		var (
			place int64
			t     Tombstone
		)
		err := pg.ForEach(rows, []any{&place, &t.DeletedAt, &t.EventSeq, &t.Ticks, (*[16]byte)(&t.EventID)}, func() error {
			contacts[place-1].Tombstone = new(t)
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("read %d contacts: %w", len(contacts), err)
	}
	return nil
}

// eachRow reads rows of refold_rows.
func eachRow(rows pgx.Rows, yield func(place int64, r *Row)) error {
	var (
		place   int64
		r       Row
		since   contact.Value
		pending []string
		targets = []any{&place}
	)
	for c := 1; c < contact.NumColumns; c++ { // all but the id, which the key has
		targets = append(targets, &r.Values[c])
	}
	targets = append(targets, &r.SoftDeleted, &since, &pending, &r.LastEvent, (*[16]byte)(&r.LastEventID), &r.LastEventAt, &r.LastTicks, &r.ChangedBy)
	err := pg.ForEach(rows, targets, func() error {
		found := r
		for _, name := range pending {
			if c, ok := contact.ByName(name); ok {
				found.Pending |= contact.SetOf(c)
			} else {
				found.Odd = append(found.Odd, name)
			}
		}
		found.SoftDeletedAt = since.Micros()
		if r.ChangedBy != nil {
			found.ChangedBy = new(*r.ChangedBy)
		}
		yield(place, &found)
		return nil
	})
	return err
}
