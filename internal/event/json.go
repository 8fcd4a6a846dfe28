package event

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"contactmirror/internal/contact"
)

// decoder reads one document after the other; making one costs as much as
// reading a short document.
type decoder struct {
	*jsontext.Decoder
	data bytes.Buffer
}

var (
	decoders    = sync.Pool{New: func() any { return &decoder{Decoder: new(jsontext.Decoder)} }}
	repetitions = jsontext.AllowDuplicateNames(true)
)

// decode returns a decoder of data, to be given back with done.
//
// Unlike encoding/json it keeps the case of names, and refuses invalid UTF-8 and
// lone surrogates rather than replace them.
func decode(data []byte) *decoder {
	dec := decoders.Get().(*decoder)
	dec.data = *bytes.NewBuffer(data)
	dec.Reset(&dec.data, repetitions)
	return dec
}

func (dec *decoder) done() {
	dec.data = bytes.Buffer{}
	decoders.Put(dec)
}

// members calls yield for each member of the JSON object that data holds, with
// its unquoted name, which is good until the next one, and its value, a part of
// data. Names may occur twice, which is for the caller to judge. An error of
// yield ends the walk and is returned.
func members(data []byte, yield func(name []byte, value jsontext.Value) error) error {
	dec := decode(data)
	defer dec.done()
	if kind := dec.PeekKind(); kind != '{' && kind != 0 {
		return errors.New("is not a JSON object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return notJSON(err)
	}
	for dec.PeekKind() != '}' {
		quoted, err := dec.ReadValue()
		if err != nil {
			return notJSON(err)
		}
		end := int(dec.InputOffset())
		name := content(data[end-len(quoted) : end])
		value, err := dec.ReadValue()
		if err != nil {
			return notJSON(err)
		}
		end = int(dec.InputOffset())
		if err := yield(name, data[end-len(value):end]); err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return notJSON(err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("has data after its JSON object")
	}
	return nil
}

// notJSON words a decoder's error. Its text may quote the input, so it is cut.
func notJSON(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return errors.New("is not JSON: " + cut(strings.TrimPrefix(err.Error(), "jsontext: "), 160))
}

// cut shortens s to at most n bytes, on a rune's edge.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// text returns the content of a valid JSON string.
func text(quoted jsontext.Value) string { return string(content(quoted)) }

// content is text in bytes, a part of quoted where nothing is escaped.
func content(quoted []byte) []byte {
	if inside := quoted[1 : len(quoted)-1]; bytes.IndexByte(inside, '\\') < 0 {
		return inside
	}
	unquoted, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		panic(err) // the decoder has accepted it
	}
	return unquoted
}

// scalar is a valid JSON value as the fold takes it.
func scalar(value jsontext.Value) contact.Scalar {
	switch value.Kind() {
	case 'n':
		return contact.Scalar{Kind: contact.Null}
	case 't', 'f':
		return contact.Scalar{Kind: contact.Bool, Text: string(value)}
	case '0':
		return contact.Scalar{Kind: contact.Number, Text: string(value)}
	case '"':
		return contact.Scalar{Kind: contact.String, Text: text(value)}
	}
	return contact.Scalar{Kind: contact.Composite}
}

// hasNUL reports whether s holds the one character that PostgreSQL's texts and
// jsonb can't.
func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }
