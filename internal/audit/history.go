package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	tenantsStmt = pg.NewColumn[tenantsArgs, string](sql.AuditTenants)
	changesStmt = pg.NewQuery[keyArgs, Change](sql.AuditChanges)
	currentStmt = pg.NewQuery[keyArgs, Current](sql.AuditContact)
	historyStmt = pg.NewStream[keyArgs](sql.AuditHistory,
		func(e *Entry) []any { return append([]any{&e.Transition}, e.Targets(Shown)...) },
		append([]string{"transition"}, Columns(Shown)...)...)
)

type (
	tenantsArgs struct{ ContactID int64 }
	keyArgs     struct {
		ContextIdentifier string
		ContactID         int64
	}
)

// Entry is a row of the log, with the columns of [Shown].
type Entry struct {
	Row
	// Transition is the lifecycle transition that it was: created, soft_deleted,
	// restored or hard_deleted; nil for any other.
	Transition *string `json:"transition"`
	// Changes is how the contact's columns changed by it, as seen from all that is
	// logged now.
	Changes []Change `json:"changes"`
}

// Change is how one column changed.
type Change struct {
	AuditSeq int64 `json:"-"`
	// ColumnName is the column of contacts.
	ColumnName string `json:"column"`
	// Kind is changed where the event names the column, and noticed where it only
	// gives another value than the last one known: it changed after NotBefore, by
	// an unknown person.
	Kind      string     `json:"kind"`
	NotBefore *time.Time `json:"not_before"`
	// OldValue is the value last known before, nil where none was.
	OldValue json.RawMessage `json:"old_value"`
	// NewValue is nil unless ValueKnown: else it is only known to have changed.
	NewValue   json.RawMessage `json:"new_value"`
	ValueKnown bool            `json:"value_known"`
}

// Current is what the mirror says of a contact now.
type Current struct {
	// Live is set while contacts has a row, soft-deleted or not.
	Live                     bool       `json:"live"`
	Name                     *string    `json:"name"`
	Department               *string    `json:"department"`
	SoftDeleted              bool       `json:"soft_deleted"`
	SoftDeletedAt            *time.Time `json:"soft_deleted_at"`
	HardDeletedAt            *time.Time `json:"hard_deleted_at"`
	PendingColumns           []string   `json:"pending_columns"`
	LastEventAt              *time.Time `json:"last_event_at"`
	LastChangedByAssociateID *int64     `json:"last_changed_by_associate_id"`
}

// Tenants returns the tenants that have, or had, a contact of this id.
func Tenants(ctx context.Context, db pg.DB, contactID int64) ([]string, error) {
	found, err := tenantsStmt.All(ctx, db, tenantsArgs{contactID})
	if err != nil {
		return nil, fmt.Errorf("audit: tenants of contact %d: %w", contactID, err)
	}
	return found, nil
}

// History returns what the mirror says of a contact, and everything logged of
// it in the source's order. A contact never seen has no entries.
func History(ctx context.Context, db pg.DB, key contact.Key) (Current, []Entry, error) {
	args := keyArgs{key.Tenant, key.ID}
	now, err := currentStmt.All(ctx, db, args)
	if err != nil {
		return Current{}, nil, fmt.Errorf("audit: contact %v: %w", key, err)
	}
	var entries []Entry
	err = historyStmt.Each(ctx, db, args, func(e *Entry) error {
		entries = append(entries, *e)
		return nil
	})
	if err != nil {
		return Current{}, nil, fmt.Errorf("audit: history of %v: %w", key, err)
	}
	changed, err := changesStmt.All(ctx, db, args)
	if err != nil {
		return Current{}, nil, fmt.Errorf("audit: changes of %v: %w", key, err)
	}
	bySeq := map[int64][]Change{}
	for _, c := range changed {
		bySeq[c.AuditSeq] = append(bySeq[c.AuditSeq], c)
	}
	for i := range entries {
		entries[i].Changes = append([]Change{}, bySeq[entries[i].AuditSeq]...)
	}
	return now[0], entries, nil
}
