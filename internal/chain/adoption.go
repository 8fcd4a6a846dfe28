package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"time"
)

// Adoption accepts the chain of a shard as it is, whether or not a key proves it.
// Its link is the shard's head from then on, with Head.Count as before.
type Adoption struct {
	Shard int16
	// Ordinal is its place among the adoptions of the shard, from 1.
	Ordinal int64
	// Through is the greatest number that a row of the log had: it is about the rows
	// of the shard up to that number.
	Through int64
	// Rows is how many these are, and Digest is of all of them.
	Rows   int64
	Digest [sha256.Size]byte
	// Head is the head that was adopted.
	Head   Head
	At     time.Time
	Actor  string
	Reason string
}

func (a *Adoption) append(buf []byte) []byte {
	buf = append(buf, ofAdoption)
	buf = binary.BigEndian.AppendUint16(buf, uint16(a.Shard))
	for _, n := range []int64{a.Ordinal, a.Through, a.Rows, a.Head.Count, a.At.UnixMicro()} {
		buf = binary.BigEndian.AppendUint64(buf, uint64(n))
	}
	buf = append(buf, a.Digest[:]...)
	buf = append(buf, a.Head.Link[:]...)
	return appendText(appendText(buf, a.Actor), a.Reason)
}

// Adopt returns the link of a, made with the first key, which there must be.
func (l *Linker) Adopt(a *Adoption) Link {
	l.buf = a.append(l.buf[:0])
	return l.link(l.buf, 0)
}

// Adopted reports whether link is that of a, made with a key, and whether that can be
// told: not without the key that link names.
func (l *Linker) Adopted(a *Adoption, link Link) (made, known bool) {
	if link.Key() == (KeyID{}) {
		return false, true
	}
	l.buf = a.append(l.buf[:0])
	return l.made(l.buf, link)
}

// Digest is a running hash of the rows of a shard as they are, and of its adoptions.
// It depends neither on whether their links hold nor on whether their values were
// erased.
type Digest struct {
	hash hash.Hash
	buf  []byte
}

// NewDigest makes the digest of no row.
func NewDigest() *Digest { return &Digest{hash: sha256.New()} }

// Add adds one row's encoded fields, or an adoption's link.
func (d *Digest) Add(encoded []byte) {
	d.buf = appendText(d.buf[:0], encoded)
	d.hash.Write(d.buf)
}

// Sum is the digest of what was added so far.
func (d *Digest) Sum() (sum [sha256.Size]byte) {
	d.hash.Sum(sum[:0])
	return sum
}
