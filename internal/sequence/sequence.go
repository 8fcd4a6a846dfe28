// Package sequence moves sequences that are behind the columns they number.
//
// A data-only restore and an upgrade by logical replication copy rows and leave
// sequences where they were, so that the numbers drawn next are taken. Whoever
// meets such a number calls [Advance] and starts over; no row is at fault. The
// database does the work, in a function of the owner: it never moves a sequence
// back, and never hands out a number twice.
package sequence

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var advanceStmt = pg.NewQuery[pg.NoArgs, Moved](sql.SequenceAdvance)

// Moved is a sequence that was behind, or had options that put numbers out of order.
type Moved struct {
	SequenceName string
	// Numbers is the column that it numbers.
	Numbers string
	// MovedFrom and MovedTo are its next number before and after.
	MovedFrom, MovedTo int64
	// Options is the increment, cache and cycle that it had, nil where they were right.
	Options *string
}

// Advance moves the sequences that are behind and returns them. It fails where
// transactions that have drawn numbers do not end within half a second.
func Advance(ctx context.Context, pool *pgxpool.Pool) ([]Moved, error) {
	moved, err := advanceStmt.Commit(ctx, pool, pg.NoArgs{})
	if err != nil {
		return nil, fmt.Errorf("sequence: advance those behind their tables: %w", err)
	}
	return moved, nil
}

// Log logs what was moved.
func Log(log *slog.Logger, moved []Moved) {
	for _, m := range moved {
		if m.Options != nil {
			log.Warn("a sequence had options that put its numbers out of order, and has been altered to increment 1, cache 1 and no cycle; events applied meanwhile may fail to verify",
				"sequence", m.SequenceName, "column", m.Numbers, "options", *m.Options)
		}
		if m.MovedFrom == m.MovedTo {
			continue
		}
		log.Warn("a sequence was behind its table and has been moved forward; were rows restored or replicated without their sequences?",
			"sequence", m.SequenceName, "column", m.Numbers, "from", m.MovedFrom, "to", m.MovedTo)
	}
}
