package verify

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/audit"
	"contactmirror/internal/chain"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/simulator"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var received = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// rig is a database with the events of random lives.
type rig struct {
	*pgtest.DB
	t     testing.TB
	lives *simulator.Lives
}

func newRig(t testing.TB, seed uint64) *rig {
	t.Helper()
	return &rig{DB: pgtest.New(t), t: t, lives: simulator.NewLives(seed, []string{"Cust1", "Cust2"}, 30, received.AddDate(0, -1, 0))}
}

func testKey(t testing.TB, secret string) chain.Keys {
	t.Helper()
	key, err := chain.NewKey([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return chain.Keys{key}
}

// apply queues n more events, and applies them with key.
func (r *rig) apply(n int, key chain.Keys) {
	r.t.Helper()
	err := pgx.BeginFunc(context.Background(), r.Pool, func(tx pgx.Tx) error {
		for range n {
			body := r.lives.Next()
			e, err := event.Parse(body, received)
			if err != nil {
				return err
			}
			if _, err := inbox.PutIn(context.Background(), tx, inbox.Delivery{Body: body, ReceivedAt: received, Event: &e}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	worker := mirror.New(r.Pool, slog.New(slog.DiscardHandler), 2)
	worker.AuditKeys = key
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- worker.Run(ctx) }()
	worker.Wake()
	for deadline := time.Now().Add(time.Minute); r.value("select (exists (select from sync_queue))::text") != "false"; {
		if time.Now().After(deadline) {
			r.t.Fatalf("events are still queued; health: %+v", worker.Health())
		}
	}
	if len(key) > 0 { // what a worker does when it starts, and every half minute
		if _, err := audit.Sign(context.Background(), r.Pool, key); err != nil {
			r.t.Fatal(err)
		}
	}
	stop()
	if err := <-stopped; err != nil {
		r.t.Fatal(err)
	}
}

// adopt adopts what keys don't prove.
func (r *rig) adopt(keys chain.Keys) *Adopted {
	r.t.Helper()
	done, err := Adopt(context.Background(), r.Pool, AdoptOptions{Keys: keys, Actor: "tester", Reason: "a test"})
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

// value is the text in the only row of a query.
func (r *rig) value(query string, args ...any) string {
	r.t.Helper()
	var text string
	if err := r.Pool.QueryRow(context.Background(), query, args...).Scan(&text); err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
	return text
}

// tamper runs statements with the triggers off, as somebody may who owns the
// server.
func (r *rig) tamper(statements ...string) {
	r.t.Helper()
	err := pgx.BeginFunc(context.Background(), r.Pool, func(tx pgx.Tx) error {
		for _, statement := range append([]string{"set local session_replication_role = replica"}, statements...) {
			if _, err := tx.Exec(context.Background(), statement); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// run verifies.
func (r *rig) run(options Options) *Report {
	r.t.Helper()
	pool, err := pg.Open(r.URL, Conns)
	if err != nil {
		r.t.Fatal(err)
	}
	defer pool.Close()
	report, err := Run(context.Background(), pool, options)
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}
