package verify

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/event"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

// Events is what was found of the accepted events beside the log.
type Events struct {
	// Applied is the number of events with an audit row, and Bodies how many of
	// them still have the body that they were read from.
	Applied int64 `json:"applied"`
	Bodies  int64 `json:"bodies"`
	// Lost events were accepted and are nowhere, Invented audit rows come of no
	// accepted event, or nothing writes such, Different ones say something else than it.
	Lost      int64    `json:"lost"`
	Invented  int64    `json:"invented"`
	Different int64    `json:"different"`
	Lines     []string `json:"lines"` // the first of each
}

// maxLines is how many of a kind are named.
const maxLines = 20

var (
	eventsStmt = pg.NewStream[tenantArgs](sql.VerifyEvents, (*pair).targets)
	lostStmt   = pg.NewQuery[unmatchedArgs, struct {
		EventSeq          int64
		ContextIdentifier string
		ContactID         *int64
		Total             int64
	}](sql.VerifyLost)
	inventedStmt = pg.NewQuery[unmatchedArgs, struct {
		AuditSeq          int64
		EventSeq          *int64
		ContextIdentifier string
		ContactID         int64
		Event             string
		Origin            string
		OfEvent           bool
		Total             int64
	}](sql.VerifyInvented)
)

type unmatchedArgs struct {
	ContextIdentifier *string
	Some              int
}

// said is what an event says, from whichever place.
type said struct {
	tenant     string
	id         [16]byte
	name       string
	contact    int64
	occurred   pgtype.Timestamptz
	ticks      int64
	received   pgtype.Timestamptz
	changes    []string
	fields     []byte
	ids        []byte
	unreadable []string
	by         *int64
	webhook    *string
}

// pair is a row of verify_events: an event, and its row in the log.
type pair struct {
	seq              int64
	accepted, logged said
	body             []byte
	erased           bool
}

func (p *pair) targets() []any {
	a, l := &p.accepted, &p.logged
	return []any{
		&p.seq, &a.tenant, &a.id, &a.name, &a.contact, &a.occurred, &a.ticks, &a.received, &p.body,
		&l.tenant, &l.id, &l.name, &l.contact, &l.occurred, &l.ticks, &l.received,
		(*list)(&l.changes), &l.fields, &l.ids, (*list)(&l.unreadable), &l.by, &l.webhook, &p.erased,
	}
}

func checkEvents(ctx context.Context, tx pgx.Tx, tenant *string, step func()) (Events, error) {
	found := Events{Lines: []string{}}
	var encoded compared
	err := eventsStmt.Each(ctx, tx, tenantArgs{tenant}, func(p *pair) error {
		step()
		found.Applied++
		differs := p.accepted.differs(&p.logged)
		if p.body != nil {
			found.Bodies++
			if differs == "" {
				differs = compareBody(&encoded, p.body, &p.accepted, &p.logged, p.erased)
			}
		}
		if differs != "" {
			if found.Different++; found.Different <= maxLines {
				found.Lines = append(found.Lines, fmt.Sprintf("event %d, %s of contact %d of tenant %q: %s", p.seq, p.accepted.name, p.accepted.contact, p.accepted.tenant, differs))
			}
		}
		return nil
	})
	if err != nil {
		return Events{}, fmt.Errorf("compare the log with the accepted events: %w", err)
	}
	return found, unmatched(ctx, tx, tenant, &found)
}

// unmatched finds events without a row and rows without an event.
func unmatched(ctx context.Context, tx pgx.Tx, tenant *string, found *Events) error {
	args := unmatchedArgs{tenant, maxLines}
	events, err := lostStmt.All(ctx, tx, args)
	if err != nil {
		return fmt.Errorf("look for lost events: %w", err)
	}
	for _, e := range events {
		found.Lost = e.Total
		id := "none"
		if e.ContactID != nil {
			id = fmt.Sprint(*e.ContactID)
		}
		found.Lines = append(found.Lines, fmt.Sprintf("event %d of contact %s of tenant %q: lost: it was accepted, and is neither in the log nor waiting", e.EventSeq, id, e.ContextIdentifier))
	}
	rows, err := inventedStmt.All(ctx, tx, args)
	if err != nil {
		return fmt.Errorf("look for rows without an event: %w", err)
	}
	for _, r := range rows {
		found.Invented = r.Total
		reason := "its event was never accepted"
		if !r.OfEvent {
			reason = fmt.Sprintf("nothing writes such a row, of the event %q and the origin %q", r.Event, r.Origin)
		}
		found.Lines = append(found.Lines, fmt.Sprintf("row %d of the log, contact %d of tenant %q: invented: %s", r.AuditSeq, r.ContactID, r.ContextIdentifier, reason))
	}
	return nil
}

// differs says what the log has another value of than the event.
func (a *said) differs(logged *said) string {
	for _, column := range []struct {
		name string
		same bool
	}{
		{"context_identifier", a.tenant == logged.tenant},
		{"event_id", a.id == logged.id},
		{"event", a.name == logged.name},
		{"contact_id", a.contact == logged.contact},
		{"occurred_at", micros(a.occurred) == micros(logged.occurred)},
		{"occurred_ticks", a.ticks == logged.ticks},
		{"received_at", micros(a.received) == micros(logged.received)},
	} {
		if !column.same {
			return "the log has another " + column.name + " than webhook_events"
		}
	}
	return ""
}

// compareBody reads the event again and says what the log, or webhook_events,
// makes of it that it does not say.
func compareBody(encoded *compared, body []byte, accepted, logged *said, erased bool) string {
	e, err := event.ParseStored(body, time.Time{})
	if err != nil {
		return "its body can't be read: " + err.Error()
	}
	if e.Ignored() || e.Contact.Key != (contact.Key{Tenant: accepted.tenant, ID: accepted.contact}) || e.Name != accepted.name ||
		*e.ID != contact.EventID(accepted.id) || int64(*e.Occurred) != accepted.ticks {
		return "its body is of another event"
	}
	c := e.Contact
	by := c.Fact.ChangedBy
	changes := c.Changes
	if erased {
		changes = contact.OfColumns(changes)
	}
	switch {
	case !slices.Equal(changes, logged.changes):
		return "the log has other changed_columns than its body"
	case !slices.Equal(c.Unreadable, logged.unreadable):
		return "the log has other unreadable_columns than its body"
	case (by == nil) != (logged.by == nil) || by != nil && *by != *logged.by:
		return "the log has another changed_by_associate_id than its body"
	case (e.WebhookName == nil) != (logged.webhook == nil) || logged.webhook != nil && *e.WebhookName != *logged.webhook:
		return "the log has another webhook_name than its body"
	case erased:
		return ""
	}
	for _, values := range []struct {
		name         string
		sent, logged []byte
	}{
		{"field_values", c.FieldValues, logged.fields},
		{"id_values", c.IDValues, logged.ids},
	} {
		if bytes.Equal(values.sent, values.logged) && (values.sent == nil) == (values.logged == nil) {
			continue
		}
		if !encoded.equal(values.sent, values.logged) {
			return "the log has other " + values.name + " than its body"
		}
	}
	return ""
}

// compared are two JSON values on their way.
type compared [2]chain.Encoder

// equal reports whether a and b say the same.
func (c *compared) equal(a, b []byte) bool {
	for i, doc := range [...][]byte{a, b} {
		c[i].Reset()
		if err := c[i].JSON(doc); err != nil {
			return false
		}
	}
	return bytes.Equal(c[0].Bytes(), c[1].Bytes())
}
