package chain

import "encoding/binary"

// Encoder writes the fields that a hash covers, one after the other. Each field
// has a fixed length, or is preceded by its length, or says where it ends: so two
// sequences of fields of the same types have the same encoding only if they are
// equal. The zero value is empty and ready to use. It keeps its buffers, so it is
// for one goroutine at a time.
type Encoder struct {
	buf  []byte
	json encoder
}

// Reset empties e.
func (e *Encoder) Reset() { e.buf = e.buf[:0] }

// Bytes is what has been written to e since it was last empty. It is valid until
// e is reset.
func (e *Encoder) Bytes() []byte { return e.buf }

// Int16 writes a small number.
func (e *Encoder) Int16(n int16) { e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(n)) }

// Int64 writes a number.
func (e *Encoder) Int64(n int64) { e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(n)) }

// OptionalInt64 writes a number, or that there is none.
func (e *Encoder) OptionalInt64(n *int64) {
	e.buf = append(e.buf, presence(n != nil))
	if n != nil {
		e.Int64(*n)
	}
}

// Bool writes a truth value.
func (e *Encoder) Bool(b bool) { e.buf = append(e.buf, presence(b)) }

// OptionalBool writes a truth value, or that there is none.
func (e *Encoder) OptionalBool(b *bool) {
	if b == nil {
		e.buf = append(e.buf, 2)
		return
	}
	e.Bool(*b)
}

// Text writes a text.
func (e *Encoder) Text(text string) { e.buf = appendText(e.buf, text) }

// OptionalText writes a text, or that there is none.
func (e *Encoder) OptionalText(text *string) {
	e.buf = append(e.buf, presence(text != nil))
	if text != nil {
		e.Text(*text)
	}
}

// Texts writes a list of texts. Nil is the empty list.
func (e *Encoder) Texts(texts []string) {
	e.buf = binary.BigEndian.AppendUint32(e.buf, uint32(len(texts)))
	for _, text := range texts {
		e.Text(text)
	}
}

// UUID writes a UUID.
func (e *Encoder) UUID(id [16]byte) { e.buf = append(e.buf, id[:]...) }

// Commitment writes a commitment.
func (e *Encoder) Commitment(c Commitment) { e.buf = append(e.buf, c[:]...) }

// JSON writes what a JSON value says, in the form that it was written in or in
// jsonb's; nil is NULL. After an error e is to be reset.
func (e *Encoder) JSON(doc []byte) error {
	buf, err := e.json.append(e.buf, doc)
	if err != nil {
		return err
	}
	e.buf = buf
	return nil
}

func presence(there bool) byte {
	if there {
		return 1
	}
	return 0
}
