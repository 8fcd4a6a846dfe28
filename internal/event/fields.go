package event

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"contactmirror/internal/contact"
)

// value returns the member f, nil where it is missing or null. A key that
// occurs twice says two things, so neither is believed.
func (env *envelope) value(f field) (jsontext.Value, error) {
	if env.count[f] > 1 {
		return nil, invalid(f, "occurs %d times", env.count[f])
	}
	if v := env.values[f]; len(v) > 0 && v.Kind() != 'n' {
		return v, nil
	}
	return nil, nil
}

func (env *envelope) text(f field) (*string, error) {
	v, err := env.value(f)
	if v == nil {
		return nil, err
	}
	if v.Kind() != '"' {
		return nil, invalid(f, "is no string")
	}
	s := text(v)
	if hasNUL(s) {
		return nil, invalid(f, "holds a NUL character")
	}
	return &s, nil
}

// integer takes a number given as a string, too.
func (env *envelope) integer(f field) (*int64, error) {
	v, err := env.value(f)
	if v == nil {
		return nil, err
	}
	n, ok := contact.ParseInt(scalar(v))
	if !ok {
		return nil, invalid(f, "%s is no integer of 64 bits", cut(string(v), 40))
	}
	return &n, nil
}

func (env *envelope) tenant() (string, error) {
	s, err := env.text(contextIdentifier)
	switch {
	case err != nil:
		return "", err
	case s == nil: // an installation on site
		return "", nil
	case len(*s) > MaxName:
		return "", invalid(contextIdentifier, "is longer than %d bytes", MaxName)
	}
	return *s, nil
}

func (env *envelope) id() (contact.EventID, error) {
	s, err := env.text(eventID)
	if err != nil {
		return contact.EventID{}, err
	}
	if s == nil {
		return contact.EventID{}, invalid(eventID, "is missing")
	}
	id, ok := parseGUID(*s)
	if !ok {
		return contact.EventID{}, invalid(eventID, "%q is no GUID", cut(*s, 60))
	}
	return id, nil
}

// parseGUID reads the spellings that .NET writes and reads (N, D, B, P), and
// urn:uuid:.
func parseGUID(s string) (id contact.EventID, ok bool) {
	s = strings.TrimPrefix(strings.ToLower(s), "urn:uuid:")
	if n := len(s); n == 38 && (s[0] == '{' && s[n-1] == '}' || s[0] == '(' && s[n-1] == ')') {
		s = s[1 : n-1]
	}
	if len(s) == 36 {
		if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
			return id, false
		}
		s = s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	}
	if len(s) != 32 {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err == nil
}

// The years that SQL Server's datetime and a sane clock have in common; .NET's
// DateTime.MinValue and MaxValue, which mean "not set", lie outside.
const firstYear, lastYear = 1753, 9998

func (env *envelope) occurred() (contact.Ticks, error) {
	s, err := env.text(timestamp)
	if err != nil {
		return 0, err
	}
	if s == nil {
		return 0, invalid(timestamp, "is missing")
	}
	ticks, err := contact.ParseTime(*s)
	if err != nil {
		return 0, invalid(timestamp, "%v", err)
	}
	if year := ticks.Time().Year(); year < firstYear || year > lastYear {
		return 0, invalid(timestamp, "%s is not in the years %d to %d", cut(*s, 40), firstYear, lastYear)
	}
	return ticks, nil
}

func (env *envelope) changes() ([]string, error) {
	names := make([]string, 0, 8)
	v, err := env.value(changes)
	if v == nil {
		return names, err
	}
	if v.Kind() != '[' {
		return nil, invalid(changes, "is no list")
	}
	dec := decode(v)
	defer dec.done()
	if _, err := dec.ReadToken(); err != nil {
		return nil, invalid(changes, "%v", err)
	}
	for dec.PeekKind() != ']' {
		item, err := dec.ReadValue()
		if err != nil {
			return nil, invalid(changes, "%v", err)
		}
		if item.Kind() != '"' {
			return nil, invalid(changes, "holds %s, which is no string", cut(string(item), 40))
		}
		name := content(item)
		if bytes.IndexByte(name, 0) >= 0 {
			return nil, invalid(changes, "holds a NUL character")
		}
		names = append(names, columnName(name))
	}
	return names, nil
}

