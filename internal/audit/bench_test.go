package audit_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/pgtest"
)

var contacts = flag.Int("reports.contacts", 2000, "contacts of the tenant that BenchmarkReports asks about; each has five events")

// fill makes the tenant Cust1 with n contacts of five events each in 2026: all are
// created, then changed three times, and in the end changed, soft-deleted (one in
// ten) or hard-deleted (one in fifty). One contact in a hundred has an irregular row, and
// one event in two hundred noticed a column. The log lies in order of time, so that a
// contact's events lie far apart.
func fill(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	statements := strings.ReplaceAll(fillStatements, "{n}", fmt.Sprint(n))
	for statement := range strings.SplitSeq(statements, ";\n") {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

const fillStatements = `
create temporary table made as
select n + 1 as event_seq, 1 + (n * 7919 % {n}) as contact_id, gen_random_uuid() as event_id, at, kind
from generate_series(0::bigint, 5 * {n} - 1) n
cross join lateral (
    select '2026-01-01 UTC'::timestamptz + n * (20000000.0 / (5 * {n})) * interval '1 s' as at,
        case
            when n < {n} then 'contact.created'
            when n >= 4 * {n} and n % 50 = 0 then 'contact.deleted'
            when n >= 4 * {n} and n % 10 = 1 then 'contact.softdeleted'
            else 'contact.changed'
        end as kind
) k;
insert into webhook_events (event_seq, context_identifier, event_id, event, entity, primary_key, occurred_at, occurred_ticks, received_at, ignored)
select event_seq, 'Cust1', event_id, kind, 'contact', contact_id, at, (extract(epoch from at) * 10000000)::bigint, at + interval '1 s', false
from made;
insert into contact_audit_log (event_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks,
    received_at, recorded_at, changed_columns, field_values, unreadable_columns, noticed_columns, irregular, soft_deleted, hard_deleted, outcome, effect, given_columns,
    changed_by_associate_id, webhook_name, origin, chain_seq, chain, salt)
select event_seq, event_seq % 32, 'Cust1', contact_id, kind, event_id, at, (extract(epoch from at) * 10000000)::bigint,
    at + interval '1 s', at + interval '2 s',
    case kind
        when 'contact.created' then '{contact_id,name,department,number1,orgNr,soundEx,associate_id,business_idx,category_idx,country_id,xstop,updated,updated_associate_id}'
        when 'contact.deleted' then '{}'
        else '{contact_id,updated_associate_id,soundEx,updated,name}'
    end::text[],
    case when kind <> 'contact.deleted' then (
        '{"activeInterests":0,"associate_id":' || event_seq % 50 || ',"business_idx":2,"category_idx":4,"country_id":826,"deleted":'
        || (kind = 'contact.softdeleted')::integer || ',"DeletedDate":"'
        || case when kind = 'contact.softdeleted' then to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US1"Z"') else '0001-01-01T00:00:00' end
        || '","registered":"2020-02-16T17:50:17","registered_associate_id":5,"source":0,"updated":"'
        || to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US1') || '+02:00","userdef2_id":0,"userdef_id":22}'
    )::jsonb end,
    '{}', case when event_seq % 200 = 7 then '{category_idx}'::text[] end, event_seq % 500 = 9,
    case when kind <> 'contact.deleted' then kind = 'contact.softdeleted' end, kind = 'contact.deleted', 'applied',
    case kind when 'contact.deleted' then 'deleted' when 'contact.softdeleted' then 'soft_deleted' else 'upserted' end, case when kind = 'contact.deleted' then 0 else contactmirror_sent() end,
    event_seq % 50, 'Contact mirror', 'webhook', event_seq, decode(repeat('00', 36), 'hex'), uuid_send(event_id)
from made;
insert into contact_tombstones (context_identifier, contact_id, deleted_at, event_seq, occurred_ticks, event_id)
select context_identifier, contact_id, occurred_at, event_seq, occurred_ticks, event_id
from contact_audit_log
where hard_deleted;
analyze contact_audit_log;
analyze contact_tombstones;
insert into contacts
select r.*
from (
    select a.context_identifier, a.contact_id, (a.field_values ->> 'associate_id')::bigint as associate_id, 2 as business_idx, 4 as category_idx,
        826 as country_id, 5 as registered_associate_id, 22 as userdef_id, 0 as userdef2_id, 0 as source, 0 as active_interests,
        a.soft_deleted::integer as deleted, '2020-02-16 17:50:17 UTC'::timestamptz as registered, a.occurred_at - interval '2 hours' as updated,
        case when a.soft_deleted then a.occurred_at end as deleted_date, a.soft_deleted, case when a.soft_deleted then a.occurred_at end as soft_deleted_at,
        '{name,kananame,department,number1,number2,org_nr,sound_ex,dbi_key,updated_associate_id,text_id,mother_id,group_id,tz_location_id,ticket_priority_id,support_language_id,support_associate_id,support_person_id,dbi_agent_id,updated_count,active_erp_links,xstop,nomailing,dbi_last_syncronized,dbi_last_modified}'::text[] as pending_columns,
        a.event as last_event, a.event_id as last_event_id, a.occurred_at as last_event_at, a.occurred_ticks as last_event_ticks,
        a.changed_by_associate_id as last_changed_by_associate_id
    from contact_audit_log a
    where a.event_seq > 4 * {n} and not a.hard_deleted
) f
cross join lateral jsonb_populate_record(
    null::contacts, to_jsonb(f) || jsonb_build_object('first_seen_at', f.last_event_at, 'mirrored_at', f.last_event_at + interval '2 s')
) r;
vacuum analyze webhook_events;
vacuum analyze contact_audit_log;
vacuum analyze contacts;
vacuum analyze contact_tombstones`

// BenchmarkReports asks what reports ask, of a tenant of -reports.contacts
// contacts, and prints times and, with -v, plans:
//
//	go test ./internal/audit -v -run '^$' -bench Reports -benchtime 1x -timeout 60m -args -reports.contacts=1000000
func BenchmarkReports(b *testing.B) {
	db := pgtest.New(b)
	fill(b, db.Pool, *contacts)
	if _, err := db.Pool.Exec(b.Context(), `insert into processes (process, host, pid, roles, version, started_at, heartbeat_at, observed_at, spool_records, spool_bytes, refused)
		values (gen_random_uuid(), 'one', 1, '{receive}', 'v', now(), now(), now(), 0, 0, 0)`); err != nil {
		b.Fatal(err)
	}
	const day = 24 * time.Hour
	end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(20_000_000 * time.Second)
	for _, q := range slices.Concat(documented(b, end), []question{
		{"timeline/newest", `select * from contact_timeline where context_identifier = 'Cust1' order by audit_seq desc limit 50`},
		{"timeline/day", at(`select * from contact_timeline where context_identifier = 'Cust1' and occurred_at >= '%s' and occurred_at < '%s' order by occurred_at limit 50`, end.Add(-60*day), end.Add(-59*day))},
		{"changes/contact", `select * from contact_changes where context_identifier = 'Cust1' and contact_id = 77`},
		{"changes/newest", `select * from contact_changes where context_identifier = 'Cust1' order by audit_seq desc limit 50`},
		{"changes/day", at(`select * from contact_changes_between('Cust1', '%s', '%s')`, end.Add(-60*day), end.Add(-59*day))},
		{"deletions/newest", `select * from deleted_contacts where context_identifier = 'Cust1' order by deleted_at desc limit 50`},
		{"deletions/weeks", `select date_trunc('week', deleted_at, 'UTC'), deleted_by_associate_id, deletion, count(restored_at) from deleted_contacts where context_identifier = 'Cust1' group by 1, 2, 3`},
		{"deletions/known", `select contact_id, name, last_known from deleted_contacts where context_identifier = 'Cust1' and deletion = 'hard' order by deleted_at desc limit 50`},
		{"transitions", `select transition, count(*) from contact_timeline where context_identifier = 'Cust1' group by 1`},
		{"pending/page", `select * from pending_contacts where context_identifier = 'Cust1' order by contact_id limit 50`},
		{"pending", `select * from pending_contacts where context_identifier = 'Cust1'`},
		{"restorable/page", `select * from restorable_contacts where context_identifier = 'Cust1' order by soft_deleted_at limit 50`},
		{"as_of/contact", at(`select * from contacts_as_of('%s', 'Cust1', 77)`, end.Add(-60*day))},
		{"as_known_at/contact", at(`select * from contacts_as_known_at('%s', 'Cust1', 77)`, end.Add(-60*day))},
		{"as_of/now", `select * from contacts_as_of(now(), 'Cust1')`},
		{"as_of/day_ago", at(`select * from contacts_as_of('%s', 'Cust1')`, end.Add(-day))},
		{"as_of/month_ago", at(`select * from contacts_as_of('%s', 'Cust1')`, end.Add(-30*day))},
		{"as_of/middle", at(`select * from contacts_as_of('%s', 'Cust1')`, end.Add(-116*day))},
		{"as_known_at/month_ago", at(`select * from contacts_as_known_at('%s', 'Cust1')`, end.Add(-30*day))},
	}) {
		b.Run(q.name, func(b *testing.B) {
			found, _ := db.Pool.Query(b.Context(), "explain (costs off) "+q.query)
			plan, err := pgx.CollectRows(found, pgx.RowTo[string])
			if err != nil {
				b.Fatal(err)
			}
			var n int64
			for b.Loop() {
				// The rows are made whole, and stay in the server.
				if n, err = read(b.Context(), db.Pool, q.query); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n), "rows")
			if testing.Verbose() { // a benchmark's log is cut
				fmt.Printf("%s\n%s\n", q.query, strings.Join(plan, "\n"))
			}
		})
	}
}

// question is a query, with a name for it.
type question struct{ name, query string }

// documented is the queries of README's "What to query", by their first lines, about
// the tenant and contacts that are here, as if asked at a time.
func documented(t testing.TB, now time.Time) (questions []question) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	ours := strings.NewReplacer("'Cust1234'", "'Cust1'", "994863", "77", "now()", "'"+now.Format(time.RFC3339)+"'::timestamptz")
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for query := range strings.SplitSeq(block[1], ";\n") {
			name, query, found := strings.Cut(strings.TrimSpace(query), "\n")
			if found {
				questions = append(questions, question{"README/" + strings.TrimPrefix(name, "-- "), ours.Replace(query)})
			}
		}
	}
	if len(questions) == 0 {
		t.Fatal("README has no queries")
	}
	return questions
}

// Every documented query runs on a tenant like that of [BenchmarkReports].
func TestDocumented_run(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	fill(t, db.Pool, 2000)
	for _, q := range documented(t, time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)) {
		if _, err := read(t.Context(), db.Pool, q.query); err != nil {
			t.Errorf("%s: %v", q.name, err)
		}
	}
}

func at(query string, times ...time.Time) string {
	args := make([]any, len(times))
	for i, t := range times {
		args[i] = t.Format(time.RFC3339)
	}
	return fmt.Sprintf(query, args...)
}

// read runs a query to its end without sending its rows.
func read(ctx context.Context, pool *pgxpool.Pool, query string) (n int64, err error) {
	err = pool.QueryRow(ctx, `select count(*) from (`+query+` offset 0) q where q is not null or true`).Scan(&n)
	return n, err
}
