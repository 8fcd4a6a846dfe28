package audit_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"contactmirror/internal/pgtest"
)

// said is the delivery of an event of day n of January 2026, by associate n.
func said(contact, n int, kind, rest string) []byte {
	return fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-%02dT00:00:00Z","Event":"contact.%s",`+
		`"PrimaryKey":%d,"ContextIdentifier":"Cust1","ChangedByAssociateId":%d%s}`, n, n, kind, contact, n, rest)
}

// story is a database in which contact 7 was created, changed, deleted, restored
// and deleted again, contact 8 deleted for good, and contact 9 only changed. Part
// of it arrives late.
func story(t testing.TB) *pgtest.DB {
	t.Helper()
	db := pgtest.New(t)
	for _, batch := range [][][]byte{{
		said(7, 1, "created", `,"FieldValues":{"name":"Acme","country_id":578,"deleted":0,"updated":"2026-01-01T00:00:00"}`),
		said(7, 5, "changed", `,"Changes":["name","x_own"],"FieldValues":{"country_id":"[I:47]","updated":"2026-01-05T00:00:00.1234567+01:00"}`),
		said(7, 7, "softdeleted", `,"Changes":["deleted"]`),
		said(7, 11, "softdeleted", `,"FieldValues":{"DeletedDate":"2026-01-10T12:00:00"}`),
		said(8, 2, "changed", `,"FieldValues":{"name":"Gone Ltd"}`),
		said(8, 4, "softdeleted", ""),
		said(9, 3, "changed", `,"Changes":["name"],"FieldValues":{"xstop":1,"country_id":"none"}`),
	}, {
		said(8, 20, "deleted", ""),
	}, {
		said(8, 15, "deleted", ""), // the one that counts, though it took nothing away
		said(8, 16, "changed", `,"FieldValues":{"name":"Ghost"}`),
		said(7, 3, "changed", `,"FieldValues":{"country_id":752}`),
		said(7, 9, "changed", `,"FieldValues":{"deleted":0}`),
	}} {
		put(t, db, batch...)
		drain(t, db)
	}
	return db
}

func want(t testing.TB, db *pgtest.DB, query string, lines ...string) {
	t.Helper()
	if diff := gocmp.Diff(lines, rows(t, db, query)); diff != "" {
		t.Errorf("%s\n(-want +got):\n%s", query, diff)
	}
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	db := story(t)
	want(t, db, `select concat_ws(' ', contact_id, occurred_at at time zone 'UTC', event, transition, outcome, changed_by_associate_id, changed_columns, origin)
		from contact_timeline where context_identifier = 'Cust1' and contact_id <> 9 order by contact_id, occurred_ticks, event_rank, event_id`,
		"7 2026-01-01 00:00:00 contact.created created applied 1 {} webhook",
		"7 2026-01-03 00:00:00 contact.changed superseded 3 {} webhook",
		"7 2026-01-05 00:00:00 contact.changed applied 5 {name,x_own} webhook",
		"7 2026-01-07 00:00:00 contact.softdeleted soft_deleted applied 7 {deleted} webhook",
		"7 2026-01-09 00:00:00 contact.changed restored applied 9 {} webhook",
		"7 2026-01-11 00:00:00 contact.softdeleted soft_deleted applied 11 {} webhook",
		"8 2026-01-02 00:00:00 contact.changed applied 2 {} webhook",
		"8 2026-01-04 00:00:00 contact.softdeleted soft_deleted applied 4 {} webhook",
		"8 2026-01-15 00:00:00 contact.deleted hard_deleted applied 15 {} webhook",
		"8 2026-01-16 00:00:00 contact.changed after_delete 16 {} webhook",
		"8 2026-01-20 00:00:00 contact.deleted applied 20 {} webhook")
}

