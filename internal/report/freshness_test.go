package report_test

import (
	"fmt"
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
		to_char(mirrored_since at time zone 'UTC', 'HH24:MI'), receivers_alive,
		backlog, to_char(oldest_queued_at at time zone 'UTC', 'HH24:MI'), case when lag > interval '1 hour' then 'lags' end, open_quarantine,
		case when complete_through > now() - interval '10 s' then 'now' else to_char(complete_through at time zone 'UTC', 'HH24:MI') end,
		array_to_string(held_by, ', '))
	from mirror_freshness order by context_identifier`

// Each place where something may wait holds the tenants back that it may be of, and is
// named.
func TestFreshness_isHeldAndSaysBy(t *testing.T) {
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
		do(`truncate freshness, tenant_freshness`) // so that it may go back
		do(`select contactmirror_advance_freshness()`)
		rows, _ := db.Pool.Query(t.Context(), freshness)
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(lines, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	// Cust1 has two events in the queue, the older one in the later shard and with the
	// later Timestamp; Cust2 has one that was applied; Test had test events only.
	do(`insert into webhook_events (event_seq, context_identifier, event_id, event, primary_key, occurred_at, occurred_ticks, received_at, ignored, keyless_sha256) values
		(1, 'Cust1', gen_random_uuid(), 'contact.changed', 7, '2026-01-01 10:00 UTC', 0, '2026-01-01 10:01 UTC', false, null),
		(2, 'Cust1', gen_random_uuid(), 'contact.changed', 8, '2026-01-01 09:58 UTC', 0, '2026-01-01 10:03 UTC', false, null),
		(3, 'Cust2', gen_random_uuid(), 'contact.changed', 9, '2026-01-01 10:04 UTC', 0, '2026-01-01 10:05 UTC', false, null),
		(4, 'Cust2', null, 'test', null, null, null, '2026-01-01 10:06 UTC', true, '\x01'),
		(5, 'Test', null, 'test', null, null, null, '2026-01-01 10:07 UTC', true, '\x02')`)
	const applied = `insert into contact_audit_log (event_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks, received_at,
			recorded_at, changed_columns, unreadable_columns, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain)
		select event_seq, 0, context_identifier, primary_key, event, event_id, occurred_at, occurred_ticks, received_at, now(), '{}', '{}', false, 'applied', 'upserted', 0, 'webhook', 1, decode(repeat('00', 36), 'hex')
		from webhook_events where not ignored and context_identifier = `
	do(applied + `'Cust2'`)
	do(`insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes) values
		(9, 'Cust1', 1, '2026-01-01 10:01 UTC', 0), (3, 'Cust1', 2, '2026-01-01 10:03 UTC', 0)`)
	want("no receiver yet", "Cust1 10:03 10:00 10:01 0 2 10:01 lags 0 queue Cust1, receiver (none is running)",
		"Cust2 10:05 10:04 10:05 0 0 0 receiver (none is running)")

	do(`insert into processes (process, host, pid, roles, version, started_at, heartbeat_at, observed_at, spool_records, spool_bytes, spool_oldest_at, spool_moved_aside_files, spool_moved_aside_oldest_at, refused) values
		('00000000-0000-0000-0000-000000000001', 'one', 1, '{receive,sync}', 'v', now(), now(), now(), 0, 0, null, 0, null, 0),
		('00000000-0000-0000-0000-000000000002', 'two', 2, '{sync}', 'v', now(), '2026-01-01', '2026-01-01', 0, 0, null, 0, null, 0)`)
	const cust1, cust2 = "Cust1 10:03 10:00 10:01 1 2 10:01 lags ", "Cust2 10:05 10:04 10:05 1 0 "
	want("queued", cust1+"0 10:01 queue Cust1", cust2+"0 now ")

	do(`insert into quarantined_deliveries (received_at, reason, context_identifier, body, body_sha256) values
		('2026-01-01 09:40 UTC', 'test', 'Cust2', '', '\x01'), ('2026-01-01 09:30 UTC', 'test', 'Cust1', '', '\x02')`)
	want("quarantined", cust1+"1 09:30 quarantine 2, queue Cust1", cust2+"1 09:40 quarantine 1")
	do(`insert into quarantined_deliveries (received_at, reason, context_identifier, body, body_sha256) values ('2026-01-01 09:35 UTC', 'test', null, '', '\x03')`)
	want("anybody's", cust1+"1 09:30 quarantine 2, queue Cust1", cust2+"1 09:35 quarantine 3")
	for vouched, second := range map[string]string{
		`'{Cust1}', null`:              cust2 + "1 09:40 quarantine 1",
		`'{*}', '{Cust2}'`:             cust2 + "1 09:40 quarantine 1",
		`'{*}', '{Cust1}'`:             cust2 + "1 09:35 quarantine 3",
		`'{*,Cust2}', '{Cust1,Cust2}'`: cust2 + "1 09:35 quarantine 3",
	} {
		do(`update quarantined_deliveries set (vouched_for, vouched_except) = row (` + vouched + `) where context_identifier is null`)
		want("vouched for "+vouched, cust1+"1 09:30 quarantine 2, queue Cust1", second)
	}
	do(`update quarantined_deliveries set resolved_at = now(), resolution = 'discarded'`)

	do(`update processes set spool_records = 1, spool_bytes = 1, spool_oldest_at = '2026-01-01 09:00 UTC' where pid = 1`)
	const one, process = "spool one:1 00000000-0000-0000-0000-000000000001", "receiver one:1 00000000-0000-0000-0000-000000000001"
	want("spooled", cust1+"0 09:00 "+one+", queue Cust1", cust2+"0 09:00 "+one)
	do(`update processes set spool_moved_aside_files = 1, spool_moved_aside_oldest_at = '2026-01-01 08:30 UTC' where pid = 1`)
	want("moved aside, and older", cust1+"0 08:30 "+one+", queue Cust1", cust2+"0 08:30 "+one)
	do(`update processes set spool_records = 0, spool_bytes = 0, spool_oldest_at = null where pid = 1`)
	want("moved aside", cust1+"0 08:30 "+one+", queue Cust1", cust2+"0 08:30 "+one)
	do(`update processes set roles = '{sync}', spool_moved_aside_files = 0, spool_moved_aside_oldest_at = null, spool_oldest_at = '2026-01-01 07:30 UTC', spool_error = 'x', spool_failing_since = now() where pid = 1`)
	do(`insert into processes (process, host, pid, roles, version, started_at, heartbeat_at, observed_at) values
		('00000000-0000-0000-0000-000000000003', 'three', 3, '{receive}', 'v', now(), now(), now())`)
	want("spool that can't be opened by a process that no longer receives", cust1+"0 07:30 "+one+", queue Cust1", cust2+"0 07:30 "+one)
	do(`delete from processes where pid = 3`)

	const silent1, silent2 = "Cust1 10:03 10:00 10:01 0 2 10:01 lags ", "Cust2 10:05 10:04 10:05 0 0 "
	do(`update processes set roles = '{receive}', spool_oldest_at = null, spool_error = null, spool_failing_since = null,
		heartbeat_at = '2026-01-01', observed_at = '2026-01-01 08:00:02 UTC' where pid = 1`)
	want("silent", silent1+"0 08:00 "+process, silent2+"0 08:00 "+process)
	status, err := report.Read(t.Context(), db.Pool)
	if err != nil || !status.CompleteThrough.Equal(time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)) || status.ReceiversAlive != 0 || status.WorkersAlive != 0 {
		t.Errorf("status: %+v, %v", status.Mirror, err)
	}
	if diff := cmp.Diff([]string{process}, status.HeldBy); diff != "" {
		t.Errorf("status: held by (-want +got):\n%s", diff)
	}
	// Its row came with a dump of another database.
	do(`update processes set database_identity = 'another', heartbeat_at = now()`)
	want("of another database", silent1+"0 queue Cust1, receiver (none is running)", silent2+"0 receiver (none is running)")

	// The account is to balance when the test ends: what left the queue was applied.
	do(`delete from sync_queue`)
	do(applied + `'Cust1'`)
}

// An event whose commit has begun and not ended may be in no spool: what it is part of
// is named, and complete_through stands.
func TestFreshness_isHeldByATransaction(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	text := func(query string, args ...any) (text string) {
		t.Helper()
		if err := db.Pool.QueryRow(t.Context(), query, args...).Scan(&text); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return text
	}
	beat := func() {
		t.Helper()
		if _, err := db.Pool.Exec(t.Context(), `insert into processes (process, host, pid, roles, version, started_at, heartbeat_at, observed_at) values
			('00000000-0000-0000-0000-000000000001', 'one', 1, '{receive,sync}', 'v', now(), now(), now())
			on conflict (process) do update set heartbeat_at = now(), observed_at = now()`); err != nil {
			t.Fatal(err)
		}
		text(`select contactmirror_advance_freshness()::text`)
	}
	const through = `select complete_through::text from freshness`
	beat()
	before := text(through)
	conn, err := db.Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), `insert into webhook_events (context_identifier, event, received_at, ignored, keyless_sha256)
		select '', 'test', now(), true, '\x01' from pg_sleep(0.6)`); err != nil {
		t.Fatal(err)
	}
	beat()
	status, err := report.Read(t.Context(), db.Pool)
	want := fmt.Sprintf("transaction with process id %d of %s in %s", conn.Conn().PgConn().PID(), text("select current_user::text"), text("select current_database()::text"))
	if err != nil || len(status.HeldBy) != 1 || status.HeldBy[0] != want {
		t.Errorf("held by %q, %v, want %q", status.HeldBy, err, want)
	}
	if after := text(through); after != before {
		t.Errorf("complete through went from %s to %s", before, after)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	beat()
	if after := text(through); after == before {
		t.Error("complete_through still stands")
	}
}
