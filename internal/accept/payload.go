package accept

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/signature"
	"contactmirror/internal/spool"
)

// spooled is what is written of a delivery before its body. Its tenant is the
// record's.
type spooled struct {
	ReceivedAt time.Time   `json:"received_at"`
	Retry      *int32      `json:"retry,omitempty"`
	Signature  string      `json:"signature,omitempty"`
	Reason     string      `json:"reason,omitempty"`
	Headers    http.Header `json:"headers,omitempty"`
	// Of a tenant that can't be read: see [signature.Vouchers].
	VouchedFor    []string `json:"vouched_for,omitempty"`
	VouchedExcept []string `json:"vouched_except,omitzero"`
}

// encode writes d as the spool keeps it: the length of the JSON, the JSON, the
// body.
func encode(d *inbox.Delivery) ([]byte, error) {
	meta, err := json.Marshal(spooled{d.ReceivedAt, d.Retry, d.Signature, d.Reason, d.Headers, d.Vouchers.Tenants, d.Vouchers.Except})
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	b := binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64+len(meta)+len(d.Body)), uint64(len(meta)))
	return append(append(b, meta...), d.Body...), nil
}

// Decode reads a delivery back. Its event is parsed again. What this version of
// the program can't read becomes a delivery that can't be understood, with its
// bytes: the spool must drain.
func Decode(r spool.Record) inbox.Delivery {
	length, n := binary.Uvarint(r.Payload)
	if n <= 0 || length > uint64(len(r.Payload)-n) {
		return unreadable(r, "its length is wrong")
	}
	var meta spooled
	if err := json.Unmarshal(r.Payload[n:n+int(length)], &meta); err != nil {
		return unreadable(r, err.Error())
	}
	d := inbox.Delivery{
		Body: r.Payload[n+int(length):], ReceivedAt: meta.ReceivedAt, Retry: meta.Retry, Signature: meta.Signature,
		Reason: meta.Reason, Headers: meta.Headers,
		Vouchers: signature.Vouchers{Tenants: meta.VouchedFor, Except: meta.VouchedExcept},
	}
	if d.Reason == "" {
		e, err := event.Parse(d.Body, d.ReceivedAt)
		if err == nil {
			d.Event = &e
			return d
		}
		d.Reason = err.Error()
	}
	d.Tenant = r.Tenant
	return d
}

func unreadable(r spool.Record, why string) inbox.Delivery {
	return inbox.Delivery{Body: r.Payload, ReceivedAt: r.At.UTC(), Tenant: r.Tenant, Reason: "a spooled delivery can't be read: " + why}
}

// tenantOf is d's tenant, nil where it can't be read.
func tenantOf(d *inbox.Delivery) *string {
	if d.Event != nil {
		return &d.Event.Tenant
	}
	return d.Tenant
}