func TestChanges(t *testing.T) {
	t.Parallel()
	db := story(t)
	want(t, db, `select concat_ws(' ', contact_id, to_char(occurred_at at time zone 'UTC', 'DD'), kind, column_name, coalesce(old_text, '-'),
			'->', case when value_known then coalesce(new_text, 'NULL') else 'value unknown' end, 'from ' || value_from,
			'by ' || changed_by_associate_id, 'not before ' || to_char(not_before at time zone 'UTC', 'DD'))
		from contact_changes where context_identifier = 'Cust1' order by contact_id, occurred_ticks, event_rank, event_id, column_name`,
		`7 03 noticed country_id 578 -> 752 from event not before 01`,
		`7 05 noticed country_id 752 -> 47 from event not before 03`,
		`7 05 changed name Acme -> value unknown by 5`,
		`7 05 noticed updated 2026-01-01T00:00:00Z -> 2026-01-04T23:00:00.123456Z from event not before 01`,
		`7 07 changed deleted 0 -> value unknown by 7`,
		`9 03 changed name - -> value unknown by 3`)
	want(t, db, `select concat_ws(' ', contact_id, to_char(valid_from at time zone 'UTC', 'DD'), to_char(valid_to at time zone 'UTC', '- DD'), country_id, soft_deleted,
			pending_columns @> '{name}', 'by ' || changed_by_associate_id)
		from contact_history where context_identifier = 'Cust1' order by contact_id, valid_from`,
		"7 01 - 03 578 f f by 1", "7 03 - 05 752 f f by 3", "7 05 - 07 47 f t by 5", "7 07 - 09 47 t t by 7", "7 09 - 11 47 f t by 9", "7 11 47 t t by 11",
		"8 02 - 04 f f by 2", "8 04 - 15 t f by 4",
		"9 03 f t by 3")
}

// An event that names five columns and carries thirteen values changed what it names
// of SuperOffice's contact columns, and no more, in a contact not seen before.
func TestContactChanges_ofTheSampleAsFirstSight(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	body, err := os.ReadFile("../../testdata/deliveries/v11-changed.json")
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, body)
	drain(t, db)
	want(t, db, `select concat_ws(' ', kind, column_name, coalesce(old_text, '-'), '->', coalesce(new_text, 'value unknown'), 'by', changed_by_associate_id)
		from contact_changes order by column_name`,
		"changed name - -> value unknown by 5",
		"changed sound_ex - -> value unknown by 5",
		"changed updated - -> 2025-05-14T08:48:07.891203Z by 5",
		"changed updated_associate_id - -> value unknown by 5")
}

func TestDeletions(t *testing.T) {
	t.Parallel()
	db := story(t)
	want(t, db, `select concat_ws(' | ', contact_id, deletion, deleted_at at time zone 'UTC', deleted_by_associate_id, name,
			'restored ' || to_char(restored_at at time zone 'UTC', 'DD'), 'hard ' || to_char(hard_deleted_at at time zone 'UTC', 'DD'), last_known ->> 'last_event')
		from deleted_contacts where context_identifier = 'Cust1' order by contact_id, deleted_at`,
		"7 | soft | 2026-01-07 00:00:00 | 7 | Acme | restored 09 | contact.softdeleted",
		"7 | soft | 2026-01-11 00:00:00 | 11 | Acme | contact.softdeleted",
		"8 | soft | 2026-01-04 00:00:00 | 4 | Gone Ltd | hard 15 | contact.softdeleted",
		"8 | hard | 2026-01-15 00:00:00 | 15 | Gone Ltd | hard 15 | contact.softdeleted")
	want(t, db, `select concat_ws(' ', contact_id, name, soft_deleted_at at time zone 'UTC', expires_at at time zone 'UTC', days_left) from restorable_contacts`,
		"7 Acme 2026-01-10 12:00:00 2026-01-24 12:00:00 0.0")
	want(t, db, `select concat_ws(' ', contact_id, name, stale_columns, cardinality(unknown_columns)) from pending_contacts order by 1`, "7 Acme {name} 32")
}

