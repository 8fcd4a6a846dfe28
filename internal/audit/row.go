package audit

import "contactmirror/internal/contact"

// Row is one logged fact with its contact and its event, for statements that
// read the log in a stream. They select, in this order, context_identifier,
// contact_id, event_seq, occurred_ticks, event, event_id, changed_by_associate_id,
// changed_columns, field_values, unreadable_columns, erased_columns and soft_deleted.
type Row struct {
	Tenant    string
	ContactID int64
	// EventSeq is nil where the fact did not come by webhook.
	EventSeq *int64

	logged factRow
}

// Targets is where the columns are scanned to, over and over.
func (r *Row) Targets() []any {
	l := &r.logged
	return []any{
		&r.Tenant, &r.ContactID, &r.EventSeq, &l.OccurredTicks, &l.Event, &l.EventID,
		&l.ChangedByAssociateID, &l.ChangedColumns, &l.FieldValues, &l.UnreadableColumns,
		&l.ErasedColumns, &l.SoftDeleted,
	}
}

// Key is the fact's contact.
func (r *Row) Key() contact.Key { return contact.Key{Tenant: r.Tenant, ID: r.ContactID} }

// Fact is the fact. The error tells that it is none that the worker writes.
func (r *Row) Fact() (contact.Fact, error) { return r.logged.fact() }
