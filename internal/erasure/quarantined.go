package erasure

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/contact"
)

type delivery struct {
	QuarantineSeq     int64
	ContextIdentifier *string
	Body              []byte
}

// What a delivery that could not be understood may yet say: a body that is no
// JSON is no object either, so its bytes are searched.
var (
	primaryKey = regexp.MustCompile(`(?i)"PrimaryKey"\s*:\s*"?\s*([^\s",}\]]+)`)
	eventName  = regexp.MustCompile(`(?i)"Event"\s*:\s*"([^"]*)"`)
)

// quarantined looks through the deliveries that never became events for those
// that name the contact, and for those of which nobody can tell.
func quarantined(ctx context.Context, tx pgx.Tx, key contact.Key) (named, unknown []int64, err error) {
	found, err := deliveries.All(ctx, tx, pgx.StrictNamedArgs{"context_identifier": key.Tenant})
	if err != nil {
		return nil, nil, fmt.Errorf("read quarantine: %w", err)
	}
	for _, d := range found {
		switch d.about(key) {
		case isNamed:
			named = append(named, d.QuarantineSeq)
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

// about tells whether d is about the contact of key: one that names its id, with
// an event of contacts or none that can be read, and its tenant.
func (d *delivery) about(key contact.Key) attribution {
	ids := primaryKey.FindAllSubmatch(d.Body, -1)
	names := eventName.FindAllSubmatch(d.Body, -1)
	ofContacts, readable := len(names) == 0, false
	for _, name := range names {
		ofContacts = ofContacts || bytes.HasPrefix(bytes.ToLower(name[1]), []byte("contact."))
	}
	named := false
	for _, id := range ids {
		n, err := strconv.ParseInt(string(id[1]), 10, 64)
		readable = readable || err == nil
		named = named || err == nil && n == key.ID
	}
	switch {
	case !ofContacts || readable && !named:
		return isOther
	case named && d.ContextIdentifier != nil:
		return isNamed
	}
	return notTold
}
