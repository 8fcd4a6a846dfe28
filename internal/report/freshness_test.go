package report_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/pgtest"
	"contactmirror/internal/report"
)

// freshness is mirror_freshness with times as those of one day in UTC, and what
// is within ten seconds of now as now.
const freshness = `
	select concat_ws(' ', context_identifier, to_char(newest_received_at at time zone 'UTC', 'HH24:MI'), to_char(newest_occurred_at at time zone 'UTC', 'HH24:MI'),
		backlog, to_char(oldest_queued_at at time zone 'UTC', 'HH24:MI'), case when lag > interval '1 hour' then 'lags' end, open_quarantine,
		case when complete_through > now() - interval '10 s' then 'now' else to_char(complete_through at time zone 'UTC', 'HH24:MI') end)
	from mirror_freshness order by context_identifier`

// Each place where something may wait holds the tenants back that it may be of.
func TestFreshness(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	do := func(statement string) {
		t.Helper()
		if _, err := db.Pool.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	want := func(what string, lines ...string) {
		t.Helper()
		rows, _ := db.Pool.Query(t.Context(), freshness)
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(lines, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	// Cust1 has two events in the queue, the older one in the later shard; Cust2 has
	// one that was ignored.
	do(`insert into webhook_events (event_seq, context_identifier, event_id, event, primary_key, occurred_at, occurred_ticks, received_at, ignored, keyless_sha256) values
		(1, 'Cust1', gen_random_uuid(), 'contact.changed', 7, '2026-01-01 10:00 UTC', 0, '2026-01-01 10:01 UTC', false, null),
		(2, 'Cust1', gen_random_uuid(), 'contact.changed', 8, '2026-01-01 10:02 UTC', 0, '2026-01-01 10:03 UTC', false, null),
		(3, 'Cust2', null, 'test', null, null, null, '2026-01-01 10:05 UTC', true, '\x01')`)
	do(`insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes) values
		(9, 'Cust1', 1, '2026-01-01 10:01 UTC', 0), (3, 'Cust1', 2, '2026-01-01 10:03 UTC', 0)`)
	want("queued", "Cust1 10:03 10:02 2 10:01 lags 0 10:01", "Cust2 10:05 0 0 now")

	do(`insert into quarantined_deliveries (received_at, reason, context_identifier, body, body_sha256) values
		('2026-01-01 09:40 UTC', 'test', 'Cust2', '', '\x01'), ('2026-01-01 09:30 UTC', 'test', 'Cust1', '', '\x02')`)
	want("quarantined", "Cust1 10:03 10:02 2 10:01 lags 1 09:30", "Cust2 10:05 0 1 09:40")
	do(`insert into quarantined_deliveries (received_at, reason, context_identifier, body, body_sha256) values ('2026-01-01 09:35 UTC', 'test', null, '', '\x03')`)
	want("somebody's", "Cust1 10:03 10:02 2 10:01 lags 1 09:30", "Cust2 10:05 0 1 09:35")
	do(`update quarantined_deliveries set resolved_at = now(), resolution = 'discarded'`)

	do(`insert into processes (process, host, pid, roles, version, started_at, heartbeat_at, observed_at, spool_records, spool_bytes, spool_oldest_at, spool_moved_aside_files, spool_moved_aside_oldest_at, refused) values
		('00000000-0000-0000-0000-000000000001', 'one', 1, '{receive,sync}', 'v', now(), now(), now(), 0, 0, null, 0, null, 0),
		('00000000-0000-0000-0000-000000000002', 'two', 2, '{sync}', 'v', now(), '2026-01-01', '2026-01-01', 0, 0, null, 0, null, 0)`)
	want("receivers that run, and a worker that is gone", "Cust1 10:03 10:02 2 10:01 lags 0 10:01", "Cust2 10:05 0 0 now")
	do(`update processes set spool_records = 1, spool_bytes = 1, spool_oldest_at = '2026-01-01 09:00 UTC' where pid = 1`)
	want("spooled", "Cust1 10:03 10:02 2 10:01 lags 0 09:00", "Cust2 10:05 0 0 09:00")
	do(`update processes set spool_moved_aside_files = 1, spool_moved_aside_oldest_at = '2026-01-01 08:30 UTC' where pid = 1`)
	want("moved aside, and older", "Cust1 10:03 10:02 2 10:01 lags 0 08:30", "Cust2 10:05 0 0 08:30")
	do(`update processes set spool_records = 0, spool_bytes = 0, spool_oldest_at = null where pid = 1`)
	want("moved aside", "Cust1 10:03 10:02 2 10:01 lags 0 08:30", "Cust2 10:05 0 0 08:30")
	do(`update processes set spool_moved_aside_oldest_at = '2026-01-01 11:00 UTC', observed_at = '2026-01-01 07:00:02 UTC' where pid = 1`)
	want("moved aside, and silent since before", "Cust1 10:03 10:02 2 10:01 lags 0 07:00", "Cust2 10:05 0 0 07:00")
	do(`update processes set roles = '{sync}' where pid = 1`)
	want("moved aside by a process that no longer receives", "Cust1 10:03 10:02 2 10:01 lags 0 07:00", "Cust2 10:05 0 0 07:00")
	do(`update processes set roles = '{receive}', spool_moved_aside_files = 0, spool_moved_aside_oldest_at = null, observed_at = '2026-01-01 08:00:02 UTC' where pid = 1`)
	want("silent", "Cust1 10:03 10:02 2 10:01 lags 0 08:00", "Cust2 10:05 0 0 08:00")

	do(`update processes set roles = '{sync}', spool_oldest_at = '2026-01-01 07:30 UTC', spool_error = 'x', spool_failing_since = now() where pid = 1`)
	want("spool that can't be opened", "Cust1 10:03 10:02 2 10:01 lags 0 07:30", "Cust2 10:05 0 0 07:30")
	do(`update processes set roles = '{receive}', spool_oldest_at = null, spool_error = null, spool_failing_since = null where pid = 1`)

	status, err := report.Read(t.Context(), db.Pool)
	if err != nil || !status.CompleteThrough.Equal(time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)) {
		t.Errorf("status: complete through %v, %v", status.CompleteThrough, err)
	}
	do(`delete from processes`)
	do(`delete from sync_queue`)
	do(`delete from quarantined_deliveries`)
	if status, err = report.Read(t.Context(), db.Pool); err != nil || !status.CompleteThrough.Equal(status.Now) {
		t.Errorf("status with nothing that waits: complete through %v at %v, %v", status.CompleteThrough, status.Now, err)
	}
	// The account is to balance when the test ends: what left the queue was applied.
	do(`insert into contact_audit_log (event_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks, received_at,
			recorded_at, changed_columns, unreadable_columns, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain)
		select event_seq, 0, context_identifier, primary_key, event, event_id, occurred_at, occurred_ticks, received_at, now(), '{}', '{}', false, 'applied', 'upserted', 0, 'webhook', 1, decode(repeat('00', 36), 'hex')
		from webhook_events where not ignored`)
}
