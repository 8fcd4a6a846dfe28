package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/contact"
	"contactmirror/internal/event"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var facts = pg.Query[factRow](sql.AuditFacts)

type factRow struct {
	Place                int64
	OccurredTicks        int64
	Event                string
	EventID              pgtype.UUID
	ChangedByAssociateID *int64
	ChangedColumns       []string
	FieldValues          []byte
	UnreadableColumns    []string
	ErasedColumns        []string
	SoftDeleted          *bool
}

// Facts returns the facts logged of each of the contacts in keys, in no
// particular order.
func Facts(ctx context.Context, db pg.DB, keys []contact.Key) ([][]contact.Fact, error) {
	tenants, ids := make([]string, len(keys)), make([]int64, len(keys))
	for i, k := range keys {
		tenants[i], ids[i] = k.Tenant, k.ID
	}
	rows, err := facts.All(ctx, db, pgx.StrictNamedArgs{"context_identifiers": tenants, "contact_ids": ids})
	if err != nil {
		return nil, fmt.Errorf("audit: facts of %d contacts: %w", len(keys), err)
	}
	found := make([][]contact.Fact, len(keys))
	for _, row := range rows {
		fact, err := row.fact()
		if err != nil {
			return nil, fmt.Errorf("audit: facts of %v: %w", keys[row.Place-1], err)
		}
		found[row.Place-1] = append(found[row.Place-1], fact)
	}
	return found, nil
}

// fact makes of a row the fact that was logged in it.
func (r *factRow) fact() (contact.Fact, error) {
	kind, ok := contact.ParseKind(r.Event)
	if !ok {
		return contact.Fact{}, fmt.Errorf("%q is no contact event", r.Event)
	}
	cells, err := event.Cells(r.FieldValues, contact.Ticks(r.OccurredTicks))
	if err != nil {
		return contact.Fact{}, err
	}
	var unreadable contact.Set
	for _, name := range slices.Concat(r.UnreadableColumns, r.ErasedColumns) {
		if c, ok := contact.BySource(name); ok {
			unreadable |= contact.SetOf(c)
		}
	}
	order := contact.Order{Ticks: contact.Ticks(r.OccurredTicks), Kind: kind, ID: r.EventID.Bytes}
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
