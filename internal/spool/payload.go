package spool

import (
	"encoding/binary"
	"time"
)

// Record is one accepted delivery.
type Record struct {
	// Tenant is for the quota.
	Tenant string
	// At is when the delivery was received.
	At time.Time
	// Reason is why the inbox refused the record; empty where it has not.
	Reason  string
	Payload []byte
}

// encode is the time in microseconds, tenant and reason each after its length,
// and the payload.
func (r *Record) encode() []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(r.At.UnixMicro()))
	b = appendText(b, r.Tenant)
	b = appendText(b, r.Reason)
	return append(b, r.Payload...)
}

func decode(b []byte) (r Record, ok bool) {
	if len(b) < 8 {
		return Record{}, false
	}
	r.At = time.UnixMicro(int64(binary.LittleEndian.Uint64(b)))
	b = b[8:]
	if r.Tenant, b, ok = cutText(b); !ok {
		return Record{}, false
	}
	if r.Reason, b, ok = cutText(b); !ok {
		return Record{}, false
	}
	r.Payload = b
	return r, true
}

func appendText(b []byte, text string) []byte {
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

func cutText(b []byte) (text string, rest []byte, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return "", nil, false
	}
	b = b[n:]
	return string(b[:length]), b[length:], true
}
