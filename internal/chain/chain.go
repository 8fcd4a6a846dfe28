package chain

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
)

const (
	// SaltSize is the length of a row's salt in bytes.
	SaltSize = 16
	// MinKey is the least length of a key in bytes.
	MinKey = 16

	idSize = 4
	// LinkSize is the length of a link in bytes.
	LinkSize = idSize + sha256.Size
)

// What a hash is of, its first byte.
const (
	ofRow  = 1
	ofHead = 2
	ofKey  = 3
)

// KeyID names a key without telling it. Links made without a key have the zero
// id.
type KeyID [idSize]byte

// String writes id in hexadecimal.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// Key is what links are made with. A nil Key makes them without one.
type Key struct {
	id     KeyID
	secret []byte
}

// NewKey makes a key of secret, which must have [MinKey] bytes or more.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) < MinKey {
		return nil, fmt.Errorf("is too short: %d bytes, at least %d are needed", len(secret), MinKey)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte{ofKey})
	k := &Key{secret: append([]byte(nil), secret...)}
	copy(k.id[:], mac.Sum(nil))
	if k.id == (KeyID{}) { // stands for no key
		k.id[0] = 1
	}
	return k, nil
}

// ID is the key's id, the zero one of no key.
func (k *Key) ID() KeyID {
	if k == nil {
		return KeyID{}
	}
	return k.id
}

// Link is one row's link, as it is stored: the key's id, then the hash. The zero
// value stands before the first row.
type Link [LinkSize]byte

// Key is the id of the key that l was made with.
func (l Link) Key() KeyID { return KeyID(l[:idSize]) }

// ParseLink reads a stored link. It reports false where stored is none.
func ParseLink(stored []byte) (Link, bool) {
	if len(stored) != LinkSize {
		return Link{}, false
	}
	return Link(stored), true
}

// Head is the end of a shard's chain: its length and its last link. The zero
// value is a chain without links.
type Head struct {
	Count int64
	Link  Link
}

// Commitment stands for values that can be erased.
type Commitment [sha256.Size]byte

// Linker makes links with one key. It keeps its buffers, so it is for one
// goroutine at a time.
type Linker struct {
	key *Key
	mac hash.Hash // nil without a key
	buf []byte
	sum []byte
}

// NewLinker makes a linker for key, which may be nil.
func NewLinker(key *Key) *Linker {
	l := &Linker{key: key}
	if key != nil {
		l.mac = hmac.New(sha256.New, key.secret)
	}
	return l
}

// Commit returns the commitment to encoded values under salt. It does not depend
// on the key.
func (l *Linker) Commit(salt, values []byte) Commitment {
	l.buf = append(appendText(l.buf[:0], salt), values...)
	return sha256.Sum256(l.buf)
}

// Next returns the head of a shard's chain after head when a row with these
// encoded fields follows. A head that another key has linked, or none, is sealed
// first, and the seal is linked in its place.
func (l *Linker) Next(shard int16, head Head, fields []byte) Head {
	before := head.Link
	if l.key != nil && before.Key() != l.key.id {
		before = l.Seal(shard, head)
	}
	next := Head{Count: head.Count + 1}
	buf := append(l.buf[:0], ofRow)
	buf = append(buf, before[:]...)
	buf = binary.BigEndian.AppendUint64(buf, uint64(next.Count))
	buf = append(buf, fields...)
	l.buf = buf
	next.Link = l.link(buf)
	return next
}

// Seal is what the linker's key says of the head of a shard that it has not
// linked itself.
func (l *Linker) Seal(shard int16, head Head) Link {
	buf := append(l.buf[:0], ofHead)
	buf = binary.BigEndian.AppendUint16(buf, uint16(shard))
	buf = binary.BigEndian.AppendUint64(buf, uint64(head.Count))
	buf = append(buf, head.Link[:]...)
	l.buf = buf
	return l.link(buf)
}

func (l *Linker) link(message []byte) (link Link) {
	if l.key == nil {
		sum := sha256.Sum256(message)
		copy(link[idSize:], sum[:])
		return link
	}
	l.mac.Reset()
	l.mac.Write(message)
	l.sum = l.mac.Sum(l.sum[:0])
	copy(link[:], l.key.id[:])
	copy(link[idSize:], l.sum)
	return link
}
