// Package quarantine is the operator's hand on what could not be accepted or
// applied.
//
// Deliveries come here from the inbox, events from the sync worker, both with
// their bytes and the reason; nothing leaves by itself. [Retry] sends one on
// its way again, [Discard] closes it for good. Neither deletes a byte; retention
// does, of what is resolved. A discarded event goes on counting as quarantined.
//
// A retry locks the contact's shard before the entry, as the worker and an erasure
// do: so none of them sees the others' work half done, and none waits in a circle.
package quarantine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/internal/sequence"
	"contactmirror/internal/signature"
	"contactmirror/sql"
)

var (
	listStmt    = pg.NewQuery[listArgs, Entry](sql.QuarantineList)
	showStmt    = pg.NewQuery[entryArgs, Delivery](sql.QuarantineShow)
	lockStmt    = pg.NewColumn[lockArgs, int16](sql.QuarantineLock)
	openStmt    = pg.NewQuery[entryArgs, entry](sql.QuarantineOpen)
	keyStmt     = pg.NewQuery[entryArgs, contactKey](sql.QuarantineKey)
	requeueStmt = pg.NewCommand[requeueArgs](sql.QuarantineRequeue)
	attemptStmt = pg.NewCommand[attemptArgs](sql.QuarantineAttempt)
	resolveStmt = pg.NewCommand[resolveArgs](sql.QuarantineResolve)
)

type (
	listArgs struct {
		ContextIdentifier *string
		All               bool
	}
	entryArgs   struct{ QuarantineSeq int64 }
	lockArgs    struct{ Shard int16 }
	requeueArgs struct {
		QuarantineSeq int64
		Shard         int16
	}
	attemptArgs struct {
		QuarantineSeq int64
		Reason        string
	}
	resolveArgs struct {
		QuarantineSeq int64
		Resolution    string
	}
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
	// Signatures are those that the same bytes were delivered with, each with the time
	// when it first came; "" for a delivery without. It is nil for an event, and once
	// the bytes were removed.
	Signatures map[string]time.Time `json:"signatures"`
	Body       []byte               `json:"body"`
	Deliveries int32                `json:"deliveries"`
	Attempts   int32                `json:"attempts"`
	ResolvedAt *time.Time           `json:"resolved_at"`
	Resolution *string              `json:"resolution"`
	// BytesRemovedAt is when headers and body were removed; nil while they are kept.
	BytesRemovedAt *time.Time `json:"bytes_removed_at"`
}

// ErrNotFound tells that there is no entry of that number.
var ErrNotFound = errors.New("no such entry in quarantine")

// ErrResolved tells that an entry has been retried or discarded before.
var ErrResolved = errors.New("resolved already")

// ErrBodyGone tells that an event can't be applied any more.
var ErrBodyGone = errors.New("its body is no longer kept, so it can't be applied any more; discard it")

// ErrBytesGone tells that a delivery can't be read any more.
var ErrBytesGone = errors.New("its bytes were erased; discard it")

// StillInvalidError tells that a retried delivery can't be understood yet.
type StillInvalidError struct{ Reason string }

func (e *StillInvalidError) Error() string { return "still invalid: " + e.Reason }

// UnverifiedError tells that a retried delivery reads as an event of a tenant
// whose secrets did not sign it.
type UnverifiedError struct {
	// Tenant is the one that the body names now.
	Tenant string
	// ReceivedAt is when the entry was first delivered, and the secret of its first
	// signature had to be valid.
	ReceivedAt time.Time
	// Unsigned is set where the entry has no signature.
	Unsigned bool
	// Signatures is how many the entry has; each came at a time of its own.
	Signatures int
}

func (e *UnverifiedError) Error() string {
	switch {
	case e.Unsigned:
		return fmt.Sprintf("reads as an event of tenant %q, but has no signature", e.Tenant)
	case e.Signatures > 1:
		return fmt.Sprintf("reads as an event of tenant %q, but none of its %d signatures matches a configured secret of that tenant that was valid when it came",
			e.Tenant, e.Signatures)
	}
	return fmt.Sprintf("reads as an event of tenant %q, but its signature matches no configured secret of that tenant that was valid when it was received, %s",
		e.Tenant, e.ReceivedAt.UTC().Format(time.RFC3339))
}

// List returns the open entries, or with all set every one, oldest first; of
// one tenant where tenant is not nil.
func List(ctx context.Context, db pg.DB, tenant *string, all bool) ([]Entry, error) {
	entries, err := listStmt.All(ctx, db, listArgs{tenant, all})
	if err != nil {
		return nil, fmt.Errorf("quarantine: list: %w", err)
	}
	return entries, nil
}

