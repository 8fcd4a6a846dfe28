package mirror

import (
	"context"

	"github.com/jackc/pgx/v5"

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
