package sql_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/pgtest"
)

// worked is where the worked queries stand: blocks of SQL, each query under a
// comment that asks the question.
const worked = "../README.md"

// today is the day on which they are asked, at noon.
var today = time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC)

// asked maps each query's first line to the query.
func asked(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	queries := map[string]string{}
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for query := range strings.SplitSeq(block[1], ";\n") {
			query = strings.TrimSpace(query)
			question, rest, _ := strings.Cut(query, "\n")
			if query != "" {
				queries[strings.TrimPrefix(question, "-- ")] = rest
			}
		}
	}
	return queries
}

// Each question has its answer.
func TestWorkedQueries(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), lives); err != nil {
		t.Fatal(err)
	}
	// Somebody receives, and the mirror is up to date.
	if _, err := db.Pool.Exec(t.Context(), `insert into processes (process, host, pid, roles, version, started_at, heartbeat_at, observed_at)
		values (gen_random_uuid(), 'host', 1, '{receive}', '', now(), now(), now())`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Pool.Exec(t.Context(), `select contactmirror_advance_freshness()`); err != nil {
		t.Fatal(err)
	}
	queries := asked(t, worked)
	for question, want := range answers {
		query, ok := queries[question]
		if !ok {
			t.Errorf("nobody asks: %s", question)
			continue
		}
		delete(queries, question)
		// Only the queries' own now() is another: by the views' the bin's 14 days are over.
		query = strings.ReplaceAll(query, "now()", "'"+today.Format(time.RFC3339)+"'::timestamptz")
		rows, _ := db.Pool.Query(t.Context(), "select translate(q::text, '\"', '') from ("+query+") q")
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Errorf("%s: %v\n%s", question, err, query)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", question, diff)
		}
	}
	for question := range queries {
		t.Errorf("no answer is expected to: %s", question)
	}
}

// answers are what the worked queries find in lives, today.
var answers = map[string][]string{
	"Deletions per week and associate.": {
		"(2026-W20,5,1,1,0)", "(2026-W23,5,1,0,0)", "(2026-W23,6,1,0,0)", "(2026-W24,,0,0,1)",
	},
	"How often each column changes, and how often to a value that is known.": {
		"(name,2,0)", "(country_id,1,100)",
	},
	"Contacts that nobody has touched for a year.":                                                  {"(20,Old,2024-01-01 00:00:00+00)"},
	"Who changed what yesterday. A noticed change was made by an unknown person, after not_before.": {"(7,18,changed,,name,Acme,,f)", "(7,19,changed,,name,Beta,,f)"},
	"Why is this contact gone?": {
		"(soft,2026-06-02 00:00:00+00,6,contact.softdeleted,Gone Ltd,)",
		"(hard,2026-06-08 00:00:00+00,,contact.deleted,Gone Ltd,)",
	},
	"What is in the recycle bin, and for how much longer?": {"(21,Binned,2026-06-03 00:00:00+00,0.0)"},
	"How did this contact stand at the source a month ago, and what did we know of it then?": {
		"(at the source,18,Acme,826,f)", "(as known here,18,Acme,578,f)",
	},
	"What do we know today that last month's report did not?": {"(18,578,826)"},
	"Where does each value of a contact come from?": {
		"(country_id,826,contact.changed,5,f)", "(name,Acme,contact.created,5,t)",
	},
	"How did a contact change over time?": {
		"(2026-01-01 00:00:00+00,2026-05-01 00:00:00+00,5,Acme,578,f)",
		"(2026-05-01 00:00:00+00,2026-06-09 08:00:00+00,5,Acme,826,f)",
		"(2026-06-09 08:00:00+00,,7,Acme,826,f)",
	},
	"What happened to a contact, in order?": {
		"(2026-01-01 00:00:00+00,contact.created,created,applied,5,{})",
		"(2026-05-01 00:00:00+00,contact.changed,,applied,5,{country_id})",
		"(2026-06-09 08:00:00+00,contact.changed,,applied,7,{name})",
	},
	"May a report be made of everything up to last midnight?": {"(Cust1234,t,0,0)"},
}

