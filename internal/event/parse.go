package event

import (
	"bytes"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"contactmirror/internal/contact"
)

// field is a key of the envelope that is read. Keys match case and all, for
// properties that a webhook injects may be called event.
type field uint8

const (
	eventID field = iota
	timestamp
	eventName
	entity
	primaryKey
	changes
	values
	fieldValues
	contextIdentifier
	changedBy
	webhookName
	numFields
)

var fieldNames = [numFields]string{
	"EventId", "Timestamp", "Event", "Entity", "PrimaryKey", "Changes", "Values", "FieldValues",
	"ContextIdentifier", "ChangedByAssociateId", "WebhookName",
}

// envelope is a delivery's members, not yet read.
type envelope struct {
	values [numFields]jsontext.Value
	count  [numFields]int
}

// Parse reads the body of a delivery that was received at receivedAt. A body
// that is no acceptable event is an [*InvalidError]; there is no other error.
func Parse(body []byte, receivedAt time.Time) (Event, error) {
	return Scan(body).Event(receivedAt)
}

// Scanned is a delivery taken apart into its members, but not yet read.
type Scanned struct {
	env envelope
	err error
}

// byteOrderMark is what some .NET writers put before UTF-8. The signature covers
// it, JSON does not allow it.
var byteOrderMark = []byte("\ufeff")

// Scan takes body apart; one leading byte-order mark is skipped. It is asked for
// before anybody has vouched for the body; then only [Scanned.Tenant] may be,
// solely to choose the secret to check the body with.
func Scan(body []byte) *Scanned {
	s := &Scanned{}
	err := members(bytes.TrimPrefix(body, byteOrderMark), func(name []byte, value jsontext.Value) error {
		for f, n := range fieldNames {
			if n == string(name) {
				if s.env.count[f]++; s.env.count[f] == 1 {
					s.env.values[f] = value
				}
			}
		}
		return nil
	})
	if err != nil {
		s.err = &InvalidError{Reason: "the body " + err.Error()}
	}
	return s
}

// Tenant is the ContextIdentifier. An absent or null one is readable, and empty.
// known is false where there is one that can't be read, so that it names no
// tenant (of another type, given twice, too long, or with characters that can't
// be stored); [Scanned.Event] refuses such a delivery, whatever event it is. Of a
// body that is broken somewhere, what stands before the break counts.
func (s *Scanned) Tenant() (tenant string, known bool) {
	if s.err != nil && s.env.count[contextIdentifier] == 0 {
		return "", false
	}
	tenant, err := s.env.tenant()
	return tenant, err == nil
}

// Event reads the delivery as one that came at a time; see [Parse].
func (s *Scanned) Event(at time.Time) (Event, error) {
	if s.err != nil {
		return Event{}, s.err
	}
	name, err := s.env.name()
	if err != nil {
		return Event{}, err
	}
	if kind, ok := contact.ParseKind(name); ok {
		return s.env.contactEvent(kind, at)
	}
	return s.env.ignoredEvent(name)
}

// name is the event's name, which decides what else is asked of it.
func (env *envelope) name() (string, error) {
	name, err := env.text(eventName)
	switch {
	case err != nil:
		return "", err
	case name == nil:
		return "", invalid(eventName, "is missing")
	case len(*name) > MaxName:
		return "", invalid(eventName, "is longer than %d bytes", MaxName)
	}
	return *name, nil
}

// ignoredEvent takes what it can: nothing of an event that is never applied can
// be wrong enough to refuse it, but the tenant that it would count for.
func (env *envelope) ignoredEvent(name string) (e Event, err error) {
	e.Name = name
	if e.Tenant, err = env.tenant(); err != nil {
		return Event{}, err
	}
	if id, err := env.id(); err == nil {
		e.ID = &id
	}
	if n, err := env.integer(primaryKey); err == nil {
		e.PrimaryKey = n
	}
	if ticks, err := env.occurred(); err == nil {
		e.Occurred = &ticks
	}
	e.Entity, _ = env.text(entity)
	e.WebhookName, _ = env.text(webhookName)
	return e, nil
}

func (env *envelope) contactEvent(kind contact.Kind, at time.Time) (Event, error) {
	e := Event{Name: kind.String(), Contact: &Contact{}}
	id, err := env.id()
	if err != nil {
		return Event{}, err
	}
	ticks, err := env.occurred()
	if err != nil {
		return Event{}, err
	}
	if limit := contact.TicksOf(at.Add(futureLimit)); !at.IsZero() && ticks > limit {
		return Event{}, invalid(timestamp, "%s lies more than a day ahead of its receipt", ticks.Time().Format(time.RFC3339))
	}
	if e.Tenant, err = env.tenant(); err != nil {
		return Event{}, err
	}
	if e.PrimaryKey, err = env.integer(primaryKey); err != nil {
		return Event{}, err
	}
	if e.PrimaryKey == nil || *e.PrimaryKey < 1 {
		return Event{}, invalid(primaryKey, "is missing or below 1")
	}
	if e.Entity, err = env.text(entity); err != nil {
		return Event{}, err
	}
	if e.WebhookName, err = env.text(webhookName); err != nil {
		return Event{}, err
	}
	e.ID, e.Occurred = &id, &ticks
	e.Contact.Key = contact.Key{Tenant: e.Tenant, ID: *e.PrimaryKey}
	return e, env.contents(e.Contact, contact.Order{Ticks: ticks, Kind: kind, ID: id})
}

// contents reads what a contact event says of its contact.
func (env *envelope) contents(c *Contact, order contact.Order) error {
	by, err := env.integer(changedBy)
	if err != nil {
		return err
	}
	if c.Changes, err = env.changes(); err != nil {
		return err
	}
	if c.IDValues, err = env.idValues(); err != nil {
		return err
	}
	cells, unreadable, err := env.fieldValues(c, order.Ticks)
	if err != nil {
		return err
	}
	c.Unreadable = []string{}
	for column := range unreadable.All() {
		c.Unreadable = append(c.Unreadable, column.Spec().Source)
	}
	c.Fact = contact.NewFact(order, by, c.Changes, cells, unreadable)
	return nil
}

func invalid(f field, format string, args ...any) *InvalidError {
	return &InvalidError{Field: fieldNames[f], Reason: fmt.Sprintf(format, args...)}
}
