package mirror

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/inbox"
)

// strip takes the values out of what is to be folded.
func (t *touched) strip() {
	for i, f := range t.facts {
		t.facts[i] = f.Erase()
	}
}

// kept is what an audit row keeps of the values that its link commits to.
type kept struct {
	chain.Values
	salt          []byte
	commitment    []byte   // nil while the values and the salt are there
	erasedColumns []string // nil likewise
}

// keep keeps all of them, or of an erased contact and of a redacted event none:
// then the commitment stands for them, and the names of the columns that they were
// given to.
func keep(t *touched, e *claimed, l link, lastKnown []byte) kept {
	if !t.erased && e.Erased == nil {
		return kept{Values: chain.Values{FieldValues: e.FieldValues, IDValues: e.IDValues, LastKnown: lastKnown}, salt: l.salt}
	}
	if e.Erased != nil {
		return kept{commitment: l.commitment, erasedColumns: e.Erased}
	}
	names := make([]string, 0, len(e.Fact.Given))
	for _, cell := range e.Fact.Given {
		names = append(names, cell.Column.Spec().Source)
	}
	slices.Sort(names)
	return kept{commitment: l.commitment, erasedColumns: names}
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
