package mirror

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

// cell holds one column's value on its way from or to the server. Which of them
// is used follows from the column's type.
type cells struct {
	int8        []pgtype.Int8
	int4        []pgtype.Int4
	bool        []pgtype.Bool
	text        []pgtype.Text
	timestamptz []pgtype.Timestamptz
	timestamp   []pgtype.Timestamp
}

func newCells(t contact.Type, n int) cells {
	switch t {
	case contact.Bigint:
		return cells{int8: make([]pgtype.Int8, n)}
	case contact.Integer:
		return cells{int4: make([]pgtype.Int4, n)}
	case contact.Boolean:
		return cells{bool: make([]pgtype.Bool, n)}
	case contact.Text:
		return cells{text: make([]pgtype.Text, n)}
	case contact.Timestamptz:
		return cells{timestamptz: make([]pgtype.Timestamptz, n)}
	case contact.Timestamp:
		return cells{timestamp: make([]pgtype.Timestamp, n)}
	}
	panic(fmt.Sprintf("mirror: column type %q", t))
}

// array is c as a statement's argument.
func (c *cells) array() any {
	switch {
	case c.int8 != nil:
		return c.int8
	case c.int4 != nil:
		return c.int4
	case c.bool != nil:
		return c.bool
	case c.text != nil:
		return c.text
	case c.timestamptz != nil:
		return c.timestamptz
	}
	return c.timestamp
}

// target is where a row's value is scanned to.
func (c *cells) target() any {
	switch {
	case c.int8 != nil:
		return &c.int8[0]
	case c.int4 != nil:
		return &c.int4[0]
	case c.bool != nil:
		return &c.bool[0]
	case c.text != nil:
		return &c.text[0]
	case c.timestamptz != nil:
		return &c.timestamptz[0]
	}
	return &c.timestamp[0]
}

func (c *cells) set(i int, v contact.Value) {
	if v.IsNull() {
		return
	}
	switch {
	case c.int8 != nil:
		c.int8[i] = pgtype.Int8{Int64: v.Int(), Valid: true}
	case c.int4 != nil:
		c.int4[i] = pgtype.Int4{Int32: int32(v.Int()), Valid: true}
	case c.bool != nil:
		c.bool[i] = pgtype.Bool{Bool: v.Bool(), Valid: true}
	case c.text != nil:
		c.text[i] = pgtype.Text{String: v.Text(), Valid: true}
	case c.timestamptz != nil:
		c.timestamptz[i] = pgtype.Timestamptz{Time: v.Time(), Valid: true}
	default:
		c.timestamp[i] = pgtype.Timestamp{Time: v.Time(), Valid: true}
	}
}

// value is the scanned value.
func (c *cells) value() contact.Value {
	switch {
	case c.int8 != nil && c.int8[0].Valid:
		return contact.IntValue(c.int8[0].Int64)
	case c.int4 != nil && c.int4[0].Valid:
		return contact.IntValue(int64(c.int4[0].Int32))
	case c.bool != nil && c.bool[0].Valid:
		return contact.BoolValue(c.bool[0].Bool)
	case c.text != nil && c.text[0].Valid:
		return contact.TextValue(c.text[0].String)
	case c.timestamptz != nil && c.timestamptz[0].Valid:
		return contact.MicrosValue(c.timestamptz[0].Time.UnixMicro())
	case c.timestamp != nil && c.timestamp[0].Valid:
		return contact.MicrosValue(c.timestamp[0].Time.UnixMicro())
	}
	return contact.Value{}
}

// shape is which columns of contacts are read and written, and how.
type shape struct {
	columns      []contact.Column
	load, update string
}

var (
	// whole is every column but the id, which the key holds.
	whole = shape{slices.Collect((^contact.Set(0) >> (64 - contact.NumColumns)).Without(contact.SetOf(0)).All()), sql.MirrorContacts, sql.MirrorUpdate}
	// sent is those whose values SuperOffice sends.
	sent = shape{slices.Collect(contact.Sent.All()), sql.MirrorContactsSent, sql.MirrorUpdateSent}
)

