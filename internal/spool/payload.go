package spool

import (
	"encoding/binary"
	"time"
)

// record is what one append is about: whose it is and since when, for the
// quota and for those who watch, and the bytes.
type record struct {
	tenant  string
	at      time.Time
	payload []byte
}

// size is the room that r takes in its segment, in bytes.
func (r *record) size() int64 {
	length := len(binary.AppendUvarint(nil, uint64(len(r.tenant))))
	return int64(headerSize + 8 + length + len(r.tenant) + len(r.payload))
}

// encode is the time in microseconds, the tenant behind its length, and the
// payload.
func (r *record) encode() []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(r.at.UnixMicro()))
	b = binary.AppendUvarint(b, uint64(len(r.tenant)))
	b = append(b, r.tenant...)
	return append(b, r.payload...)
}

func decode(b []byte) (r record, ok bool) {
	if len(b) < 8 {
		return record{}, false
	}
	at := time.UnixMicro(int64(binary.LittleEndian.Uint64(b)))
	length, n := binary.Uvarint(b[8:])
	rest := b[8+max(n, 0):]
	if n <= 0 || length > uint64(len(rest)) {
		return record{}, false
	}
	return record{tenant: string(rest[:length]), at: at, payload: rest[length:]}, true
}
