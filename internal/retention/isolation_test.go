package retention_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/pgtest"
	"contactmirror/internal/retention"
)

// levels are the isolation levels that a database or a role may have for a default.
var levels = []string{"read committed", "repeatable read", "serializable"}

// poolAt opens a pool of sessions whose default is level.
func poolAt(t *testing.T, db *pgtest.DB, level string) *pgxpool.Pool {
	t.Helper()
	config := db.Pool.Config()
	config.ConnConfig.RuntimeParams["default_transaction_isolation"] = level
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestPrune_atAnyDefaultIsolation(t *testing.T) {
	t.Parallel()
	for _, level := range levels {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			partition(t, db.Pool, true, 11*day)
			store(t, db.Pool, 11*day, 1, 2)
			store(t, db.Pool, 10*day, 3)
			store(t, db.Pool, 0, 4)
			a, err := retention.Prune(t.Context(), poolAt(t, db, level), retention.Options{Keep: both(2 * day)})
			if err != nil || a.Bodies != 3 || a.Dropped != 1 {
				t.Errorf("%d bodies are gone, and %d partitions, %v; want 3 and 1", a.Bodies, a.Dropped, err)
			}
		})
	}
}

// Who waits for another process that makes the partitions finds them made.
func TestExtend_atAnyDefaultIsolation(t *testing.T) {
	t.Parallel()
	for _, level := range levels {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			drop(t, db.Pool, name(t, db.Pool, false, -7*day))
			tx, err := db.Pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.Background()) }()
			if _, err := tx.Exec(t.Context(), `select contactmirror_extend_bodies()`); err != nil {
				t.Fatal(err)
			}
			pool := poolAt(t, db, level)
			extended := make(chan error, 1)
			go func() {
				_, err := retention.Extend(t.Context(), pool)
				extended <- err
			}()
			for waits := false; !waits; {
				if err := db.Pool.QueryRow(t.Context(), `select exists (select from pg_locks where not granted and database = (select oid from pg_database where datname = current_database()))`).Scan(&waits); err != nil {
					t.Fatal(err)
				}
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-extended; err != nil {
				t.Error(err)
			}
		})
	}
}
