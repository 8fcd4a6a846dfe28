package mirror

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/contact"
	"contactmirror/internal/inbox"
)

// strip takes the values out of what is to be folded.
func (t *touched) strip() {
	for i, f := range t.facts {
		t.facts[i] = f.Erase()
	}
}

// stripBytes removes the bodies of erased contacts' events, and what else is
// kept of them, now that they are applied.
func stripBytes(ctx context.Context, tx pgx.Tx, contacts []*touched) error {
	var seqs []int64
	for _, t := range contacts {
		if !t.erased {
			continue
		}
		for _, e := range t.events {
			seqs = append(seqs, e.seq)
		}
	}
	if len(seqs) == 0 {
		return nil
	}
	return inbox.Strip(ctx, tx, seqs)
}

// Rewrite writes the row of a live contact anew: s is to be the fold of what the
// log says of it. The caller holds the lock of the contact's shard in tx.
func Rewrite(ctx context.Context, tx pgx.Tx, key contact.Key, s *contact.State, now time.Time) error {
	t := &touched{key: key, shape: &whole}
	rows, _ := tx.Query(ctx, whole.load, pgx.StrictNamedArgs{"context_identifiers": []string{key.Tenant}, "contact_ids": []int64{key.ID}}) // scan reports its error
	err := whole.scan(rows, func(_ int64, row pgtype.TID, stored contact.State) { t.row, t.stored = row, stored })
	if err == nil {
		t.state = *s
		var batch pgx.Batch
		queueRows(&batch, []*touched{t}, now)
		err = tx.SendBatch(ctx, &batch).Close()
	}
	if err != nil {
		return fmt.Errorf("mirror: rewrite %v: %w", key, err)
	}
	return nil
}
