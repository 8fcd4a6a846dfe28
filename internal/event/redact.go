package event

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"contactmirror/internal/contact"
)

// redactedHeader is the first line of a redacted body. No event can begin with it,
// for it is not JSON; a delivery that is none can, so bytes are read as redacted
// only where they were stored as an event, or the database says that it redacted them.
const redactedHeader = "contactmirror redacted body 1\n"

// redacted is what [Redact] keeps of a contact event.
type redacted struct {
	// Event is the envelope as it was sent, without values, and without names in
	// Changes that are of no column.
	Event json.RawMessage `json:"event"`
	// ErasedColumns are the columns to which the event gave a value, Unreadable
	// those to which it gave one that can't be read, under SuperOffice's names.
	ErasedColumns []string `json:"erased_columns"`
	Unreadable    []string `json:"unreadable_columns"`
	// SoftDeleted is what the event says of the soft-delete flag; nil for nothing.
	SoftDeleted *bool `json:"soft_deleted"`
}

// envelopeFields are the members that [Redact] keeps.
var envelopeFields = []field{eventID, timestamp, eventName, entity, primaryKey, changes, contextIdentifier, changedBy, webhookName}

// Redact returns body, a contact event, without its values. What is left is read
// by [ParseStored] as the fact without its values: it has the same order, author
// and names of columns, and says the same of the soft-delete flag. A redacted
// body stays one. ok is false where body is no contact event that can
// be read, so that nothing tells its envelope from its values.
func Redact(body []byte) (without []byte, ok bool) {
	if text, ok := bytes.CutPrefix(body, []byte(redactedHeader)); ok {
		var r redacted
		if _, err := parseRedacted(body, time.Time{}); err != nil || json.Unmarshal(text, &r) != nil {
			return nil, false
		}
		r.Event = Scan(r.Event).redactedEnvelope()
		return r.body()
	}
	s := Scan(body)
	e, err := s.Event(time.Time{})
	if err != nil || e.Contact == nil {
		return nil, false
	}
	r := redacted{Event: s.redactedEnvelope(), ErasedColumns: []string{}, Unreadable: e.Contact.Unreadable}
	for _, cell := range e.Contact.Fact.Given {
		r.ErasedColumns = append(r.ErasedColumns, cell.Column.Spec().Source)
	}
	slices.Sort(r.ErasedColumns)
	if flag := e.Contact.Fact.SoftDeleted(); flag != contact.Silent {
		deleted := flag == contact.IsDeleted
		r.SoftDeleted = &deleted
	}
	return r.body()
}

// redactedEnvelope is the members of the envelope that are no values.
func (s *Scanned) redactedEnvelope() []byte {
	envelope := newObject(512)
	for _, f := range envelopeFields {
		value, err := s.env.value(f)
		switch {
		case err != nil || value == nil:
		case f == changes:
			envelope.add(fieldNames[f], s.env.columnChanges())
		default:
			envelope.add(fieldNames[f], value)
		}
	}
	return envelope.bytes()
}

// columnChanges is the names in Changes that are of columns. Others may be any text.
func (env *envelope) columnChanges() jsontext.Value {
	names, _ := env.changes() // none where they can't be read
	list := []byte{'['}
	for i, name := range contact.OfColumns(names) {
		if i > 0 {
			list = append(list, ',')
		}
		list, _ = jsontext.AppendQuote(list, name) // the names of columns are valid UTF-8
	}
	return append(list, ']')
}

func (r *redacted) body() (body []byte, ok bool) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, false
	}
	return append([]byte(redactedHeader), text...), true
}

// ParseStored reads the stored body of a delivery, redacted or as it was sent.
// The Timestamp is held against at; a zero at asks nothing of it, for an event
// that has been accepted stays one, whatever the clock was then.
func ParseStored(body []byte, at time.Time) (Event, error) {
	if bytes.HasPrefix(body, []byte(redactedHeader)) {
		return parseRedacted(body, at)
	}
	return Scan(body).Event(at)
}

func parseRedacted(body []byte, at time.Time) (Event, error) {
	var r redacted
	text, ok := bytes.CutPrefix(body, []byte(redactedHeader))
	if !ok {
		return Event{}, &InvalidError{Reason: "the body is not redacted"}
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return Event{}, &InvalidError{Reason: "the redacted body can't be read: " + err.Error()}
	}
	e, err := Scan(r.Event).Event(at)
	if err != nil {
		return Event{}, err
	}
	if e.Contact == nil {
		return Event{}, &InvalidError{Reason: "the redacted body is no contact event"}
	}
	c := e.Contact
	if c.FieldValues != nil || c.IDValues != nil {
		return Event{}, &InvalidError{Reason: "the redacted body holds values"}
	}
	c.Unreadable, c.Erased = append([]string{}, r.Unreadable...), append([]string{}, r.ErasedColumns...)
	var said contact.Set
	for _, name := range slices.Concat(c.Unreadable, c.Erased) {
		column, ok := contact.BySource(name)
		if !ok {
			return Event{}, &InvalidError{Reason: "the redacted body names a column that does not exist"}
		}
		said |= contact.SetOf(column)
	}
	c.Fact = contact.NewFact(c.Fact.Order, c.Fact.ChangedBy, c.Changes, nil, said).Erase()
	switch {
	case r.SoftDeleted == nil:
		c.Fact.Flag = contact.Silent
	case *r.SoftDeleted:
		c.Fact.Flag = contact.IsDeleted
	default:
		c.Fact.Flag = contact.NotDeleted
	}
	return e, nil
}