// Show returns one entry with its bytes.
func Show(ctx context.Context, db pg.DB, seq int64) (Delivery, error) {
	found, err := showStmt.All(ctx, db, entryArgs{seq})
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Delivery{}, fmt.Errorf("quarantine: show %d: %w", seq, err)
	}
	return found[0], nil
}

// Verifier verifies deliveries that never became events.
type Verifier struct {
	// Keyring is all secrets, those that have expired too. A signature that was kept is
	// always verified: without any secret, none passes.
	Keyring *signature.Keyring
	// AllowUnsigned lets a delivery without a signature pass.
	AllowUnsigned bool
}

// verify checks that d was delivered once under tenant: with a signature that a secret
// makes that was valid when it came, or without one where that is allowed.
func (v Verifier) verify(d *entry, tenant string) error {
	refusal := &UnverifiedError{Tenant: tenant, ReceivedAt: d.ReceivedAt}
	if d.BytesRemovedAt != nil { // a redacted body is no longer what was signed
		switch {
		case d.ContextIdentifier == nil || *d.ContextIdentifier != tenant:
			return refusal
		case d.Verified || v.AllowUnsigned:
			return nil
		}
		refusal.Unsigned = true
		return refusal
	}
	for header, at := range d.Signatures {
		switch {
		case header == "":
			if v.AllowUnsigned {
				return nil
			}
		case v.Keyring.Verify(tenant, true, header, d.Body, at) == nil:
			return nil
		default:
			refusal.Signatures++
		}
	}
	refusal.Unsigned = refusal.Signatures == 0
	return refusal
}

