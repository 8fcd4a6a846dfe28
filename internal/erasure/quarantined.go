package erasure

import (
	"context"
	"fmt"
	"slices"

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
	found, err := eventsStmt.All(ctx, tx, argsOf(key))
	if err != nil {
		return redaction{}, fmt.Errorf("read its events in quarantine: %w", err)
	}
	for _, e := range found {
		body, _ := event.Redact(e.Body) // nil where nothing can be kept
		r.add(e.EventSeq, body)
	}
	return r, nil
}

// quarantined looks through the deliveries that never became events for those
// that name the contact, and for those of which nobody can tell.
func quarantined(ctx context.Context, tx pgx.Tx, key contact.Key) (named redaction, unknown []int64, err error) {
	found, err := deliveriesStmt.All(ctx, tx, deliveriesArgs{key.Tenant})
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

// about tells whether d is about the contact of key: one that names its id and was
// verified under its tenant. Of one that was verified under no tenant in particular
// nobody can tell.
func (d *delivery) about(key contact.Key) attribution {
	ids, told := event.Subjects(d.Body)
	tenant, known := event.Scan(d.Body).Tenant()
	named := slices.Contains(ids, key.ID)
	switch {
	case told && !named || d.ContextIdentifier == nil && known && tenant != key.Tenant:
		return isOther
	case named && d.ContextIdentifier != nil:
		return isNamed
	}
	return notTold
}