// columnName is name as a string; nearly every one is a column's, and has one.
func columnName(name []byte) string {
	if c, ok := contact.BySource(string(name)); ok {
		return c.Spec().Source
	}
	return string(name)
}

// object returns the member f, which must be an object where there is one.
func (env *envelope) object(f field) (jsontext.Value, error) {
	v, err := env.value(f)
	if v != nil && v.Kind() != '{' {
		return nil, invalid(f, "is no object")
	}
	return v, err
}

// idValues takes the scalars of Values; what is deeper stays in the body.
func (env *envelope) idValues() ([]byte, error) {
	v, err := env.object(values)
	if v == nil {
		return nil, err
	}
	object := newObject(len(v))
	seen := map[string]bool{}
	err = members(v, func(nameBytes []byte, value jsontext.Value) error {
		name := columnName(nameBytes)
		if seen[name] {
			return invalid(values, "holds %s twice", strconv.Quote(cut(name, 60)))
		}
		seen[name] = true
		s := scalar(value)
		if hasNUL(name) || s.Kind == contact.String && hasNUL(s.Text) {
			return invalid(values, "holds a NUL character")
		}
		if s.Kind != contact.Composite && (s.Kind != contact.Number || storable(s.Text)) {
			object.add(name, value)
		}
		return nil
	})
	return object.bytes(), err
}

// storable reports whether jsonb surely holds the number, which it keeps as a
// numeric: 16,383 digits after the point, 131,072 before it, be they all zeros.
func storable(number string) bool {
	mantissa, exponent, scaled := strings.Cut(strings.ToLower(number), "e")
	if !scaled {
		return len(mantissa) <= 64
	}
	n, err := strconv.Atoi(exponent)
	return err == nil && len(mantissa) <= 64 && n >= -300 && n <= 300
}

// fieldValues reads the values of our columns into c.FieldValues and returns
// them, with the columns that an event of the time occurred can't mean by them.
func (env *envelope) fieldValues(c *Contact, occurred contact.Ticks) (cells []contact.Cell, unreadable contact.Set, err error) {
	v, err := env.object(fieldValues)
	if v == nil {
		return nil, 0, err
	}
	object := newObject(len(v))
	cells = make([]contact.Cell, 0, 13) // as many as SuperOffice sends
	var seen contact.Set
	err = members(v, func(nameBytes []byte, value jsontext.Value) error {
		column, ok := contact.BySource(string(nameBytes))
		if !ok {
			return nil
		}
		name := column.Spec().Source
		if seen.Has(column) {
			return invalid(fieldValues, "holds %s twice", name)
		}
		seen |= contact.SetOf(column)
		decoded, ok := contact.Decode(column, scalar(value), occurred)
		if !ok {
			unreadable |= contact.SetOf(column)
			return nil
		}
		if hasNUL(decoded.Text()) {
			return invalid(fieldValues, "holds a NUL character in %s", name)
		}
		cells = append(cells, contact.Cell{Column: column, Value: decoded})
		object.add(name, value)
		return nil
	})
	c.FieldValues = object.bytes()
	return cells, unreadable, err
}

// Cells reads back what [Contact] holds as FieldValues, of an event of the time
// occurred. A member that is no readable value of a contact column is an error:
// Parse lets none pass.
func Cells(fieldValues []byte, occurred contact.Ticks) (cells []contact.Cell, err error) {
	if fieldValues == nil {
		return nil, nil
	}
	err = members(fieldValues, func(name []byte, value jsontext.Value) error {
		column, known := contact.BySource(string(name))
		decoded, ok := contact.Decode(column, scalar(value), occurred)
		if !known || !ok {
			return fmt.Errorf("%s is no value of %s", cut(string(value), 40), cut(string(name), 40))
		}
		cells = append(cells, contact.Cell{Column: column, Value: decoded})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("event: read field values back: %w", err)
	}
	return cells, nil
}

// object writes a JSON object from members that are valid JSON already.
type object struct{ b []byte }

// newObject makes one that has room for size bytes.
func newObject(size int) *object { return &object{b: append(make([]byte, 0, size), '{')} }

func (o *object) add(name string, value jsontext.Value) {
	if len(o.b) > 1 {
		o.b = append(o.b, ',')
	}
	o.b, _ = jsontext.AppendQuote(o.b, name) // fails on invalid UTF-8 only
	o.b = append(append(o.b, ':'), value...)
}

func (o *object) bytes() []byte { return append(o.b, '}') }
