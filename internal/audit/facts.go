package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/contact"
	"contactmirror/internal/event"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

// NewRow is the row of a contact event, with all that the event itself says. The
// numbers, the times of receipt and recording, the webhook, the origin and what
// became of it are the caller's to fill in.
func NewRow(e *event.Contact) Row {
	order := e.Fact.Order
	r := Row{
		Shard: e.Key.Shard(), Tenant: e.Key.Tenant, ContactID: e.Key.ID,
		Event: order.Kind.String(), EventID: pgtype.UUID{Bytes: order.ID, Valid: true},
		OccurredAt: order.Ticks.Time(), OccurredTicks: order.Ticks,
		ChangedColumns: e.Changes, FieldValues: e.FieldValues, GivenColumns: int64(e.Fact.GivenColumns()), IDValues: e.IDValues, UnreadableColumns: e.Unreadable, ErasedColumns: e.Erased,
		HardDeleted: order.Kind == contact.Deleted, ChangedByAssociateID: e.Fact.ChangedBy,
	}
	if says := e.Fact.SoftDeleted(); says != contact.Silent {
		r.SoftDeleted = new(says == contact.IsDeleted)
	}
	return r
}

// The events of rows that are no facts: they have no outcome.
const (
	Erased        = "mirror.erased"
	ErasureLifted = "mirror.erasure_lifted"
)

// NewOperatorRow is the row that says that an operator erased a contact, or lifted an
// erasure, at an instant.
func NewOperatorRow(event string, key contact.Key, id pgtype.UUID, at time.Time) Row {
	r := Row{
		Shard: key.Shard(), Tenant: key.Tenant, ContactID: key.ID, Event: event, EventID: id,
		OccurredAt: at, OccurredTicks: contact.TicksOf(at), ReceivedAt: at, RecordedAt: at,
		ChangedColumns: []string{}, UnreadableColumns: []string{}, Effect: contact.EffectUnchanged, Origin: "operator",
	}
	if event == Erased {
		r.Effect = contact.EffectErased
	}
	return r
}

// Key is the row's contact.
func (r *Row) Key() contact.Key { return contact.Key{Tenant: r.Tenant, ID: r.ContactID} }

// Fact is the fact that r logs. The error says why it is none that the worker
// writes.
func (r *Row) Fact() (contact.Fact, error) {
	kind, ok := contact.ParseKind(r.Event)
	if !ok {
		return contact.Fact{}, fmt.Errorf("%q is no contact event", r.Event)
	}
	cells, err := event.Cells(r.FieldValues, r.OccurredTicks)
	if err != nil {
		return contact.Fact{}, err
	}
	var unreadable contact.Set
	for _, name := range slices.Concat(r.UnreadableColumns, r.ErasedColumns) {
		if c, ok := contact.BySource(name); ok {
			unreadable |= contact.SetOf(c)
		}
	}
	order := contact.Order{Ticks: r.OccurredTicks, Kind: kind, ID: r.EventID.Bytes}
	f := contact.NewFact(order, r.ChangedByAssociateID, r.ChangedColumns, cells, unreadable)
	if r.ErasedColumns != nil {
		if r.FieldValues != nil {
			return contact.Fact{}, errors.New("its values are erased, and there")
		}
		f.Erased, f.Flag = true, contact.Silent
		switch {
		case r.SoftDeleted != nil && *r.SoftDeleted:
			f.Flag = contact.IsDeleted
		case r.SoftDeleted != nil:
			f.Flag = contact.NotDeleted
		}
	}
	return f, nil
}

var factsStmt = pg.NewStream[factsArgs](sql.AuditFacts,
	func(r *factRow) []any { return append([]any{&r.place}, r.row.Targets(Fact)...) },
	append([]string{"place"}, Columns(Fact)...)...)

type (
	factsArgs struct {
		ContextIdentifiers []string
		ContactIDs         []int64
	}
	// factRow is a row of the contact of that place in the arrays, from 1.
	factRow struct {
		place int64
		row   Row
	}
)

// Facts returns the facts logged of each of the contacts in keys, in no
// particular order.
func Facts(ctx context.Context, db pg.DB, keys []contact.Key) ([][]contact.Fact, error) {
	tenants, ids := make([]string, len(keys)), make([]int64, len(keys))
	for i, k := range keys {
		tenants[i], ids[i] = k.Tenant, k.ID
	}
	found := make([][]contact.Fact, len(keys))
	err := factsStmt.Each(ctx, db, factsArgs{tenants, ids}, func(r *factRow) error {
		fact, err := r.row.Fact()
		if err != nil {
			return fmt.Errorf("of %v: %w", keys[r.place-1], err)
		}
		found[r.place-1] = append(found[r.place-1], fact)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("audit: facts of %d contacts: %w", len(keys), err)
	}
	return found, nil
}
