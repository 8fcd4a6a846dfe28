package migrations_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/pgtest"
	"contactmirror/internal/sequence"
	"contactmirror/migrations"
)

// A function that waits for a lock and then looks would not see what the holder of
// the lock has committed, in any other level than READ COMMITTED.
func TestFunctions_refuseOtherIsolationLevels(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for _, call := range []string{
		`contactmirror_erased('', 1, now())`,
		`contactmirror_strip_events('{}')`,
		`contactmirror_redact_event(1, null)`,
		`contactmirror_strip_delivery(1, '', 1)`,
		`contactmirror_erase('', 1, 1, null, '{}', '{}', '{}', '{}', '{}', '{}')`,
		`contactmirror_lift_erasure('', 1, 1)`,
		`contactmirror_drop_bodies('', now() - interval '2 days', true)`,
		`contactmirror_delete_bodies('', now() - interval '2 days', 0, 1, true)`,
		`contactmirror_prune_quarantine(now() - interval '2 days', 0, 1, true)`,
		`contactmirror_advance_sequences()`,
	} {
		for _, level := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable} {
			errUndo := errors.New("undone")
			err := pgx.BeginTxFunc(t.Context(), db.Pool, pgx.TxOptions{IsoLevel: level}, func(tx pgx.Tx) error {
				if _, err := tx.Exec(t.Context(), "select from "+call); err != nil {
					return err
				}
				return errUndo
			})
			if errors.Is(err, errUndo) || strings.Contains(err.Error(), "is no erasure") { // as there is none
				err = nil
			}
			if refused := err != nil && strings.Contains(err.Error(), "READ COMMITTED only"); refused == (level == pgx.ReadCommitted) || !refused && err != nil {
				t.Errorf("%s in %s: %v", call, level, err)
			}
		}
	}
}

// The program moves sequences whatever the default is.
func TestAdvanceSequences_atAnyDefaultIsolation(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"repeatable read", "serializable"} {
		db := pgtest.New(t)
		if _, err := db.Pool.Exec(t.Context(), `do $$ begin execute format('alter database %I set default_transaction_isolation = %L', current_database(), '`+level+`'); end $$`); err != nil {
			t.Fatal(err)
		}
		db.Pool.Reset()
		db.ResetSequences(t)
		moved, err := sequence.Advance(context.Background(), db.Pool)
		if err != nil || len(moved) != 1 {
			t.Errorf("%s: moved %v, %v, want goose's own", level, moved, err)
		}
		db.ResetSequences(t)
		if _, err := migrations.Up(t.Context(), db.URL); err != nil {
			t.Errorf("%s: %v", level, err)
		}
	}
}
