package refold

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

// Row is what contacts holds of a contact.
type Row struct {
	contact.Row
	LastEvent   string
	LastEventID contact.EventID
	LastEventAt time.Time
	LastTicks   contact.Ticks
	ChangedBy   *int64
	// Odd is the names in pending_columns that are no column.
	Odd []string
}

// Tombstone is what contact_tombstones holds of a contact.
type Tombstone struct {
	DeletedAt time.Time
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
			at    pgtype.Timestamptz
			t     Tombstone
		)
		err := pg.ForEach(rows, []any{&place, &at, &t.EventSeq, &t.Ticks, (*[16]byte)(&t.EventID)}, func() error {
			found := t
			found.DeletedAt = at.Time
			contacts[place-1].Tombstone = &found
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("read %d contacts: %w", len(contacts), err)
	}
	return nil
}

// target is where a column of type t is scanned to, and how its value is told.
func target(t contact.Type) (any, func() contact.Value) {
	switch t {
	case contact.Bigint:
		v := &pgtype.Int8{}
		return v, func() contact.Value { return known(v.Valid, contact.IntValue(v.Int64)) }
	case contact.Integer:
		v := &pgtype.Int4{}
		return v, func() contact.Value { return known(v.Valid, contact.IntValue(int64(v.Int32))) }
	case contact.Boolean:
		v := &pgtype.Bool{}
		return v, func() contact.Value { return known(v.Valid, contact.BoolValue(v.Bool)) }
	case contact.Text:
		v := &pgtype.Text{}
		return v, func() contact.Value { return known(v.Valid, contact.TextValue(v.String)) }
	case contact.Timestamptz:
		v := &pgtype.Timestamptz{}
		return v, func() contact.Value { return instant(v.Valid, v.InfinityModifier, v.Time) }
	case contact.Timestamp:
		v := &pgtype.Timestamp{}
		return v, func() contact.Value { return instant(v.Valid, v.InfinityModifier, v.Time) }
	}
	panic(fmt.Sprintf("refold: column type %q", t))
}

func known(valid bool, v contact.Value) contact.Value {
	if !valid {
		return contact.Value{}
	}
	return v
}

// instant is a time; what no event can give is told as a text, which no time is
// equal to.
func instant(valid bool, infinity pgtype.InfinityModifier, t time.Time) contact.Value {
	if valid && infinity != pgtype.Finite {
		return contact.TextValue(infinity.String())
	}
	return known(valid, contact.MicrosValue(t.UnixMicro()))
}

// eachRow reads rows of refold_rows.
func eachRow(rows pgx.Rows, yield func(place int64, r *Row)) error {
	var (
		place     int64
		r         Row
		since, at pgtype.Timestamptz
		pending   []string
		values    [contact.NumColumns]func() contact.Value
		targets   = []any{&place}
	)
	for c, spec := range contact.Columns {
		if c == 0 { // the id, which the key has
			continue
		}
		var to any
		to, values[c] = target(spec.Type)
		targets = append(targets, to)
	}
	targets = append(targets, &r.SoftDeleted, &since, &pending, &r.LastEvent, (*[16]byte)(&r.LastEventID), &at, &r.LastTicks, &r.ChangedBy)
	err := pg.ForEach(rows, targets, func() error {
		found := r
		for c := 1; c < contact.NumColumns; c++ {
			found.Values[c] = values[c]()
		}
		for _, name := range pending {
			if c, ok := contact.ByName(name); ok {
				found.Pending |= contact.SetOf(c)
			} else {
				found.Odd = append(found.Odd, name)
			}
		}
		if since.Valid {
			found.SoftDeletedAt = since.Time.UnixMicro()
		}
		found.LastEventAt = at.Time
		if r.ChangedBy != nil {
			found.ChangedBy = new(*r.ChangedBy)
		}
		yield(place, &found)
		return nil
	})
	return err
}
