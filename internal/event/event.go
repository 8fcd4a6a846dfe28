package event

import (
	"strings"
	"time"

	"contactmirror/internal/contact"
)

// MaxName is the length, in bytes, up to which a ContextIdentifier and an event
// name are taken; both are part of an index key.
const MaxName = 255

// Event is one delivery, read.
type Event struct {
	// Tenant is the ContextIdentifier, empty where the event has none.
	Tenant string
	// Name is SuperOffice's name of the event, verbatim.
	Name string
	// ID is the EventId; nil only in an ignored event without a readable one.
	ID *contact.EventID
	// PrimaryKey is nil only in an ignored event without a readable one.
	PrimaryKey *int64
	// Occurred is the Timestamp; nil only in an ignored event without a readable one.
	Occurred    *contact.Ticks
	Entity      *string
	WebhookName *string
	// Contact is nil for an event that is not one of the four contact events.
	Contact *Contact
}

// Ignored reports whether e is no contact event: kept, but never applied.
func (e *Event) Ignored() bool { return e.Contact == nil }

// OfContact reports whether e is about a contact, so that its PrimaryKey is a contact's
// id, as contactmirror_is_of_contact decides in SQL: ignored events may be.
func (e *Event) OfContact() bool {
	return strings.HasPrefix(e.Name, "contact.") || e.Entity != nil && strings.EqualFold(*e.Entity, "contact")
}

// Contact is what a contact event says beyond its envelope.
type Contact struct {
	Key  contact.Key
	Fact contact.Fact
	// Changes is the names of the changed columns, verbatim; never nil.
	Changes []string
	// FieldValues is the readable values of contact columns as a JSON object, as
	// sent, under SuperOffice's names; nil where the event has no FieldValues.
	FieldValues []byte
	// IDValues is the scalars of Values as a JSON object; nil where the event has
	// no Values.
	IDValues []byte
	// Unreadable is SuperOffice's names of the columns whose values can't be
	// read, see [contact.Decode]; never nil.
	Unreadable []string
	// Erased is set in a redacted event: SuperOffice's names of the columns to which
	// it gave values.
	Erased []string
}

// InvalidError says why a delivery can't be accepted as an event.
type InvalidError struct {
	// Field is the key at fault, empty where the body as a whole is.
	Field  string
	Reason string
}

func (e *InvalidError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + " " + e.Reason
}

// futureLimit is how far a Timestamp may lie ahead of its receipt. Anything
// later would win every fold for ever.
const futureLimit = 24 * time.Hour
