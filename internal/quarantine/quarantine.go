// Package quarantine is the operator's hand on what could not be accepted or
// applied.
//
// Deliveries come here from the inbox, events from the sync worker, both with
// their bytes and the reason; nothing leaves by itself. [Retry] sends one on
// its way again, [Discard] closes it for good. Neither deletes a byte; retention
// does, of what is resolved. A discarded event goes on counting as quarantined.
package quarantine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/contact"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/pg"
	"contactmirror/internal/sequence"
	"contactmirror/sql"
)

var (
	list    = pg.Query[Entry](sql.QuarantineList)
	show    = pg.Query[Delivery](sql.QuarantineShow)
	keyOf   = pg.Query[contactKey](sql.QuarantineKey)
	requeue = pg.Command(sql.QuarantineRequeue)
	attempt = pg.Command(sql.QuarantineAttempt)
	resolve = pg.Command(sql.QuarantineResolve)
	strip   = pg.Column[bool](sql.QuarantineStrip)
)

type contactKey struct {
	ContextIdentifier string
	PrimaryKey        int64
	HasBody           bool
}

// Entry is a line of [List].
type Entry struct {
	QuarantineSeq     int64      `json:"quarantine_seq"`
	ReceivedAt        time.Time  `json:"received_at"`
	Reason            string     `json:"reason"`
	ContextIdentifier *string    `json:"context_identifier"`
	EventSeq          *int64     `json:"event_seq"`
	Deliveries        int32      `json:"deliveries"`
	Attempts          int32      `json:"attempts"`
	Bytes             int32      `json:"bytes"`
	ResolvedAt        *time.Time `json:"resolved_at"`
	Resolution        *string    `json:"resolution"`
}

// Delivery is an entry with what was delivered.
type Delivery struct {
	QuarantineSeq     int64               `json:"quarantine_seq"`
	ReceivedAt        time.Time           `json:"received_at"`
	Reason            string              `json:"reason"`
	ContextIdentifier *string             `json:"context_identifier"`
	EventSeq          *int64              `json:"event_seq"`
	Headers           map[string][]string `json:"headers"`
	Body              []byte              `json:"body"`
	Deliveries        int32               `json:"deliveries"`
	Attempts          int32               `json:"attempts"`
	ResolvedAt        *time.Time          `json:"resolved_at"`
	Resolution        *string             `json:"resolution"`
	// BytesRemovedAt is when headers and body were removed; nil while they are kept.
	BytesRemovedAt *time.Time `json:"bytes_removed_at"`
}

// ErrNotFound tells that there is no entry of that number.
var ErrNotFound = errors.New("no such entry in quarantine")

// ErrResolved tells that an entry has been retried or discarded before.
var ErrResolved = errors.New("resolved already")

// ErrBodyGone tells that an event can't be applied any more.
var ErrBodyGone = errors.New("its body is no longer kept, so it can't be applied any more; discard it")

// StillInvalidError tells that a retried delivery can't be understood yet.
type StillInvalidError struct{ Reason string }

func (e *StillInvalidError) Error() string { return "still invalid: " + e.Reason }

// List returns the open entries, or with all set every one, oldest first; of
// one tenant where tenant is not nil.
func List(ctx context.Context, db pg.DB, tenant *string, all bool) ([]Entry, error) {
	entries, err := list.All(ctx, db, pgx.StrictNamedArgs{"context_identifier": tenant, "all": all})
	if err != nil {
		return nil, fmt.Errorf("quarantine: list: %w", err)
	}
	return entries, nil
}

// Show returns one entry with its bytes.
func Show(ctx context.Context, db pg.DB, seq int64) (Delivery, error) {
	found, err := show.All(ctx, db, pgx.StrictNamedArgs{"quarantine_seq": seq})
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Delivery{}, fmt.Errorf("quarantine: show %d: %w", seq, err)
	}
	return found[0], nil
}

