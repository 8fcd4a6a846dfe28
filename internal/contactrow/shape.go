package contactrow

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

// Shape is which columns of contacts are read and written, and how.
type Shape struct {
	columns      []contact.Column
	load, update string
}

var (
	// Whole is every column but the id, which the key holds.
	Whole = Shape{slices.Collect((^contact.Set(0) >> (64 - contact.NumColumns)).Without(contact.SetOf(0)).All()), sql.MirrorContacts, sql.MirrorUpdate}
	// Sent is those whose values SuperOffice sends.
	Sent = Shape{slices.Collect(contact.Sent.All()), sql.MirrorContactsSent, sql.MirrorUpdateSent}
)

// ShapeOf is what is needed of a contact for facts: all of the row where it may
// end up in the log, as a hard delete's last known row.
func ShapeOf(facts []contact.Fact) *Shape {
	for i := range facts {
		f := &facts[i]
		if f.Order.Kind == contact.Deleted {
			return &Whole
		}
		for _, cell := range f.Given {
			if !contact.Sent.Has(cell.Column) {
				return &Whole
			}
		}
	}
	return &Sent
}

// scan reads rows of s.load and calls yield for each. Columns that are not of s
// stay NULL.
func (s *Shape) scan(rows pgx.Rows, yield func(place int64, row pgtype.TID, s contact.State)) error {
	var (
		place       int64
		row         pgtype.TID
		values      [contact.NumColumns]contact.Value
		softDeleted bool
		since       contact.Value
		pending     string
		lastEvent   string
		lastID      pgtype.UUID
		lastTicks   int64
		changedBy   *int64
		targets     = []any{&place, &row}
	)
	for _, c := range s.columns {
		targets = append(targets, &values[c])
	}
	targets = append(targets, &softDeleted, &since, &pending, &lastEvent, &lastID, &lastTicks, &changedBy)
	err := pg.ForEach(rows, targets, func() error {
		kind, ok := contact.ParseKind(lastEvent)
		if !ok {
			return fmt.Errorf("last_event %q is no contact event", lastEvent)
		}
		state := contact.State{Life: contact.Live}
		state.Row.Values = values
		state.Last = contact.Order{Ticks: contact.Ticks(lastTicks), Kind: kind, ID: lastID.Bytes}
		if changedBy != nil {
			by := *changedBy
			state.ChangedBy = &by
		}
		for name := range strings.SplitSeq(pending, ",") {
			if name == "" {
				continue // of none at all
			}
			c, ok := contact.ByName(name)
			if !ok {
				return fmt.Errorf("pending_columns names %q, which is no column", name)
			}
			state.Row.Pending |= contact.SetOf(c)
		}
		state.Row.SoftDeleted, state.Row.SoftDeletedAt = softDeleted, since.Micros()
		yield(place, row, state)
		return nil
	})
	return err
}

// args lays the rows of states out in columns, as mirror_insert (of Whole) and
// s.update take them.
//
// Of stored, which is as long as states or empty, come the rows as they were:
// what is pending is not written where it was so before.
func (s *Shape) args(states, stored []*contact.State, now time.Time) pgx.StrictNamedArgs {
	n := len(states)
	args := pgx.StrictNamedArgs{"now": now}
	for _, c := range s.columns {
		args[c.Spec().Name] = c.Spec().Type.Array(n, func(j int) contact.Value { return states[j].Row.Values[c] })
	}
	since := func(j int) contact.Value {
		if r := &states[j].Row; r.SoftDeleted {
			return contact.MicrosValue(r.SoftDeletedAt)
		}
		return contact.Value{}
	}
	var (
		softDeleted = make([]bool, n)
		pending     = make([]*string, n)
		lastEvent   = make([]string, n)
		lastID      = make([]pgtype.UUID, n)
		lastAt      = make([]time.Time, n)
		lastTicks   = make([]int64, n)
		changedBy   = make([]*int64, n)
	)
	for j, s := range states {
		softDeleted[j] = s.Row.SoftDeleted
		if len(stored) == 0 || stored[j].Row.Pending != s.Row.Pending {
			literal := "{" + strings.Join(s.Row.Pending.Names(), ",") + "}"
			pending[j] = &literal
		}
		lastEvent[j], lastID[j] = s.Last.Kind.String(), pgtype.UUID{Bytes: s.Last.ID, Valid: true}
		lastAt[j], lastTicks[j], changedBy[j] = s.Last.Ticks.Time(), int64(s.Last.Ticks), s.ChangedBy
	}
	args["soft_deleted"], args["soft_deleted_at"], args["pending_columns"] = softDeleted, contact.Timestamptz.Array(n, since), pending
	args["last_event"], args["last_event_id"] = lastEvent, lastID
	args["last_event_at"], args["last_event_ticks"] = lastAt, lastTicks
	args["last_changed_by_associate_id"] = changedBy
	return args
}

// Columns is the columns of s, in the order of the table.
func (s *Shape) Columns() []contact.Column { return s.columns }

// Split lays keys out in columns, as statements take them.
func Split(keys []contact.Key) (tenants []string, ids []int64) {
	tenants, ids = make([]string, len(keys)), make([]int64, len(keys))
	for i, k := range keys {
		tenants[i], ids[i] = k.Tenant, k.ID
	}
	return tenants, ids
}
