package audit

import (
	"errors"
	"fmt"
	"reflect"

	"contactmirror/internal/chain"
)

// Linker links rows with one key. It keeps its buffers, so it is for one
// goroutine at a time.
type Linker struct {
	chain  *chain.Linker
	fields chain.Encoder
}

// NewLinker makes a linker for key, which may be nil.
func NewLinker(key *chain.Key) *Linker { return &Linker{chain: chain.NewLinker(key)} }

// Commit returns the commitment to the values of r: that of its salt and its
// values, or the one kept once they were erased. It does not depend on the key. The
// error says that a value is not JSON.
func (l *Linker) Commit(r *Row) (c chain.Commitment, err error) {
	if r.Commitment != nil {
		if len(r.Commitment) != len(c) {
			return c, errors.New("audit: the commitment is none")
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

// Link makes r the next row of its shard's chain, which ends in head: it sets
// ChainSeq and Chain, and returns the new head. It covers r as it is, with a salt or
// erased.
func (l *Linker) Link(r *Row, head chain.Head) (chain.Head, error) {
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
	l.fields.Commitment(commitment)
	head = l.chain.Next(r.Shard, head, l.fields.Bytes())
	r.ChainSeq, r.Chain = head.Count, append(r.Chain[:0], head.Link[:]...)
	return head, nil
}

// Erase removes the values of r and its salt. What stays of them is the commitment
// and the names of the columns that they were given to. The link of r stays the same.
func (l *Linker) Erase(r *Row, columns []string) error {
	commitment, err := l.Commit(r)
	if err != nil {
		return err
	}
	for _, c := range committed {
		reflect.ValueOf(c.at(r)).Elem().SetZero()
	}
	r.Salt, r.Commitment, r.ErasedColumns = nil, commitment[:], columns
	return nil
}
