package erasure

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/contact"
	"contactmirror/internal/event"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

// What follows is for those who apply, store and retry what comes for contacts, each
// in its own transaction.

var (
	stripStmt         = pg.NewColumn[stripArgs, int64](sql.ErasureStrip)
	bodyStmt          = pg.NewColumn[bodyArgs, []byte](sql.ErasureBody)
	redactStmt        = pg.NewColumn[redactArgs, bool](sql.ErasureRedact)
	stripDeliveryStmt = pg.NewColumn[stripDeliveryArgs, bool](sql.ErasureStripDelivery)
)

type (
	stripArgs struct{ EventSeqs []int64 }
	bodyArgs  struct {
		EventSeq   int64
		ReceivedAt time.Time
	}
	redactArgs struct {
		EventSeq int64
		Redacted []byte
	}
	stripDeliveryArgs struct {
		QuarantineSeq int64
		keyArgs
	}
)

// Extent says which events of a contact have no values: those received before the last
// erasure was lifted. The zero value is none of them.
type Extent struct {
	through pgtype.Timestamptz
}

// NewExtent is the extent of the erasures of a contact of which the last one was lifted
// at an instant, infinity where it is in force.
func NewExtent(through pgtype.Timestamptz) Extent { return Extent{through} }

// Covers reports whether an event received at an instant has no values.
func (x Extent) Covers(receivedAt time.Time) bool {
	return x.through.Valid && (x.through.InfinityModifier == pgtype.Infinity || !receivedAt.After(x.through.Time))
}

// OfRow reports whether the audit row of e, received at an instant, may not keep its
// values: it is covered, or its body was redacted.
func (x Extent) OfRow(e *event.Contact, receivedAt time.Time) bool {
	return e.Erased != nil || x.Covers(receivedAt)
}

// Applied removes the bytes of those of the events, applied in tx, whose contact is
// erased: bodies, hashes of duplicates and what quarantine had of them.
func Applied(ctx context.Context, tx pgx.Tx, eventSeqs []int64) error {
	if len(eventSeqs) == 0 {
		return nil
	}
	if _, err := stripStmt.One(ctx, tx, stripArgs{eventSeqs}); err != nil {
		return fmt.Errorf("erasure: strip %d events: %w", len(eventSeqs), err)
	}
	return nil
}

// Quarantined redacts an event, received at receivedAt, that tx has put into
// quarantine, where its contact is erased. It can still be applied then.
func Quarantined(ctx context.Context, tx pgx.Tx, eventSeq int64, receivedAt time.Time) error {
	found, err := bodyStmt.All(ctx, tx, bodyArgs{eventSeq, receivedAt})
	if err == nil && len(found) == 1 {
		redacted, _ := event.Redact(found[0]) // nil where nothing of it can be kept
		_, err = redactStmt.One(ctx, tx, redactArgs{eventSeq, redacted})
	}
	if err != nil {
		return fmt.Errorf("erasure: redact event %d: %w", eventSeq, err)
	}
	return nil
}

// Subjects is whom a delivery is about that is no event, verified under tenant, nil for
// none, and what quarantine keeps of it where one of them is erased: nil for nothing.
// Of a delivery that was verified under no tenant nobody can tell.
func Subjects(tenant *string, body []byte) (contactIDs []int64, redacted []byte) {
	if tenant != nil {
		contactIDs, _ = event.Subjects(body)
	}
	redacted, _ = event.Redact(body)
	return contactIDs, redacted
}

// Retried removes the bytes of a quarantined delivery that became an event of the
// contact of key in tx, where the contact is erased.
func Retried(ctx context.Context, tx pgx.Tx, quarantineSeq int64, key contact.Key) error {
	if _, err := stripDeliveryStmt.One(ctx, tx, stripDeliveryArgs{quarantineSeq, argsOf(key)}); err != nil {
		return fmt.Errorf("erasure: strip delivery %d: %w", quarantineSeq, err)
	}
	return nil
}