// lives is what happened to some contacts of Cust1234, all of it applied. One
// event of contact 18 was told late.
const lives = `
with happened (event_seq, contact_id, at, recorded, event, changed_by, changed, given, flag) as (values
    (1, 20, '2024-01-01', null, 'created', 5, '{}', '{"name":"Old"}', false),
    (2, 994863, '2025-12-01', null, 'created', 5, '{}', '{"name":"Gone Ltd"}', false),
    (3, 21, '2025-12-02', null, 'created', 5, '{}', '{"name":"Binned"}', false),
    (4, 18, '2026-01-01', null, 'created', 5, '{}', '{"name":"Acme","country_id":578}', false),
    (5, 19, '2026-01-02', null, 'created', 5, '{}', '{"name":"Beta"}', false),
    (6, 21, '2026-05-11', null, 'softdeleted', 5, '{}', null, true),
    (7, 21, '2026-05-12', null, 'changed', 8, '{}', '{"deleted":0}', false),
    (8, 18, '2026-05-01', '2026-05-20', 'changed', 5, '{country_id}', '{"country_id":826}', null),
    (9, 994863, '2026-06-02', null, 'softdeleted', 6, '{}', null, true),
    (10, 21, '2026-06-03', null, 'softdeleted', 5, '{}', null, true),
    (11, 994863, '2026-06-08', null, 'deleted', null, '{}', null, null),
    (12, 18, '2026-06-09 08:00', null, 'changed', 7, '{name}', null, null),
    (13, 19, '2026-06-09 09:00', null, 'changed', 7, '{name}', null, null)
), facts as (
    select event_seq, contact_id, (at || ' UTC')::timestamptz as at, (coalesce(recorded, at) || ' UTC')::timestamptz as recorded,
        'contact.' || event as event, changed_by, changed::text[] as changed, given::jsonb as given, flag::boolean as flag,
        ('00000000-0000-0000-0000-' || lpad(event_seq::text, 12, '0'))::uuid as event_id
    from happened
), events as (
    insert into webhook_events (event_seq, context_identifier, event_id, event, primary_key, occurred_at, occurred_ticks, received_at, ignored)
    select event_seq, 'Cust1234', event_id, event, contact_id, at, extract(epoch from at) * 10000000, recorded, false from facts
), logged as (
    insert into contact_audit_log (event_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks, received_at, recorded_at,
        changed_columns, field_values, unreadable_columns, soft_deleted, hard_deleted, outcome, effect, given_columns, changed_by_associate_id, origin, last_known, chain_seq, chain)
    select event_seq, 0, 'Cust1234', contact_id, event, event_id, at, extract(epoch from at) * 10000000, recorded, recorded,
        changed, given, '{}', flag, event = 'contact.deleted', 'applied', 'upserted', 0, changed_by, 'webhook', case event when 'contact.deleted' then '{"name":"Gone Ltd"}'::jsonb end, 1, decode(repeat('00', 36), 'hex')
    from facts
), buried as (
    insert into contact_tombstones
    select 'Cust1234', contact_id, at, event_seq, extract(epoch from at) * 10000000, event_id from facts where event = 'contact.deleted'
)
insert into contacts (context_identifier, contact_id, name, country_id, deleted, soft_deleted, soft_deleted_at, pending_columns,
    last_event, last_event_id, last_event_at, last_event_ticks, last_changed_by_associate_id, first_seen_at, mirrored_at)
select 'Cust1234', f.contact_id, c.name, c.country_id, c.deleted, c.since is not null, c.since::timestamptz,
    array_remove('{kananame,department,number1,number2,org_nr,sound_ex,dbi_key}'::text[] || c.pending, null),
    f.event, f.event_id, f.at, extract(epoch from f.at) * 10000000, f.changed_by, f.recorded, f.recorded
from (values
    (1, 'Old', null, null, null, null), (10, 'Binned', null, 0, '2026-06-03 UTC', null),
    (12, 'Acme', 826, null, null, 'name'), (13, 'Beta', null, null, null, 'name')
) c (event_seq, name, country_id, deleted, since, pending)
join facts f using (event_seq)`
