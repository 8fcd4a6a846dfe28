package chain

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
)

const (
	// SaltSize is the length of a row's salt in bytes.
	SaltSize = 16

	idSize = 4
	// LinkSize is the length of a link in bytes.
	LinkSize = idSize + sha256.Size
)

// What a hash is of, its first byte.
const (
	ofRow      = 1
	ofHead     = 2
	ofKey      = 3
	ofAdoption = 4
)

// Link is one row's link, as it is stored: the key's id, then the hash. The zero
// value stands before the first row.
type Link [LinkSize]byte

// Key is the id of the key that l was made with.
func (l Link) Key() KeyID { return KeyID(l[:idSize]) }

// String writes l in hexadecimal.
func (l Link) String() string { return hex.EncodeToString(l[:]) }

// ParseLink reads a stored link. It reports false where stored is none.
func ParseLink(stored []byte) (Link, bool) {
	if len(stored) != LinkSize {
		return Link{}, false
	}
	return Link(stored), true
}

// Head is the end of a shard's chain: its length and its last link, which is that
// of its last row or of an [Adoption] after it. The zero value is a chain without
// links.
type Head struct {
	Count int64
	Link  Link
}

// Commitment stands for values that can be erased.
type Commitment [sha256.Size]byte

// Linker makes and checks links. It keeps its buffers, so it is for one goroutine
// at a time.
type Linker struct {
	keys Keys
	macs []hash.Hash // one for each key
	buf  []byte
	sum  []byte
}

// NewLinker makes a linker for keys. The first makes links; without any they are
// plain hashes.
func NewLinker(keys Keys) *Linker {
	l := &Linker{keys: keys}
	for _, k := range keys {
		l.macs = append(l.macs, hmac.New(sha256.New, k.secret))
	}
	return l
}

// Commit returns the commitment to encoded values under salt. It does not depend
// on the keys.
func (l *Linker) Commit(salt, values []byte) Commitment {
	l.buf = append(appendText(l.buf[:0], salt), values...)
	return sha256.Sum256(l.buf)
}

// Next returns the head of a shard's chain after head when a row with these encoded
// fields follows, linked with the first key. The caller has checked that one of the
// keys signed head: see [Linker.Signed].
func (l *Linker) Next(head Head, fields []byte) Head {
	if len(l.keys) == 0 {
		return l.next(head, fields, unkeyed)
	}
	return l.next(head, fields, 0)
}

// NextUnkeyed is [Linker.Next] without a key.
func (l *Linker) NextUnkeyed(head Head, fields []byte) Head { return l.next(head, fields, unkeyed) }

func (l *Linker) next(head Head, fields []byte, key int) Head {
	next := Head{Count: head.Count + 1}
	l.buf = appendRow(l.buf[:0], head.Link, next.Count, fields)
	next.Link = l.link(l.buf, key)
	return next
}

// Follows reports whether link is that of a row with these encoded fields after head,
// and whether that can be told: not without the key that link names.
func (l *Linker) Follows(head Head, fields []byte, link Link) (follows, known bool) {
	l.buf = appendRow(l.buf[:0], head.Link, head.Count+1, fields)
	return l.made(l.buf, link)
}

func appendRow(buf []byte, before Link, place int64, fields []byte) []byte {
	buf = append(buf, ofRow)
	buf = append(buf, before[:]...)
	buf = binary.BigEndian.AppendUint64(buf, uint64(place))
	return append(buf, fields...)
}

// Sign returns the signatures of all keys on a shard's head, each of [LinkSize] bytes;
// nil without keys.
func (l *Linker) Sign(shard int16, head Head) []byte {
	if len(l.keys) == 0 {
		return nil
	}
	signatures := make([]byte, 0, len(l.keys)*LinkSize)
	l.buf = appendHead(l.buf[:0], shard, head)
	for key := range l.keys {
		link := l.link(l.buf, key)
		signatures = append(signatures, link[:]...)
	}
	return signatures
}

// Signed reports whether one of the keys made one of the signatures on a shard's head.
func (l *Linker) Signed(shard int16, head Head, signatures []byte) bool {
	l.buf = appendHead(l.buf[:0], shard, head)
	for ; len(signatures) >= LinkSize; signatures = signatures[LinkSize:] {
		signature := Link(signatures[:LinkSize])
		if signature.Key() == (KeyID{}) { // anybody can make a plain hash
			continue
		}
		if made, _ := l.made(l.buf, signature); made {
			return true
		}
	}
	return false
}

// Signers lists the ids of the keys that signatures name, which may be forged.
func Signers(signatures []byte) (ids []KeyID) {
	for ; len(signatures) >= LinkSize; signatures = signatures[LinkSize:] {
		ids = append(ids, KeyID(signatures[:idSize]))
	}
	return ids
}

func appendHead(buf []byte, shard int16, head Head) []byte {
	buf = append(buf, ofHead)
	buf = binary.BigEndian.AppendUint16(buf, uint16(shard))
	buf = binary.BigEndian.AppendUint64(buf, uint64(head.Count))
	return append(buf, head.Link[:]...)
}

// unkeyed stands for no key among a linker's.
const unkeyed = -1

// made reports whether link is that of message by the key that it names, and whether
// that can be told. Only a link with the zero id may be a plain hash.
func (l *Linker) made(message []byte, link Link) (made, known bool) {
	key := unkeyed
	if id := link.Key(); id != (KeyID{}) {
		if key = l.keys.index(id); key == unkeyed {
			return false, false
		}
	}
	want := l.link(message, key)
	return hmac.Equal(want[:], link[:]), true
}

func (l *Linker) link(message []byte, key int) (link Link) {
	if key == unkeyed {
		sum := sha256.Sum256(message)
		copy(link[idSize:], sum[:])
		return link
	}
	mac := l.macs[key]
	mac.Reset()
	mac.Write(message)
	l.sum = mac.Sum(l.sum[:0])
	copy(link[:], l.keys[key].id[:])
	copy(link[idSize:], l.sum)
	return link
}
