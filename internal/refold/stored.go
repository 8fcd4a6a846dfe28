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

// storedRow and storedTombstone are rows of the statements below. place is the number
// of the contact among those asked for, from 1.
type (
	storedRow struct {
		place   int64
		row     Row
		since   contact.Value
		pending []string
	}
	storedTombstone struct {
		place     int64
		tombstone Tombstone
	}
)

var (
	rowsStmt = pg.NewStream[keysArgs](sql.RefoldRows, func(r *storedRow) []any {
		targets := []any{&r.place}
		for c := 1; c < contact.NumColumns; c++ { // all but the id, which the key has
			targets = append(targets, &r.row.Values[c])
		}
		return append(targets, &r.row.SoftDeleted, &r.since, &r.pending,
			&r.row.LastEvent, (*[16]byte)(&r.row.LastEventID), &r.row.LastEventAt, &r.row.LastTicks, &r.row.ChangedBy)
	}, rowColumns()...)
	tombstonesStmt = pg.NewStream[keysArgs](sql.RefoldTombstones, func(r *storedTombstone) []any {
		t := &r.tombstone
		return []any{&r.place, &t.DeletedAt, &t.EventSeq, &t.Ticks, (*[16]byte)(&t.EventID)}
	})
)

func rowColumns() []string {
	columns := []string{"place"}
	for _, spec := range contact.Columns[1:] {
		columns = append(columns, spec.Name)
	}
	return append(columns, "soft_deleted", "soft_deleted_at", "pending_columns",
		"last_event", "last_event_id", "last_event_at", "last_event_ticks", "last_changed_by_associate_id")
}

// loadStored reads what the mirror holds of contacts, in one round trip.
func loadStored(ctx context.Context, tx pgx.Tx, contacts []*Contact) error {
	tenants, ids := make([]string, len(contacts)), make([]int64, len(contacts))
	for i, c := range contacts {
		tenants[i], ids[i] = c.Key.Tenant, c.Key.ID
	}
	args := keysArgs{tenants, ids}
	var batch pgx.Batch
	rowsStmt.Queue(&batch, args, func(r *storedRow) error {
		contacts[r.place-1].Row = r.found()
		return nil
	})
	tombstonesStmt.Queue(&batch, args, func(r *storedTombstone) error {
		contacts[r.place-1].Tombstone = new(r.tombstone)
		return nil
	})
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("read %d contacts: %w", len(contacts), err)
	}
	return nil
}

// found is the row, as a copy.
func (r *storedRow) found() *Row {
	found := r.row
	for _, name := range r.pending {
		if c, ok := contact.ByName(name); ok {
			found.Pending |= contact.SetOf(c)
		} else {
			found.Odd = append(found.Odd, name)
		}
	}
	found.SoftDeletedAt = r.since.Micros()
	if r.row.ChangedBy != nil {
		found.ChangedBy = new(*r.row.ChangedBy)
	}
	return &found
}