// A contact can be restored for 14 times 24 hours, wherever the clocks of the session
// are, and as long as a minute is left it is not said to be over.
func TestRestorable_expiry(t *testing.T) {
	t.Parallel()
	db := story(t)
	conn, err := db.Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	check := func(zone, since, query, want string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), `set time zone '`+zone+`'; update contacts set soft_deleted_at = `+since+` where soft_deleted`, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(zone, since, err)
		}
		var got string
		if err := conn.QueryRow(t.Context(), query).Scan(&got); err != nil || got != want {
			t.Errorf("%s, since %s: got %s, %v, want %s", zone, since, got, err, want)
		}
	}
	for _, zone := range []string{"UTC", "Europe/Oslo", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"} {
		// Clocks change in Oslo on 29 March and 25 October 2026, in New York on 8 March
		// and 1 November, on Lord Howe Island on 5 April and 4 October.
		for _, since := range []string{"2026-03-01T01:30:00Z", "2026-03-20T00:59:59.999999Z", "2026-03-28T16:00:00Z", "2026-10-01T00:30:00Z", "2026-10-12T01:30:00Z", "2026-10-25T00:30:00Z"} {
			check(zone, "'"+since+"'", `select extract(epoch from expires_at - soft_deleted_at)::bigint::text from restorable_contacts`, fmt.Sprint(14*24*3600))
		}
		for left, days := range map[string]string{
			"336 hours": "14.0", "350 hours": "14.0", "335 hours 59 minutes": "14.0", "264 hours": "11.0", "262 hours": "11.0", "261 hours": "10.9",
			"2 hours 30 minutes": "0.2", "55 minutes": "0.1", "1 minute": "0.1", "-1 second": "0.0", "-400 hours": "0.0",
		} {
			check(zone, `now() - interval '336 hours' + interval '`+left+`'`, `select days_left::text from restorable_contacts`, days)
		}
	}
}

func TestProvenance(t *testing.T) {
	t.Parallel()
	db := story(t)
	const columns = `select concat_ws(' ', column_name, coalesce(value::text, '-'), case when pending then 'pending' end,
			event, to_char(occurred_at at time zone 'UTC', 'DD'), 'by ' || changed_by_associate_id, 'since ' || to_char(pending_since at time zone 'UTC', 'DD')) from `
	want(t, db, columns+`column_provenance('Cust1', 7) where event is not null or pending_since is not null order by column_name`,
		`country_id 47 contact.changed 05 by 5`,
		`deleted 0 contact.changed 09 by 9`,
		`deleted_date "2026-01-10T12:00:00Z" contact.softdeleted 11 by 11`,
		`name "Acme" pending contact.created 01 by 1 since 05`,
		`updated "2026-01-04T23:00:00.123456Z" contact.changed 05 by 5`)
	want(t, db, columns+`column_provenance('Cust1', 9) where event is not null or pending_since is not null order by column_name`,
		`country_id - pending since 03`, `name - pending since 03`, `xstop true contact.changed 03 by 3`)
	want(t, db, `select count(*) || ' ' || count(*) filter (where pending) from column_provenance('Cust1', 7)`, "37 33")
	want(t, db, `select count(*)::text from column_provenance('Cust1', 8)`, "0")
	// What is pending here is pending in the row.
	want(t, db, `select c.contact_id::text from contacts c, column_provenance(c.context_identifier, c.contact_id) p
		group by c.contact_id, c.pending_columns
		having array_agg(p.column_name order by p.column_name) filter (where p.pending) <> array(select unnest(c.pending_columns) order by 1)`, []string{}...)
}

// wholeTable is a plan that reads a big table, or all of its index.
var wholeTable = regexp.MustCompile(`Seq Scan on (contacts|contact_audit_log)\b|Index Cond: \(contact_id`)

