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
	columns []contact.Column
	load    *pg.Stream[keysArgs, loaded]
	update  *pg.NamedCommand
}

var (
	// Whole is every column but the id, which the key holds.
	Whole = newShape((^contact.Set(0) >> (64 - contact.NumColumns)).Without(contact.SetOf(0)), sql.MirrorContacts, sql.MirrorUpdate)
	// Sent is those whose values SuperOffice sends.
	Sent = newShape(contact.Sent, sql.MirrorContactsSent, sql.MirrorUpdateSent)

	insertStmt = pg.NewNamedCommand(sql.MirrorInsert, Whole.insertArgs(nil, nil, time.Time{}))
)

func newShape(columns contact.Set, load, update string) Shape {
	s := Shape{columns: slices.Collect(columns.All())}
	names := []string{"place", "row"}
	for _, c := range s.columns {
		names = append(names, c.Spec().Name)
	}
	names = append(names, "soft_deleted", "soft_deleted_at", "pending_columns",
		"last_event", "last_event_id", "last_event_ticks", "last_changed_by_associate_id")
	targets := func(r *loaded) []any {
		targets := []any{&r.place, &r.row}
		for _, c := range s.columns {
			targets = append(targets, &r.values[c])
		}
		return append(targets, &r.softDeleted, &r.since, &r.pending, &r.lastEvent, &r.lastID, &r.lastTicks, &r.changedBy)
	}
	s.load = pg.NewStream[keysArgs](load, targets, names...)
	s.update = pg.NewNamedCommand(update, s.updateArgs(&addresses{}, nil, nil, time.Time{}))
	return s
}

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

type keysArgs struct {
	ContextIdentifiers []string
	ContactIDs         []int64
}

// loaded is a stored row of the contact of that place in the arrays, from 1. Columns
// that are not of the shape stay NULL.
type loaded struct {
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
}

// state returns the row as a state of its own.
func (r *loaded) state() (contact.State, error) {
	kind, ok := contact.ParseKind(r.lastEvent)
	if !ok {
		return contact.State{}, fmt.Errorf("last_event %q is no contact event", r.lastEvent)
	}
	state := contact.State{Life: contact.Live}
	state.Row.Values = r.values
	state.Last = contact.Order{Ticks: contact.Ticks(r.lastTicks), Kind: kind, ID: r.lastID.Bytes}
	if r.changedBy != nil {
		by := *r.changedBy
		state.ChangedBy = &by
	}
	for name := range strings.SplitSeq(r.pending, ",") {
		if name == "" {
			continue // of none at all
		}
		c, ok := contact.ByName(name)
		if !ok {
			return contact.State{}, fmt.Errorf("pending_columns names %q, which is no column", name)
		}
		state.Row.Pending |= contact.SetOf(c)
	}
	state.Row.SoftDeleted, state.Row.SoftDeletedAt = r.softDeleted, r.since.Micros()
	return state, nil
}

// insertArgs are the arguments of mirror_insert.
func (s *Shape) insertArgs(keys []contact.Key, states []*contact.State, now time.Time) pgx.StrictNamedArgs {
	args := s.args(states, nil, now)
	args["context_identifier"], args["contact_id"] = Split(keys)
	return args
}

// updateArgs are the arguments of s.update.
func (s *Shape) updateArgs(at *addresses, states, stored []*contact.State, now time.Time) pgx.StrictNamedArgs {
	args := s.args(states, stored, now)
	args["row"] = at.rows
	args["context_identifier"], args["contact_id"] = Split(at.keys)
	return args
}

// args lays the rows of states out in columns.
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