// Retry puts an event back into the queue, and reads a delivery that never
// became one again, as this version of the program understands it. What can't
// be understood stays open: that is a [*StillInvalidError].
func Retry(ctx context.Context, pool *pgxpool.Pool, seq int64) error {
	var invalid *StillInvalidError
	retry := func(tx pgx.Tx) error {
		d, err := open(ctx, tx, seq)
		if err != nil {
			return err
		}
		if d.EventSeq != nil {
			return retryEvent(ctx, tx, seq)
		}
		err = retryDelivery(ctx, tx, d)
		if errors.As(err, &invalid) { // a result, to be committed
			return nil
		}
		return err
	}
	err := pgx.BeginFunc(ctx, pool, retry)
	if pg.NumberTaken(err) {
		if _, err = sequence.Advance(ctx, pool); err == nil {
			err = pgx.BeginFunc(ctx, pool, retry)
		}
	}
	if err == nil && invalid != nil {
		err = invalid
	}
	if err != nil {
		return fmt.Errorf("quarantine: retry %d: %w", seq, err)
	}
	return nil
}

// Discard closes an entry that is not worth another try.
func Discard(ctx context.Context, pool *pgxpool.Pool, seq int64) error {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := open(ctx, tx, seq); err != nil {
			return err
		}
		return close(ctx, tx, seq, "discarded")
	})
	if err != nil {
		return fmt.Errorf("quarantine: discard %d: %w", seq, err)
	}
	return nil
}

func open(ctx context.Context, tx pgx.Tx, seq int64) (Delivery, error) {
	found, err := show.All(ctx, tx, pgx.StrictNamedArgs{"quarantine_seq": seq})
	switch {
	case err != nil:
		return Delivery{}, err
	case len(found) == 0:
		return Delivery{}, ErrNotFound
	case found[0].ResolvedAt != nil:
		return Delivery{}, ErrResolved
	}
	return found[0], nil
}

func retryEvent(ctx context.Context, tx pgx.Tx, seq int64) error {
	keys, err := keyOf.All(ctx, tx, pgx.StrictNamedArgs{"quarantine_seq": seq})
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return errors.New("its event is missing from the log")
	}
	if !keys[0].HasBody {
		return ErrBodyGone
	}
	shard := contact.Key{Tenant: keys[0].ContextIdentifier, ID: keys[0].PrimaryKey}.Shard()
	n, err := requeue.Run(ctx, tx, pgx.StrictNamedArgs{"quarantine_seq": seq, "shard": shard})
	if err == nil && n != 1 {
		err = ErrResolved // by somebody else, just now
	}
	return err
}

func retryDelivery(ctx context.Context, tx pgx.Tx, d Delivery) error {
	e, err := event.Parse(d.Body, d.ReceivedAt)
	if err != nil {
		reason := err.Error()
		if _, err := attempt.Run(ctx, tx, pgx.StrictNamedArgs{"quarantine_seq": d.QuarantineSeq, "reason": reason}); err != nil {
			return err
		}
		return &StillInvalidError{Reason: reason}
	}
	if _, err := inbox.PutIn(ctx, tx, inbox.Delivery{Body: d.Body, ReceivedAt: d.ReceivedAt, Event: &e}); err != nil {
		return err
	}
	if err := close(ctx, tx, d.QuarantineSeq, "retried"); err != nil || e.Ignored() {
		return err
	}
	_, err = strip.One(ctx, tx, pgx.StrictNamedArgs{
		"quarantine_seq": d.QuarantineSeq, "context_identifier": e.Tenant, "contact_id": e.Contact.Key.ID,
	})
	return err
}

func close(ctx context.Context, tx pgx.Tx, seq int64, resolution string) error {
	n, err := resolve.Run(ctx, tx, pgx.StrictNamedArgs{"quarantine_seq": seq, "resolution": resolution})
	if err == nil && n != 1 {
		err = ErrResolved
	}
	return err
}