// One contact is found by index, whatever is asked.
func TestOneContactIsFoundByIndex(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	fill(t, db.Pool, 2000)
	const key = ` where context_identifier = 'Cust1' and contact_id = 77`
	for _, query := range []string{
		`select * from contact_timeline` + key, `select * from contact_changes` + key, `select * from contact_history` + key, `select * from deleted_contacts` + key,
		`select * from restorable_contacts` + key, `select * from pending_contacts` + key,
	} {
		plan := strings.Join(rows(t, db, "explain (costs off) "+query), "\n")
		if wholeTable.MatchString(plan) || !strings.Contains(plan, "(contact_id = ") {
			t.Errorf("%s:\n%s", query, plan)
		}
	}
	// Pages of a tenant's lists are read by index too. BenchmarkReports has more of them,
	// for which the planner chooses other plans on tables as small as these.
	for query, index := range map[string]string{
		`select * from deleted_contacts where context_identifier = 'Cust1' and deleted_at >= '2026-08-01' and deleted_at < '2026-08-02'`:                                    "contact_audit_log_deletions",
		`select * from restorable_contacts where context_identifier = 'Cust1' order by soft_deleted_at limit 50`:                                                            "contacts_recycle_bin",
		`select * from contact_timeline where context_identifier = 'Cust1' order by audit_seq desc limit 50`:                                                                "contact_audit_log_pkey",
		`select * from contact_timeline where context_identifier = 'Cust1' and occurred_at >= '2026-06-01' and occurred_at < '2026-06-02' order by occurred_ticks limit 50`: "contact_audit_log_occurred_at",
	} {
		plan := strings.Join(rows(t, db, "explain (costs off) "+query), "\n")
		if wholeTable.MatchString(plan) || !strings.Contains(plan, index) {
			t.Errorf("%s:\n%s", query, plan)
		}
	}
	// The plan inside a function does not show; what it read does.
	for query, n := range map[string]string{
		`contacts_as_of('2026-03-01', 'Cust1', 77)`: "1", `contacts_as_known_at('2026-03-01', 'Cust1', 77)`: "1", `column_provenance('Cust1', 77)`: "37",
		`contact_changes_between('Cust1', '2026-03-01', '2026-03-01 03:00')`: "24", `contact_history('Cust1', 77)`: "5",
	} {
		before := sequential(t, db)
		want(t, db, `select count(*)::text from `+query, n)
		if after := sequential(t, db); after != before {
			t.Errorf("%s read whole tables: %s, before %s", query, after, before)
		}
	}
}

// sequential is how often the big tables were read from end to end by this
// connection's transactions and before.
func sequential(t testing.TB, db *pgtest.DB) string {
	t.Helper()
	if _, err := db.Pool.Exec(t.Context(), `select pg_stat_force_next_flush()`); err != nil {
		t.Fatal(err)
	}
	return rows(t, db, `select string_agg(relname || ' ' || seq_scan, ', ' order by relname) from pg_stat_user_tables where relname in ('contacts', 'contact_audit_log')`)[0]
}

// Functions for people are called by the names of their arguments, which their
// comments tell.
func TestFunctions_takeNamedArguments(t *testing.T) {
	t.Parallel()
	db := story(t)
	for _, call := range []string{
		`contacts_as_of(at => now(), context_identifier => 'Cust1', contact_id => 7)`, `contacts_as_of(now(), contact_id => 7)`,
		`contacts_as_known_at(at => now(), context_identifier => 'Cust1', contact_id => 7)`, `contacts_as_known_at(now(), 'Cust1', 7)`,
	} {
		want(t, db, `select concat_ws(' ', context_identifier, contact_id) from `+call, "Cust1 7")
	}
	want(t, db, `select count(*)::text from contact_changes_between(context_identifier => 'Cust1', "from" => '2026-01-05Z', "to" => '2026-01-07Z')`, "3")
	want(t, db, `select count(*)::text from contact_history(context_identifier => 'Cust1', contact_id => 7)`, "6")
	want(t, db, `select count(*)::text from column_provenance(context_identifier => 'Cust1', contact_id => 7)`, "37")
	want(t, db, `select count(*)::text from changes_since(after => 0, max_rows => 3)`, "0") // nothing is below the horizon yet
	want(t, db, `
		select p.proname::text
		from pg_proc p
		cross join lateral (
			select string_agg(name, ', ' order by place) as names
			from unnest(p.proargnames) with ordinality n (name, place)
			where place <= p.pronargs
		) a
		where p.pronamespace = current_schema()::regnamespace and p.proname not like 'contactmirror%' and p.pronargs > 0
			and obj_description(p.oid, 'pg_proc') not like p.proname || '(' || a.names || '):%'`, []string{}...)
}

// Every view of facts says where each stands in the source's order.
func TestViews_placeFacts(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	want(t, db, `
		select c.table_name || ' lacks ' || o.column_name
		from information_schema.columns c
		join information_schema.views v using (table_schema, table_name)
		cross join unnest('{context_identifier,contact_id,occurred_at,occurred_ticks,event_rank,event_id}'::text[]) o (column_name)
		where c.table_schema = current_schema() and c.column_name = 'event_id'
			and not exists (
				select from information_schema.columns h
				where h.table_schema = c.table_schema and h.table_name = c.table_name and h.column_name = o.column_name
			)`, []string{}...)
}

