package erasure

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/contact"
	"contactmirror/internal/event"
)

// waiting is an event in open quarantine.
type waiting struct {
	EventSeq int64
	Body     []byte
}

type delivery struct {
	QuarantineSeq     int64
	ContextIdentifier *string
	Body              []byte
	Open              bool
}

// redaction is what is to become of entries: a body without values, or nil where
// nothing of it is kept.
type redaction struct {
	seqs   []int64
	bodies [][]byte
}

func (r *redaction) add(seq int64, body []byte) {
	r.seqs, r.bodies = append(r.seqs, seq), append(r.bodies, body)
}

// redactEvents redacts the contact's events that are in open quarantine.
func redactEvents(ctx context.Context, tx pgx.Tx, key contact.Key) (r redaction, err error) {
	found, err := events.All(ctx, tx, pgx.StrictNamedArgs{"context_identifier": key.Tenant, "contact_id": key.ID})
	if err != nil {
		return redaction{}, fmt.Errorf("read its events in quarantine: %w", err)
	}
	for _, e := range found {
		body, _ := event.Redact(e.Body) // nil where nothing can be kept
		r.add(e.EventSeq, body)
	}
	return r, nil
}

// What a delivery that could not be understood may yet say: a body that is no
// JSON is no object either, so its bytes are searched.
var (
	primaryKey = regexp.MustCompile(`(?i)"PrimaryKey"\s*:\s*"?\s*([^\s",}\]]+)`)
	eventName  = regexp.MustCompile(`(?i)"Event"\s*:\s*"([^"]*)"`)
)

// quarantined looks through the deliveries that never became events for those
// that name the contact, and for those of which nobody can tell.
func quarantined(ctx context.Context, tx pgx.Tx, key contact.Key) (named redaction, unknown []int64, err error) {
	found, err := deliveries.All(ctx, tx, pgx.StrictNamedArgs{"context_identifier": key.Tenant})
	if err != nil {
		return redaction{}, nil, fmt.Errorf("read quarantine: %w", err)
	}
	for _, d := range found {
		switch d.about(key) {
		case isNamed:
			var body []byte
			if d.Open {
				body, _ = event.Redact(d.Body) // nil where nothing can be kept
			}
			named.add(d.QuarantineSeq, body)
		case notTold:
			unknown = append(unknown, d.QuarantineSeq)
		}
	}
	return named, unknown, nil
}

type attribution uint8

const (
	isOther attribution = iota
	isNamed
	notTold
)

// about tells whether d is about the contact of key. One that can be read says so
// itself; any other is, that names its id, with an event of contacts or none that
// can be read, and its tenant. Nobody can tell of one that was not verified under
// the tenant.
func (d *delivery) about(key contact.Key) attribution {
	named, other := d.names(key)
	switch {
	case other:
		return isOther
	case named && d.ContextIdentifier != nil:
		return isNamed
	}
	return notTold
}

// names reports whether d names the contact, and whether it is about another.
func (d *delivery) names(key contact.Key) (named, other bool) {
	if e, err := event.ParseStored(d.Body, time.Time{}); err == nil && e.Contact != nil {
		named = e.Contact.Key == key
		return named, !named
	}
	ids := primaryKey.FindAllSubmatch(d.Body, -1)
	names := eventName.FindAllSubmatch(d.Body, -1)
	ofContacts, readable := len(names) == 0, false
	for _, name := range names {
		ofContacts = ofContacts || bytes.HasPrefix(bytes.ToLower(name[1]), []byte("contact."))
	}
	for _, id := range ids {
		n, err := strconv.ParseInt(string(id[1]), 10, 64)
		readable = readable || err == nil
		named = named || err == nil && n == key.ID
	}
	return named, !ofContacts || readable && !named
}
