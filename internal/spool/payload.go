package spool

import (
	"encoding/binary"
	"time"
)

// Record is one accepted delivery.
type Record struct {
	// Tenant is whose part of the spool the record takes; nil where the delivery's
	// tenant can't be read.
	Tenant *string
	// At is when the delivery was received.
	At time.Time
	// Reason is why the inbox refused the record; empty where it has not.
	Reason  string
	Payload []byte
}

// encode is the time in microseconds, whether there is a tenant, tenant and reason
// each after its length, and the payload.
func (r *Record) encode() []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(r.At.UnixMicro()))
	if r.Tenant == nil {
		b = append(b, 0)
	} else {
		b = append(b, 1)
		b = appendText(b, *r.Tenant)
	}
	b = appendText(b, r.Reason)
	return append(b, r.Payload...)
}

func decode(b []byte) (r Record, ok bool) {
	if len(b) < 9 || b[8] > 1 {
		return Record{}, false
	}
	r.At = time.UnixMicro(int64(binary.LittleEndian.Uint64(b))).UTC()
	hasTenant := b[8] == 1
	b = b[9:]
	if hasTenant {
		var tenant string
		if tenant, b, ok = cutText(b); !ok {
			return Record{}, false
		}
		r.Tenant = &tenant
	}
	if r.Reason, b, ok = cutText(b); !ok {
		return Record{}, false
	}
	r.Payload = b
	return r, true
}

// noTenant is the [Record.part] of records without a tenant, and no tenant's.
const noTenant = ""

// part names the part of the spool that r takes.
func (r *Record) part() string {
	if r.Tenant == nil {
		return noTenant
	}
	return "tenant " + *r.Tenant
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