// Times in JSON are in UTC with a Z, and nothing in it depends on the settings of the
// session.
func TestJSON_sameInAllSessions(t *testing.T) {
	t.Parallel()
	db := story(t)
	for rows(t, db, `select concat(settled) from advance_log_horizon()`)[0] != "t" { // other tests' transactions hold it back
	}
	// Every jsonb column of a view or table, and what functions return in one.
	shown := rows(t, db, `
		select format('select %L as producer, row_number() over (order by %s) as place, %I as document from %I', c.table_name || '.' || c.column_name,
			case when c.table_name = 'contact_changes' then 'context_identifier, contact_id, occurred_ticks, event_rank, event_id, column_name' else 'audit_seq' end,
			c.column_name, c.table_name)
		from information_schema.columns c
		where c.table_schema = current_schema() and c.data_type = 'jsonb' and c.table_name not in ('operator_actions', 'quarantined_deliveries')`)
	if len(shown) < 8 {
		t.Fatalf("%d columns of JSON: the test tests little", len(shown))
	}
	shown = append(shown,
		`select 'changes_since', audit_seq, contact from changes_since(0)`,
		`select 'column_provenance', row_number() over (order by column_name), value from column_provenance('Cust1', 7)`,
		`select 'contactmirror_row', contact_id, contactmirror_row(c) from contacts c`)
	query := `select concat_ws(' ', producer, place, document) from (` + strings.Join(shown, " union all ") + `) s order by 1`
	inUTC := rows(t, db, query)
	for _, settings := range []string{
		`set time zone 'Asia/Kolkata'; set datestyle = 'SQL, DMY'`, `set time zone '<-0330>+03:30'; set datestyle = 'German'; set intervalstyle = 'iso_8601'`,
		`set time zone 'America/St_Johns'; set datestyle = 'Postgres, MDY'; set intervalstyle = 'sql_standard'; set extra_float_digits = 0; set bytea_output = 'escape'`,
	} {
		conn, err := db.Pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Exec(t.Context(), settings, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		found, _ := conn.Query(t.Context(), query)
		got, err := pgx.CollectRows(found, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(inUTC, got); diff != "" {
			t.Errorf("%s (-UTC +then):\n%s", settings, diff)
		}
		_ = conn.Hijack().Close(t.Context())
	}
	// field_values are as sent, and times without a zone at the source have none.
	zoneless := regexp.MustCompile(`"(dbi_last_\w+)": "[^"]*"`)
	instant := regexp.MustCompile(`"\d{4}-\d\d-\d\d[T ][^"]*"`)
	spelled := regexp.MustCompile(`^"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,5}[1-9])?Z"$`)
	times := 0
	for _, line := range inUTC {
		if strings.Contains(line, ".field_values ") {
			continue
		}
		for _, found := range instant.FindAllString(zoneless.ReplaceAllString(line, ""), -1) {
			times++
			if !spelled.MatchString(found) {
				t.Errorf("%s in %s", found, line)
			}
		}
	}
	if times < 50 {
		t.Errorf("%d times in JSON: the test tests little", times)
	}
	want(t, db, `select contact ->> 'soft_deleted_at' from changes_since(0) where contact ->> 'soft_deleted_at' is not null limit 1`, "2026-01-10T12:00:00Z")
}

// A report of a tenant that does not exist is an error, since an empty one says that
// it has no contacts. A webhook's registration alone makes no tenant.
func TestFunctions_refuseUnknownTenants(t *testing.T) {
	t.Parallel()
	db := story(t)
	put(t, db, []byte(`{"EventId":"00000000-0000-4000-8000-000000000099","Timestamp":"2026-01-01T00:00:00Z","Event":"test","PrimaryKey":0,"ContextIdentifier":"Tested"}`))
	put(t, db, []byte(`{"EventId":"00000000-0000-4000-8000-000000000098","Timestamp":"2026-01-01T00:00:00Z","Event":"person.changed","PrimaryKey":7,"ContextIdentifier":"Persons"}`))
	put(t, db, []byte(`{"EventId":"00000000-0000-4000-8000-000000000097","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.changed","PrimaryKey":7,"ContextIdentifier":"Queued"}`))
	calls := []string{
		"contacts_as_of(now(), %s)", "contacts_as_of(now(), %s, 7)", "contacts_as_of('2001-01-01', %s)", "contacts_as_known_at(now(), %s)", "contacts_as_known_at(now(), %s, 7)",
		"column_provenance(%s, 7)",
	}
	for _, call := range calls {
		for _, tenant := range []string{"'cust1'", "'Cust'", "''", "'Tested'"} {
			_, err := db.Pool.Exec(t.Context(), "select count(*) from "+fmt.Sprintf(call, tenant))
			refused, ok := errors.AsType[*pgconn.PgError](err)
			if !ok || refused.Code != "22023" || refused.Message != "unknown tenant "+tenant || strings.Contains(refused.Hint, "Cust1") {
				t.Errorf("%s of %s: %v", call, tenant, err)
			}
		}
		for _, tenant := range []string{"'Cust1'", "'Persons'", "'Queued'", "null"} {
			if _, err := db.Pool.Exec(t.Context(), "select count(*) from "+fmt.Sprintf(call, tenant)); err != nil {
				t.Errorf("%s of %s: %v", call, tenant, err)
			}
		}
		// Contacts that a known tenant does not have are no error.
		if strings.Contains(call, "7)") {
			want(t, db, `select count(*)::text from `+fmt.Sprintf(strings.Replace(call, "7)", "7777)", 1), "'Cust1'"), "0")
		}
	}
	// In no list, but in the account.
	for _, list := range []string{
		"contacts", "contact_timeline", "contact_changes", "deleted_contacts", "restorable_contacts", "pending_contacts", "contacts_as_of(now())", "contacts_as_known_at(now())",
	} {
		want(t, db, `select distinct context_identifier from `+list+` where context_identifier in ('Tested', 'Persons', 'Queued')`, []string{}...)
	}
	want(t, db, `select concat_ws(' ', accepted, ignored, balanced) from event_accounting where context_identifier = 'Tested'`, "1 1 t")
}

// As of an instant is as of its microsecond: so as of an event's occurred_at that
// event has happened, whatever its seventh digit.
func TestAsOf_wholeMicroseconds(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	const at = "2026-01-01T10:00:00.000000"
	for i, event := range []string{
		`"Timestamp":"2026-01-01T09:59:59.9999999Z","Event":"contact.created","FieldValues":{"country_id":1,"deleted":0}`,
		`"Timestamp":"2026-01-01T10:00:00.0000000Z","Event":"contact.changed","FieldValues":{"country_id":2,"deleted":0}`,
		`"Timestamp":"2026-01-01T10:00:00.0000009Z","Event":"contact.changed","FieldValues":{"country_id":3,"deleted":0}`,
		`"Timestamp":"2026-01-01T10:00:00.0000010Z","Event":"contact.changed","FieldValues":{"country_id":4,"deleted":0}`,
		`"Timestamp":"2026-01-01T10:00:00.0000019Z","Event":"contact.deleted"`,
	} {
		put(t, db, fmt.Appendf(nil, `{"EventId":"00000000-0000-4000-8000-%012d","PrimaryKey":7,"ContextIdentifier":"Cust1",%s}`, i, event))
		drain(t, db)
		// As of each event's own time it is in, through the row and through the log.
		want(t, db, `select concat_ws(' ', t.event_id, c.last_event_id, c.country_id) from contact_timeline t
			left join lateral contacts_as_of(t.occurred_at, 'Cust1') c on true
			where not exists (select from contact_timeline n where n.occurred_at = t.occurred_at and n.occurred_ticks > t.occurred_ticks)
				and c.last_event_id is distinct from t.event_id and not t.hard_deleted`, []string{}...)
	}
	for after, country := range map[string]string{"-1": "1", "0": "3", "1": "", "2": ""} {
		want(t, db, fmt.Sprintf(`select concat((select country_id from contacts_as_of('%s Z'::timestamptz + interval '%s microseconds', 'Cust1')))`, at, after), country)
		want(t, db, fmt.Sprintf(`select concat((select country_id from contacts_as_of('%s Z'::timestamptz + interval '%s microseconds', 'Cust1', 7)))`, at, after), country)
	}
	want(t, db, `select concat(obj_description('contacts_as_of(timestamptz, text, bigint)'::regprocedure) like '%cut to microseconds: so one whose occurred_ticks are up to 900 ns later than at is included%')`, "t")
}
