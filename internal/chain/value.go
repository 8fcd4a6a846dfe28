package chain

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// encoder appends JSON in a form that depends on nothing but what it says: the
// members of an object by name, every text with its length, numbers as digits
// and an exponent, and each value behind a letter for its kind. No two things
// that JSON can say have the same form.
type encoder struct {
	input bytes.Reader
	json  *jsontext.Decoder
	// members are those of the objects under way, where they begin and end in
	// the output; sorted is one object's, on its way.
	members []member
	sorted  []byte
	text    []byte
}

type member struct{ begin, value, end int }

// newDecoder reads what jsonb has kept, so names are known to be unique; were
// they not, the check after sorting finds it.
func newDecoder(r io.Reader) *jsontext.Decoder {
	return jsontext.NewDecoder(r, jsontext.AllowDuplicateNames(true))
}

// append appends the encoding of doc, one JSON value; nil is NULL.
func (e *encoder) append(to, doc []byte) ([]byte, error) {
	if doc == nil {
		return append(to, 'N'), nil
	}
	e.input.Reset(doc)
	if e.json == nil {
		e.json = newDecoder(&e.input)
	} else {
		e.json.Reset(&e.input, jsontext.AllowDuplicateNames(true))
	}
	e.members = e.members[:0]
	to, err := e.value(to)
	if err != nil {
		return nil, fmt.Errorf("chain: encode a value: %w", err)
	}
	if e.json.PeekKind() != 0 {
		return nil, errors.New("chain: encode a value: there is more behind it")
	}
	return to, nil
}

func (e *encoder) value(to []byte) ([]byte, error) {
	switch e.json.PeekKind() {
	case '{':
		return e.object(to)
	case '[':
		return e.array(to)
	}
	raw, err := e.json.ReadValue()
	if err != nil {
		return nil, err
	}
	switch kind := raw.Kind(); kind {
	case '"':
		return e.string(append(to, 's'), raw)
	case '0':
		return appendNumber(append(to, 'd'), raw)
	default: // n, t, f
		return append(to, byte(kind)), nil
	}
}

func (e *encoder) string(to []byte, quoted jsontext.Value) ([]byte, error) {
	if inside := quoted[1 : len(quoted)-1]; bytes.IndexByte(inside, '\\') < 0 {
		return appendText(to, inside), nil
	}
	text, err := jsontext.AppendUnquote(e.text[:0], []byte(quoted))
	e.text = text
	return appendText(to, text), err
}

func (e *encoder) array(to []byte) ([]byte, error) {
	if _, err := e.json.ReadToken(); err != nil {
		return nil, err
	}
	to = append(to, '[')
	for e.json.PeekKind() != ']' {
		var err error
		if to, err = e.value(to); err != nil {
			return nil, err
		}
	}
	_, err := e.json.ReadToken()
	return append(to, ']'), err
}

func (e *encoder) object(to []byte) ([]byte, error) {
	if _, err := e.json.ReadToken(); err != nil {
		return nil, err
	}
	to = append(to, '{')
	first, start := len(e.members), len(to)
	for e.json.PeekKind() != '}' {
		m := member{begin: len(to)}
		name, err := e.json.ReadValue()
		if err != nil {
			return nil, err
		}
		if to, err = e.string(to, name); err != nil {
			return nil, err
		}
		m.value = len(to)
		if to, err = e.value(to); err != nil {
			return nil, err
		}
		m.end = len(to)
		e.members = append(e.members, m)
	}
	if _, err := e.json.ReadToken(); err != nil {
		return nil, err
	}
	if err := e.sort(to, start, e.members[first:]); err != nil {
		return nil, err
	}
	e.members = e.members[:first]
	return append(to, '}'), nil
}

// sort brings the members of an object, which begins at start, into the order
// of their names' encodings.
func (e *encoder) sort(object []byte, start int, members []member) error {
	name := func(m member) []byte { return object[m.begin:m.value] }
	slices.SortFunc(members, func(a, b member) int { return bytes.Compare(name(a), name(b)) })
	e.sorted = e.sorted[:0]
	for i, m := range members {
		if i > 0 && bytes.Equal(name(m), name(members[i-1])) {
			return errors.New("a member occurs twice")
		}
		e.sorted = append(e.sorted, object[m.begin:m.end]...)
	}
	copy(object[start:], e.sorted)
	return nil
}

// appendNumber appends a JSON number as an integer without zeros at its end, and
// the power of ten to multiply it by: 1e2, 100 and 100.0 are the same.
func appendNumber(to, literal []byte) ([]byte, error) {
	mantissa, exponent := literal, 0
	if i := bytes.IndexAny(literal, "eE"); i >= 0 {
		n, err := strconv.Atoi(string(literal[i+1:]))
		if err != nil {
			return nil, err
		}
		mantissa, exponent = literal[:i], n
	}
	negative := mantissa[0] == '-'
	whole, fraction, _ := bytes.Cut(bytes.TrimPrefix(mantissa, []byte("-")), []byte("."))
	start := len(to)
	if negative {
		to = append(to, '-')
	}
	digits := len(to)
	to = append(append(to, whole...), fraction...)
	exponent -= len(fraction)
	leading := 0
	for leading < len(to)-digits-1 && to[digits+leading] == '0' {
		leading++
	}
	to = slices.Delete(to, digits, digits+leading)
	for len(to) > digits+1 && to[len(to)-1] == '0' {
		to = to[:len(to)-1]
		exponent++
	}
	if to[digits] == '0' { // zero has no sign and no size
		to, exponent = append(to[:start], '0'), 0
	}
	to = strconv.AppendInt(append(to, 'e'), int64(exponent), 10)
	return append(to, ';'), nil
}

func appendText[T ~string | ~[]byte](to []byte, text T) []byte {
	to = binary.BigEndian.AppendUint32(to, uint32(len(text)))
	return append(to, text...)
}
