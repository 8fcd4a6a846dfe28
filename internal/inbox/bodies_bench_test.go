package inbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/contact"
	"contactmirror/internal/event"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/simulator"
)

// BenchmarkPartitions puts batches of 512 events and claims batches of 1,000,
// in turn on a plain table of bodies and on one with partitions of 90 days, and prints
// the ratios.
func BenchmarkPartitions(b *testing.B) {
	for _, count := range []int{1, 90} {
		b.Run(fmt.Sprint("partitions=", count), func(b *testing.B) {
			plain, parted := newPlain(b), newParted(b, count)
			lives := simulator.NewLives(1, []string{"Cust1"}, 5000, time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC))
			for b.Loop() {
				bodies := make([][]byte, 16*512)
				for i := range bodies {
					bodies[i] = lives.Next()
				}
				for at := 0; at < len(bodies); at += 512 {
					plain.put(b, bodies[at:at+512])
					parted.put(b, bodies[at:at+512])
				}
				for range 8 {
					plain.claim(b)
					parted.claim(b)
				}
			}
			for what, of := range map[string]func(*table) []time.Duration{
				"put": func(t *table) []time.Duration { return t.puts }, "claim": func(t *table) []time.Duration { return t.claims },
			} {
				before, after := median(of(plain)), median(of(parted))
				b.ReportMetric(float64(before.Microseconds())/1000, what+"-before-ms")
				b.ReportMetric(float64(after.Microseconds())/1000, what+"-after-ms")
				b.ReportMetric(float64(after)/float64(before), what+"-ratio")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// table is a database with one way to keep bodies.
type table struct {
	pool         *pgxpool.Pool
	puts, claims []time.Duration
}

func newPlain(b *testing.B) *table {
	db := pgtest.Durable(b)
	if _, err := db.Pool.Exec(b.Context(), `drop table webhook_bodies cascade; create table webhook_bodies (event_seq bigint primary key, received_at timestamptz not null, ignored boolean not null, body bytea not null)`); err != nil {
		b.Fatal(err)
	}
	return &table{pool: db.Pool}
}

// newParted has a partition for each of the last days, and those that are made ahead.
func newParted(b *testing.B, days int) *table {
	db := pgtest.Durable(b)
	if _, err := db.Pool.Exec(b.Context(), `select contactmirror_create_body_partition(false, (now() at time zone 'UTC')::date - n)
		from generate_series(0, $1::integer - 1) n`, days); err != nil {
		b.Fatal(err)
	}
	return &table{pool: db.Pool}
}

// put stores a batch in one commit, as a writer of the inbox does.
func (t *table) put(b *testing.B, bodies [][]byte) {
	received := time.Now()
	batch := make([]*request, len(bodies))
	for i, body := range bodies {
		e, err := event.Parse(body, received)
		if err != nil {
			b.Fatal(err)
		}
		batch[i] = &request{Delivery: Delivery{Body: body, ReceivedAt: received, Event: &e}}
		batch[i].key = keyOf(&batch[i].Delivery)
	}
	slices.SortFunc(batch, func(x, y *request) int { return x.key.compare(y.key) })
	began := time.Now()
	_, err := putStmt.All(context.Background(), t.pool, newPutArgs(batch))
	t.puts = append(t.puts, time.Since(began))
	if err != nil {
		b.Fatal(err)
	}
}

// claim claims a batch and lets it go again.
func (t *table) claim(b *testing.B) {
	// As the worker's are.
	tx, err := t.pool.BeginTx(context.Background(), pgx.TxOptions{BeginQuery: "begin isolation level read committed; set local jit = off; " +
		"set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_seqscan = off"})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	var marks Marks // what is rolled back leaves none
	began := time.Now()
	held, err := LockShards(context.Background(), tx, &marks, contact.Shards, 0)
	if err != nil {
		b.Fatal(err)
	}
	found, err := Claim(context.Background(), tx, &marks, held, 1000)
	t.claims = append(t.claims, time.Since(began))
	if err != nil || len(found) < 900 { // the shares of 32 shards
		b.Fatalf("claimed %d: %v", len(found), err)
	}
}

func median(all []time.Duration) time.Duration {
	slices.SortFunc(all, cmp.Compare)
	return all[len(all)/2]
}
