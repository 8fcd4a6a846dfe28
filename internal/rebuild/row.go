package rebuild

import (
	"slices"

	"contactmirror/internal/contact"
	"contactmirror/internal/refold"
)

// shadowColumns are the columns that shadowRow fills, in its order.
var shadowColumns = func() []string {
	names := []string{"context_identifier", "contact_id"}
	for _, spec := range contact.Columns[1:] {
		names = append(names, spec.Name)
	}
	return append(names,
		"soft_deleted", "soft_deleted_at", "pending_columns", "last_event", "last_event_id", "last_event_at", "last_event_ticks",
		"last_changed_by_associate_id", "live", "row_wrong", "tombstone_wrong", "deleted_at", "event_seq", "occurred_ticks", "event_id")
}()

// shadowRow is what the mirror should hold of c: a row, a tombstone, or nothing.
func shadowRow(c *refold.Contact, differences []refold.Difference) []any {
	row := make([]any, 0, len(shadowColumns))
	row = append(row, c.Key.Tenant, c.Key.ID)
	s := &c.Folded
	live := s.Life == contact.Live
	for column := 1; column < contact.NumColumns; column++ {
		row = append(row, contact.Columns[column].Type.Argument(s.Row.Values[column]))
	}
	if live {
		var since contact.Value
		if s.Row.SoftDeleted {
			since = contact.MicrosValue(s.Row.SoftDeletedAt)
		}
		row = append(row, s.Row.SoftDeleted, contact.Timestamptz.Argument(since), s.Row.Pending.Names(), s.Last.Kind.String(), [16]byte(s.Last.ID), s.Last.Ticks.Time(), int64(s.Last.Ticks), s.ChangedBy)
	} else {
		row = append(row, nil, nil, nil, nil, nil, nil, nil, nil)
	}
	wrong := func(what ...string) bool {
		return slices.ContainsFunc(differences, func(d refold.Difference) bool { return slices.Contains(what, d.What) })
	}
	row = append(row, live,
		wrong(refold.MissingRow, refold.UnexpectedRow, refold.DifferentRow),
		wrong(refold.MissingTombstone, refold.UnexpectedTombstone, refold.DifferentTombstone))
	if s.Life == contact.Gone {
		return append(row, s.Last.Ticks.Time(), c.BuriedBy, int64(s.Last.Ticks), [16]byte(s.Last.ID))
	}
	return append(row, nil, nil, nil, nil)
}
