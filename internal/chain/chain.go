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

// Commitment stands for a row's erasable values.
type Commitment [sha256.Size]byte

// Row is what a link covers of an audit row, times in microseconds since
// 1970-01-01 UTC. Its place in the chain is the linker's to give.
type Row struct {
	AuditSeq          int64
	EventSeq          *int64
	Shard             int16
	Tenant            string
	ContactID         int64
	Event             string
	EventID           [16]byte
	OccurredAt        int64
	OccurredTicks     int64
	ReceivedAt        int64
	RecordedAt        int64
	ChangedColumns    []string
	UnreadableColumns []string
	SoftDeleted       *bool
	HardDeleted       bool
	Outcome           string
	ChangedBy         *int64
	WebhookName       *string
	Origin            string
	Values            Commitment
}

// Linker makes links with one key. It keeps its buffers, so it is for one
// goroutine at a time.
type Linker struct {
	key    *Key
	mac    hash.Hash // nil without a key
	values encoder
	buf    []byte
	sum    []byte
}

// NewLinker makes a linker for key, which may be nil.
func NewLinker(key *Key) *Linker {
	l := &Linker{key: key}
	if key != nil {
		l.mac = hmac.New(sha256.New, key.secret)
	}
	return l
}

// Commit returns the commitment to values under salt. The error tells that they
// are no JSON.
func (l *Linker) Commit(salt []byte, values Values) (Commitment, error) {
	buf := appendText(l.buf[:0], salt)
	var err error
	for _, doc := range [...][]byte{values.FieldValues, values.IDValues, values.LastKnown} {
		if buf, err = l.values.append(buf, doc); err != nil {
			return Commitment{}, err
		}
	}
	l.buf = buf
	return sha256.Sum256(buf), nil
}

// Next returns the head after head when r follows. To a head of another key, or
// of none, its seal is linked.
func (l *Linker) Next(head Head, r *Row) Head {
	before := head.Link
	if l.key != nil && before.Key() != l.key.id {
		before = l.Seal(r.Shard, head)
	}
	next := Head{Count: head.Count + 1}
	buf := append(l.buf[:0], ofRow)
	buf = append(buf, before[:]...)
	buf = binary.BigEndian.AppendUint64(buf, uint64(next.Count))
	buf = r.append(buf)
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

func (r *Row) append(to []byte) []byte {
	number := func(n int64) { to = binary.BigEndian.AppendUint64(to, uint64(n)) }
	number(r.AuditSeq)
	to = appendOptional(to, r.EventSeq)
	to = binary.BigEndian.AppendUint16(to, uint16(r.Shard))
	to = appendText(to, r.Tenant)
	number(r.ContactID)
	to = appendText(to, r.Event)
	to = append(to, r.EventID[:]...)
	number(r.OccurredAt)
	number(r.OccurredTicks)
	number(r.ReceivedAt)
	number(r.RecordedAt)
	to = appendTexts(to, r.ChangedColumns)
	to = appendTexts(to, r.UnreadableColumns)
	if r.SoftDeleted == nil {
		to = append(to, 2)
	} else {
		to = appendBool(to, *r.SoftDeleted)
	}
	to = appendBool(to, r.HardDeleted)
	to = appendText(to, r.Outcome)
	to = appendOptional(to, r.ChangedBy)
	if r.WebhookName == nil {
		to = append(to, 0)
	} else {
		to = appendText(append(to, 1), *r.WebhookName)
	}
	to = appendText(to, r.Origin)
	return append(to, r.Values[:]...)
}

func appendTexts(to []byte, texts []string) []byte {
	to = binary.BigEndian.AppendUint32(to, uint32(len(texts)))
	for _, text := range texts {
		to = appendText(to, text)
	}
	return to
}
