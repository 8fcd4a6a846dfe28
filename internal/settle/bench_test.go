package settle_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"contactmirror/internal/pgtest"
)

var rows = flag.Int("settle.rows", 100_000, "events in the log of BenchmarkAccount")

// BenchmarkAccount reads event_accounting of a large log, sealed but for a tail
// of 9,999, with an empty queue and with a long one; and it seals.
func BenchmarkAccount(b *testing.B) {
	db := pgtest.Durable(b).Unchained(b)
	fill(b, db.Pool, *rows+9_999) // as long a tail as there is
	execute(b, db.Pool, `vacuum analyze`)
	for text(b, db.Pool, `select audit_seq::text from log_horizon`) == "0" {
		execute(b, db.Pool, `select * from advance_log_horizon()`)
	}
	var longest time.Duration
	steps, began := 0, time.Now()
	for text(b, db.Pool, `select (h.event_seq - s.event_seq >= 10000)::text from log_horizon h, accounting_seal s`) == "true" {
		step := time.Now()
		execute(b, db.Pool, `select seal_accounts(20000)`)
		longest, steps = max(longest, time.Since(step)), steps+1
	}
	b.Logf("sealed %d rows of each log in %v, %d steps, the longest %v", *rows, time.Since(began), steps, longest)
	read := func(b *testing.B) {
		for b.Loop() {
			text(b, db.Pool, `select sum(accepted)::text from event_accounting`)
		}
	}
	b.Run(fmt.Sprintf("rows=%d/sealed", *rows), read)
	execute(b, db.Pool, `insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes)
		select i % 32, 'Cust' || i % 10, 1000000000 + i, now(), 0 from generate_series(1, 10 * least($1, 100000)) i`, *rows)
	execute(b, db.Pool, `vacuum analyze sync_queue`)
	b.Run(fmt.Sprintf("rows=%d/queued=%d", *rows, 10*min(*rows, 100_000)), read)
	execute(b, db.Pool, `truncate sync_queue`)
}
