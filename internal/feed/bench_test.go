package feed_test

import (
	"context"
	"testing"

	"contactmirror/internal/feed"
	"contactmirror/internal/pgtest"
)

// BenchmarkRead follows a log of 100,000 changes of 20,000 contacts to its end,
// a full page at a time.
func BenchmarkRead(b *testing.B) {
	db := pgtest.Durable(b).Unchained(b)
	for _, statement := range []string{
		`insert into contact_audit_log (event_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks,
				received_at, recorded_at, changed_columns, unreadable_columns, soft_deleted, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain)
			select null, 0, 'Cust1', 1 + i % 20000, 'contact.changed', gen_random_uuid(), now(), i, now(), now(), '{}', '{}', false, false, 'applied', 'upserted', 0, 'fetch', 1, decode(repeat('00', 36), 'hex')
			from generate_series(1, 100000) i`,
		`insert into contacts (context_identifier, contact_id, name, soft_deleted, pending_columns, last_event, last_event_id, last_event_at, last_event_ticks, first_seen_at, mirrored_at)
			select 'Cust1', i, 'A company', false, '{}', 'contact.changed', gen_random_uuid(), now(), 0, now(), now() from generate_series(1, 20000) i`,
		`update log_horizon set audit_seq = 100000, noted_audit_seq = 100000`,
		`update sync_shards set audit_seq = 100000 - shard`,
		`analyze`,
	} {
		if _, err := db.Pool.Exec(context.Background(), statement); err != nil {
			b.Fatal(err)
		}
	}
	f := feed.New(db.Pool, quiet)
	n := 0
	for b.Loop() {
		var after feed.Cursor
		for last := int64(0); last < 100_000; {
			page, next, err := f.Read(context.Background(), after, feed.MaxChanges)
			if err != nil || len(page) == 0 {
				b.Fatal(len(page), err)
			}
			after, last = next, page[len(page)-1].AuditSeq
			n += len(page)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "changes/s")
}