// shapeOf is what is needed of a contact for facts: all of the row where it may
// end up in the log, as a hard delete's last known row.
func shapeOf(facts []contact.Fact) *shape {
	for i := range facts {
		f := &facts[i]
		if f.Order.Kind == contact.Deleted {
			return &whole
		}
		for _, cell := range f.Given {
			if !contact.Sent.Has(cell.Column) {
				return &whole
			}
		}
	}
	return &sent
}

// scan reads rows of s.load and calls yield for each. Columns that are not of s
// stay NULL.
func (s *shape) scan(rows pgx.Rows, yield func(place int64, row pgtype.TID, s contact.State)) error {
	var (
		place       int64
		row         pgtype.TID
		softDeleted bool
		since       pgtype.Timestamptz
		pending     string
		lastEvent   string
		lastID      pgtype.UUID
		lastTicks   int64
		changedBy   *int64
		columns     = make([]cells, len(s.columns))
		targets     = []any{&place, &row}
	)
	for i, c := range s.columns {
		columns[i] = newCells(c.Spec().Type, 1)
		targets = append(targets, columns[i].target())
	}
	targets = append(targets, &softDeleted, &since, &pending, &lastEvent, &lastID, &lastTicks, &changedBy)
	err := pg.ForEach(rows, targets, func() error {
		kind, ok := contact.ParseKind(lastEvent)
		if !ok {
			return fmt.Errorf("last_event %q is no contact event", lastEvent)
		}
		state := contact.State{Life: contact.Live}
		state.Last = contact.Order{Ticks: contact.Ticks(lastTicks), Kind: kind, ID: lastID.Bytes}
		if changedBy != nil {
			by := *changedBy
			state.ChangedBy = &by
		}
		for i := range columns {
			state.Row.Values[s.columns[i]] = columns[i].value()
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
		if state.Row.SoftDeleted = softDeleted; softDeleted {
			state.Row.SoftDeletedAt = since.Time.UnixMicro()
		}
		yield(place, row, state)
		return nil
	})
	return err
}

// args lays the rows of states out in columns, as mirror_insert (of whole) and
// s.update take them.
//
// Of stored, which is as long as states or empty, come the rows as they were:
// what is pending is not written where it was so before.
func (s *shape) args(states, stored []*contact.State, now time.Time) pgx.StrictNamedArgs {
	n := len(states)
	args := pgx.StrictNamedArgs{"now": now}
	for _, c := range s.columns {
		column := newCells(c.Spec().Type, n)
		for j, s := range states {
			column.set(j, s.Row.Values[c])
		}
		args[c.Spec().Name] = column.array()
	}
	var (
		softDeleted = make([]bool, n)
		since       = make([]pgtype.Timestamptz, n)
		pending     = make([]*string, n)
		lastEvent   = make([]string, n)
		lastID      = make([]pgtype.UUID, n)
		lastAt      = make([]time.Time, n)
		lastTicks   = make([]int64, n)
		changedBy   = make([]*int64, n)
	)
	for j, s := range states {
		softDeleted[j] = s.Row.SoftDeleted
		since[j] = pgtype.Timestamptz{Time: time.UnixMicro(s.Row.SoftDeletedAt), Valid: s.Row.SoftDeleted}
		if len(stored) == 0 || stored[j].Row.Pending != s.Row.Pending {
			literal := "{" + strings.Join(s.Row.Pending.Names(), ",") + "}"
			pending[j] = &literal
		}
		lastEvent[j], lastID[j] = s.Last.Kind.String(), pgtype.UUID{Bytes: s.Last.ID, Valid: true}
		lastAt[j], lastTicks[j], changedBy[j] = s.Last.Ticks.Time(), int64(s.Last.Ticks), s.ChangedBy
	}
	args["soft_deleted"], args["soft_deleted_at"], args["pending_columns"] = softDeleted, since, pending
	args["last_event"], args["last_event_id"] = lastEvent, lastID
	args["last_event_at"], args["last_event_ticks"] = lastAt, lastTicks
	args["last_changed_by_associate_id"] = changedBy
	return args
}

// split lays keys out in columns.
func split(keys []contact.Key) (tenants []string, ids []int64) {
	tenants, ids = make([]string, len(keys)), make([]int64, len(keys))
	for i, k := range keys {
		tenants[i], ids[i] = k.Tenant, k.ID
	}
	return tenants, ids
}
