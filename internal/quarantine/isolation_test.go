package quarantine_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/pgtest"
	"contactmirror/internal/quarantine"
)

// Of two who resolve one entry at the same time, the second is told that it has been
// resolved, whatever isolation level the database or the role has for a default.
func TestRetry_atAnyDefaultIsolation(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"read committed", "repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			config := db.Pool.Config()
			config.ConnConfig.RuntimeParams["default_transaction_isolation"] = level
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			for name, resolve := range map[string]func(context.Context, *pgxpool.Pool, int64) error{
				"retry": func(ctx context.Context, pool *pgxpool.Pool, seq int64) error {
					return quarantine.Retry(ctx, pool, "tester", seq, verifier)
				},
				"discard": func(ctx context.Context, pool *pgxpool.Pool, seq int64) error {
					return quarantine.Discard(ctx, pool, "tester", seq)
				},
			} {
				var seq int64
				err := db.Pool.QueryRow(t.Context(), `insert into quarantined_deliveries (received_at, reason, body, body_sha256)
					values (now(), 'new then', $1, sha256($1)) returning quarantine_seq`,
					[]byte(`{"Event":"test","EventId":"00000000-0000-4000-8000-000000000001","PrimaryKey":1,"Entity":"`+name+`"}`)).Scan(&seq)
				if err != nil {
					t.Fatal(err)
				}
				tx, err := db.Pool.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = tx.Rollback(context.Background()) }()
				if _, err := tx.Exec(t.Context(), `update quarantined_deliveries set resolved_at = now(), resolution = 'discarded' where quarantine_seq = $1`, seq); err != nil {
					t.Fatal(err)
				}
				resolved := make(chan error, 1)
				go func() { resolved <- resolve(t.Context(), pool, seq) }()
				until(t, db.Pool, `select exists (select from pg_locks where not granted and locktype = 'transactionid')::text`, "true")
				if err := tx.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := <-resolved; !errors.Is(err, quarantine.ErrResolved) {
					t.Errorf("%s: %v, want %v", name, err, quarantine.ErrResolved)
				}
			}
		})
	}
}
