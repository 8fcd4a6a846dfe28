package refold

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"contactmirror/internal/contact"
)

// What is different of a contact.
const (
	MissingRow       = "missing row"
	UnexpectedRow    = "unexpected row"
	DifferentRow     = "different row"
	MissingTombstone = "missing tombstone"
	// UnexpectedTombstone stands of a contact that no logged event deletes.
	UnexpectedTombstone = "unexpected tombstone"
	DifferentTombstone  = "different tombstone"
	// UnreadableLog is that the log can't be folded, whatever the mirror holds.
	UnreadableLog = "unreadable log"
)

// Difference is what the mirror holds of a contact and the log does not say.
type Difference struct {
	Tenant    string   `json:"context_identifier"`
	ContactID int64    `json:"contact_id"`
	What      string   `json:"what"`
	Columns   []Column `json:"columns,omitempty"`
	Reason    string   `json:"reason,omitempty"`
}

// Column is a column that differs: what the mirror holds, and what the log says.
// Values are as JSON has them.
type Column struct {
	Name   string `json:"column"`
	Stored any    `json:"stored"`
	Logged any    `json:"logged"`
}

// Differences compares what the log makes of c with what the mirror holds of it.
func (c *Contact) Differences() []Difference {
	var found []Difference
	add := func(what string, columns ...Column) {
		found = append(found, Difference{Tenant: c.Key.Tenant, ContactID: c.Key.ID, What: what, Columns: columns})
	}
	if c.Unreadable != nil {
		return []Difference{{Tenant: c.Key.Tenant, ContactID: c.Key.ID, What: UnreadableLog, Reason: c.Unreadable.Error()}}
	}
	live, gone := c.Folded.Life == contact.Live, c.Folded.Life == contact.Gone
	switch {
	case live && c.Row == nil:
		add(MissingRow)
	case !live && c.Row != nil:
		add(UnexpectedRow)
	case live:
		if columns := c.rowColumns(); len(columns) > 0 {
			add(DifferentRow, columns...)
		}
	}
	switch {
	case gone && c.Tombstone == nil:
		add(MissingTombstone)
	case !gone && c.Tombstone != nil:
		add(UnexpectedTombstone)
	case gone:
		if columns := c.tombstoneColumns(); len(columns) > 0 {
			add(DifferentTombstone, columns...)
		}
	}
	return found
}

// columns gathers what differs.
type columns []Column

func compare[T comparable](c *columns, name string, stored, logged T, show func(T) any) {
	if stored != logged {
		*c = append(*c, Column{name, show(stored), show(logged)})
	}
}

func asIs[T any](v T) any { return v }

func (c *Contact) rowColumns() columns {
	var found columns
	stored, want := c.Row, &c.Folded
	for column := 1; column < contact.NumColumns; column++ {
		spec := contact.Columns[column]
		compare(&found, spec.Name, stored.Values[column], want.Row.Values[column], func(v contact.Value) any { return shown(spec.Type, v) })
	}
	compare(&found, "soft_deleted", stored.SoftDeleted, want.Row.SoftDeleted, asIs)
	compare(&found, "soft_deleted_at", stored.SoftDeletedAt, want.Row.SoftDeletedAt, func(us int64) any {
		if us == 0 {
			return nil
		}
		return shown(contact.Timestamptz, contact.MicrosValue(us))
	})
	if stored.Pending != want.Row.Pending || len(stored.Odd) > 0 {
		found = append(found, Column{"pending_columns", slices.Concat(stored.Pending.Names(), stored.Odd), want.Row.Pending.Names()})
	}
	compare(&found, "last_event", stored.LastEvent, want.Last.Kind.String(), asIs)
	compare(&found, "last_event_id", stored.LastEventID, want.Last.ID, func(id contact.EventID) any { return id.String() })
	compare(&found, "last_event_at", stored.LastEventAt, contact.MicrosValue(want.Last.Ticks.Micros()), shownTime)
	compare(&found, "last_event_ticks", stored.LastTicks, want.Last.Ticks, asIs)
	if by := want.ChangedBy; (stored.ChangedBy == nil) != (by == nil) || by != nil && *by != *stored.ChangedBy {
		found = append(found, Column{"last_changed_by_associate_id", stored.ChangedBy, by})
	}
	return found
}

func (c *Contact) tombstoneColumns() columns {
	var found columns
	stored, last := c.Tombstone, c.Folded.Last
	compare(&found, "deleted_at", stored.DeletedAt, contact.MicrosValue(last.Ticks.Micros()), shownTime)
	compare(&found, "event_seq", stored.EventSeq, c.BuriedBy, asIs)
	compare(&found, "occurred_ticks", stored.Ticks, last.Ticks, asIs)
	compare(&found, "event_id", stored.EventID, last.ID, func(id contact.EventID) any { return id.String() })
	return found
}

// shown is a value as a report has it, also where it is a time that no event can
// give: JSON has no form for years before 0 and after 9999.
func shown(t contact.Type, v contact.Value) any {
	value := t.JSON(v)
	if at, ok := value.(time.Time); ok && (at.Year() < 0 || at.Year() > 9999) {
		return at.Format(time.RFC3339Nano)
	}
	return value
}

func shownTime(v contact.Value) any { return shown(contact.Timestamptz, v) }

// String is the difference on one line, for people.
func (d Difference) String() string {
	line := fmt.Sprintf("contact %d of tenant %q: %s", d.ContactID, d.Tenant, d.What)
	if d.Reason != "" {
		line += ": " + d.Reason
	}
	parts := make([]string, len(d.Columns))
	for i, c := range d.Columns {
		parts[i] = c.String()
	}
	if len(parts) > 0 {
		line += ": " + strings.Join(parts, ", ")
	}
	return line
}

// String is the column with both its values, texts quoted.
func (c Column) String() string {
	return fmt.Sprintf("%s %s → %s", c.Name, word(c.Stored), word(c.Logged))
}

func word(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case string:
		return fmt.Sprintf("%q", v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case []string:
		return "{" + strings.Join(v, ",") + "}"
	case *int64:
		if v == nil {
			return "NULL"
		}
		return fmt.Sprint(*v)
	}
	return fmt.Sprint(v)
}