// Retry puts an event back into the queue, and reads a delivery that never
// became one again, as this version of the program understands it, held against
// the later of its receipt and now: the receiver's clock may have been behind.
// What can't be understood stays open: that is a [*StillInvalidError]. What it is
// read as must have been signed with a secret of the tenant that it names now, else
// it stays too, unchanged: that is an [*UnverifiedError]. An event was verified
// when it became one.
func Retry(ctx context.Context, pool *pgxpool.Pool, by operator.Actor, seq int64, v Verifier) error {
	var invalid *StillInvalidError
	retry := func(tx pgx.Tx) error {
		key, err := lockContact(ctx, tx, seq)
		if err != nil {
			return err
		}
		d, err := open(ctx, tx, seq)
		if err != nil {
			return err
		}
		if d.EventSeq != nil {
			err = retryEvent(ctx, tx, seq, key)
		} else {
			err = retryDelivery(ctx, tx, &d, key, v)
		}
		if err != nil && !errors.As(err, &invalid) { // that is a result, to be committed
			return err
		}
		return record(ctx, tx, by, operator.RetryQuarantine, seq, key, operator.Detail{"resolved": err == nil})
	}
	// What was committed while the shard was waited for must be seen.
	err := pgx.BeginTxFunc(ctx, pool, pg.ReadCommitted, retry)
	if pg.NumberTaken(err) {
		if _, err = sequence.Advance(ctx, pool); err == nil {
			err = pgx.BeginTxFunc(ctx, pool, pg.ReadCommitted, retry)
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

// Discard closes an entry that is not worth another try. It locks the contact's
// shard first, as Retry does, so that an erasure sees the entry either open or
// discarded.
func Discard(ctx context.Context, pool *pgxpool.Pool, by operator.Actor, seq int64) error {
	err := pgx.BeginTxFunc(ctx, pool, pg.ReadCommitted, func(tx pgx.Tx) error {
		key, err := lockContact(ctx, tx, seq)
		if err != nil {
			return err
		}
		if _, err := open(ctx, tx, seq); err != nil {
			return err
		}
		if err := close(ctx, tx, seq, "discarded"); err != nil {
			return err
		}
		return record(ctx, tx, by, operator.DiscardQuarantine, seq, key, nil)
	})
	if err != nil {
		return fmt.Errorf("quarantine: discard %d: %w", seq, err)
	}
	return nil
}

// record records what by did with an entry; key is nil where it names no contact.
func record(ctx context.Context, tx pgx.Tx, by operator.Actor, action operator.Action, seq int64, key *contact.Key, detail operator.Detail) error {
	e := operator.Entry{Actor: by, Action: action, Detail: operator.Detail{"quarantine_seq": seq}}
	maps.Copy(e.Detail, detail)
	if key != nil {
		e.Tenant, e.ContactID = &key.Tenant, &key.ID
	}
	return operator.Record(ctx, tx, e)
}

// entry is an open entry, locked.
type entry struct {
	QuarantineSeq     int64
	ReceivedAt        time.Time
	ContextIdentifier *string
	EventSeq          *int64
	Signatures        map[string]time.Time
	Verified          bool
	Body              []byte
	ResolvedAt        *time.Time
	BytesRemovedAt    *time.Time
	Now               time.Time // by the database's clock
}

// open locks an entry that is still open.
func open(ctx context.Context, tx pgx.Tx, seq int64) (entry, error) {
	found, err := openStmt.All(ctx, tx, entryArgs{seq})
	switch {
	case err != nil:
		return entry{}, err
	case len(found) == 0:
		return entry{}, ErrNotFound
	case found[0].ResolvedAt != nil:
		return entry{}, ErrResolved
	}
	return found[0], nil
}

// lockContact locks the shard of the contact that an entry is about, and returns
// the contact; nil where the entry names none.
func lockContact(ctx context.Context, tx pgx.Tx, seq int64) (*contact.Key, error) {
	found, err := showStmt.All(ctx, tx, entryArgs{seq})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, ErrNotFound
	}
	var key *contact.Key
	if found[0].EventSeq != nil {
		events, err := keyStmt.All(ctx, tx, entryArgs{seq})
		if err != nil {
			return nil, err
		}
		if len(events) == 0 {
			return nil, errors.New("its event is missing from the log")
		}
		key = &contact.Key{Tenant: events[0].ContextIdentifier, ID: events[0].PrimaryKey}
	} else if e, err := event.ParseStored(found[0].Body, time.Time{}); err == nil {
		key = contactOf(&e)
	}
	if key == nil {
		return nil, nil
	}
	if _, err := lockStmt.One(ctx, tx, lockArgs{key.Shard()}); err != nil {
		return nil, fmt.Errorf("lock the contact's shard: %w", err)
	}
	return key, nil
}

// contactOf is what e is about, if it is a contact: an event that is ignored may
// name one too. It is nil where e names none.
func contactOf(e *event.Event) *contact.Key {
	if e.PrimaryKey == nil {
		return nil
	}
	return &contact.Key{Tenant: e.Tenant, ID: *e.PrimaryKey}
}

func retryEvent(ctx context.Context, tx pgx.Tx, seq int64, key *contact.Key) error {
	events, err := keyStmt.All(ctx, tx, entryArgs{seq})
	if err != nil {
		return err
	}
	if len(events) != 1 || !events[0].HasBody {
		return ErrBodyGone
	}
	n, err := requeueStmt.Run(ctx, tx, requeueArgs{seq, key.Shard()})
	if err == nil && n != 1 {
		err = ErrResolved // by somebody else, just now
	}
	return err
}

func retryDelivery(ctx context.Context, tx pgx.Tx, d *entry, locked *contact.Key, v Verifier) error {
	if d.BytesRemovedAt != nil && len(d.Body) == 0 {
		return ErrBytesGone
	}
	at := d.ReceivedAt
	if d.Now.After(at) {
		at = d.Now
	}
	parse := event.Parse
	if d.BytesRemovedAt != nil { // only then the form of a redacted body is ours, and no sender's
		parse = event.ParseStored
	}
	e, err := parse(d.Body, at)
	if err != nil {
		return stillInvalid(ctx, tx, d.QuarantineSeq, err.Error())
	}
	if err := v.verify(d, e.Tenant); err != nil {
		return err
	}
	key := contactOf(&e)
	if key != nil && (locked == nil || *locked != *key) { // an erasure changes bodies, but not whom they are about
		return fmt.Errorf("its body now is about contact %d, which is not locked", key.ID)
	}
	err = pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
		_, err := inbox.PutIn(ctx, savepoint, inbox.Delivery{Body: d.Body, ReceivedAt: d.ReceivedAt, Event: &e})
		return err
	})
	switch {
	case pg.DataFault(err):
		return stillInvalid(ctx, tx, d.QuarantineSeq, pg.Explain(err))
	case err != nil:
		return err
	}
	if err := close(ctx, tx, d.QuarantineSeq, "retried"); err != nil || key == nil {
		return err
	}
	return erasure.Retried(ctx, tx, d.QuarantineSeq, *key)
}

// stillInvalid notes another try that failed, and returns why as a [*StillInvalidError].
func stillInvalid(ctx context.Context, tx pgx.Tx, seq int64, reason string) error {
	if _, err := attemptStmt.Run(ctx, tx, attemptArgs{seq, reason}); err != nil {
		return err
	}
	return &StillInvalidError{Reason: reason}
}

func close(ctx context.Context, tx pgx.Tx, seq int64, resolution string) error {
	n, err := resolveStmt.Run(ctx, tx, resolveArgs{seq, resolution})
	if err == nil && n != 1 {
		err = ErrResolved
	}
	return err
}
