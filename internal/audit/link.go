package audit

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
)

// Linker links rows. It keeps its buffers, so it is for one
// goroutine at a time.
type Linker struct {
	chain  *chain.Linker
	fields chain.Encoder
	// Of names.
	input bytes.Reader
	json  *jsontext.Decoder
	list  []string
}

// NewLinker makes a linker for keys, of which there may be none.
func NewLinker(keys chain.Keys) *Linker {
	l := &Linker{chain: chain.NewLinker(keys)}
	l.json = jsontext.NewDecoder(&l.input)
	return l
}

// Commit returns the commitment to the values of r: that of its salt and its
// values, or the one kept once they were erased. It does not depend on the keys. The
// error says that a value is not JSON.
func (l *Linker) Commit(r *Row) (c chain.Commitment, err error) {
	if r.Commitment != nil {
		if len(r.Commitment) != len(c) {
			return c, fmt.Errorf("audit: the stored commitment has %d bytes, not %d", len(r.Commitment), len(c))
		}
		return chain.Commitment(r.Commitment), nil
	}
	l.fields.Reset()
	for i := range committed {
		if err := encode(&l.fields, committed[i].at(r)); err != nil {
			return c, fmt.Errorf("audit: commit to %s: %w", committed[i].name, err)
		}
	}
	return l.chain.Commit(r.Salt, l.fields.Bytes()), nil
}

// names are the names in field_values in ascending order, which a link covers, so
// that erased_columns can be checked against it; once the values were erased they
// are those.
func (l *Linker) names(r *Row) ([]string, error) {
	if r.ErasedColumns != nil {
		return r.ErasedColumns, nil
	}
	l.list = l.list[:0]
	if r.FieldValues == nil {
		return l.list, nil
	}
	l.input.Reset(r.FieldValues)
	l.json.Reset(&l.input)
	_, err := l.json.ReadToken() // {
	for err == nil && l.json.PeekKind() == '"' {
		var name jsontext.Token
		if name, err = l.json.ReadToken(); err == nil {
			l.list = append(l.list, name.String())
			err = l.json.SkipValue()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("audit: names in field_values: %w", err)
	}
	slices.Sort(l.list)
	return l.list, nil
}

// Link makes r the next row of its shard's chain, after head, with the first key: it
// sets ChainSeq and Chain, and returns the new head. It covers r as it is, with a salt
// or erased.
func (l *Linker) Link(r *Row, head chain.Head) (chain.Head, error) {
	return l.link(r, head, l.chain.Next)
}

// LinkUnkeyed is [Linker.Link] without a key.
func (l *Linker) LinkUnkeyed(r *Row, head chain.Head) (chain.Head, error) {
	return l.link(r, head, l.chain.NextUnkeyed)
}

func (l *Linker) link(r *Row, head chain.Head, next func(chain.Head, []byte) chain.Head) (chain.Head, error) {
	commitment, err := l.Commit(r)
	if err != nil {
		return head, err
	}
	l.fields.Reset()
	for i := range linked {
		if err := encode(&l.fields, linked[i].at(r)); err != nil {
			return head, fmt.Errorf("audit: link %s: %w", linked[i].name, err)
		}
	}
	names, err := l.names(r)
	if err != nil {
		return head, err
	}
	l.fields.Texts(contact.OfColumns(r.ChangedColumns))
	l.fields.Texts(names)
	l.fields.Commitment(commitment)
	head = next(head, l.fields.Bytes())
	r.ChainSeq, r.Chain = head.Count, append(r.Chain[:0], head.Link[:]...)
	return head, nil
}

// Erase removes the values of r and its salt. What stays of them is the commitment
// and the names of the columns that they were given to, which for a row without
// field_values are those in ErasedColumns, if any. Names in changed_columns that are of
// no column may be any text, so they are values. The link of r stays the same.
func (l *Linker) Erase(r *Row) error {
	commitment, err := l.Commit(r)
	if err != nil {
		return err
	}
	names, err := l.names(r)
	if err != nil {
		return err
	}
	changed := contact.OfColumns(r.ChangedColumns)
	for _, c := range committed {
		reflect.ValueOf(c.at(r)).Elem().SetZero()
	}
	r.ChangedColumns = changed
	r.Salt, r.Commitment, r.ErasedColumns = nil, commitment[:], append([]string{}, names...)
	return nil
}
