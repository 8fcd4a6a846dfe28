package erasure_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/audit"
	"contactmirror/internal/contact"
	"contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/internal/rebuild"
	"contactmirror/internal/refold"
	"contactmirror/internal/verify"
	"contactmirror/sql"
)

// reportFunctions are the functions that report on facts, with calls whose results
// must not depend on erasures; none where another test looks at the function, or it
// reports nothing.
var reportFunctions = map[string][]string{
	"contacts_as_of": {
		"contacts_as_of(now() + interval '1 day')", "contacts_as_of('2026-01-01T00:00:02Z')", "contacts_as_of('2026-01-01T00:00:05Z', 'Cust1')",
		"contacts_as_of('2026-01-01T00:00:07.5Z')", "contacts_as_of('2025-12-31T00:00:00Z')", "contacts_as_of('2001-01-01Z')", "contacts_as_of('2026-01-01T00:00:02Z', 'Cust1', 1)", "contacts_as_of('2001-01-01Z', 'Cust1', 1)",
	},
	"contacts_as_known_at": {
		"contacts_as_known_at(now() + interval '1 day')", "contacts_as_known_at((select recorded_at from contact_audit_log where outcome is not null order by audit_seq offset 4 limit 1))",
		"contacts_as_known_at('2001-01-01Z')", "contacts_as_known_at('2001-01-01Z', 'Cust1', 1)",
	},
	"column_provenance": {"column_provenance('Cust1', 1)", "column_provenance('Cust1', 4)", "column_provenance('Cust1', 9)"},
	"contact_changes_between": {
		"contact_changes_between('Cust1', '2026-01-01T00:00:01Z', '2026-01-01T00:00:07Z')", "contact_changes_between('Cust1', '2001-01-01Z', '2001-01-02Z')",
	},
	"contact_history": {"contact_history('Cust1', 2)", "contact_history('Cust1', 4)"},
	"changes_since":   {"(select c.* from changes_since(0) c where c.outcome is not null)"},
	// These two are called once before the rows are compared.
	"advance_log_horizon": nil,
	"seal_accounts":       nil,
	// They report nothing.
	"changes_cursor": nil,
	"changes_held":   nil,
}

// timely are what changes as time passes.
const timely = `'{complete_through,lag,days_left,mirrored_at,contact,last_known}'`

// reports is everything that is reported, refolded, verified and counted, but of the
// contact left out.
func (r *rig) reports(pool *pgxpool.Pool, leftOut int64) map[string][]string {
	r.t.Helper()
	found := map[string][]string{}
	read := func(from string) {
		found[from] = r.texts(`
			select t.row::text from (select to_jsonb(v) - `+timely+`::text[] as row from `+from+` v) t
			where t.row ->> 'contact_id' is distinct from $1 order by 1`, fmt.Sprint(leftOut))
	}
	for _, view := range r.texts(`select relname::text from pg_class where relnamespace = current_schema()::regnamespace and relkind = 'v'`) {
		read(view)
	}
	read("contacts")
	read("contact_tombstones")
	for _, function := range r.texts(`
		select distinct proname::text from pg_proc
		where pronamespace = current_schema()::regnamespace and proname not like 'contactmirror%' and prokind = 'f'`) {
		calls, known := reportFunctions[function]
		if !known {
			r.t.Errorf("is %s a report? Say in reportFunctions how to call it", function)
		}
		for _, call := range calls {
			read(call)
		}
	}
	keep := func(what string, value any, err error) {
		r.t.Helper()
		text, failed := json.Marshal(value)
		if err != nil || failed != nil {
			r.t.Fatal(what, err, failed)
		}
		found[what] = append(found[what], string(text))
	}
	for id := range int64(10) {
		if id > 0 && id != leftOut {
			now, entries, err := audit.History(context.Background(), r.Pool, contact.Key{Tenant: "Cust1", ID: id})
			keep(fmt.Sprint("history of ", id), now, err)
			keep(fmt.Sprint("history of ", id), entries, err)
			tenants, err := audit.Tenants(context.Background(), r.Pool, id)
			keep(fmt.Sprint("tenants of ", id), tenants, err)
		}
	}
	epoch := time.Unix(0, 0)
	for name, scope := range map[string]refold.Scope{"all": {}, "since": {Logged: true, Since: &epoch}} {
		result, err := rebuild.Run(context.Background(), pool, rebuild.Options{Scope: scope, DryRun: true})
		if err == nil {
			result.Folding = 0
		}
		keep("rebuild of "+name, result, err)
	}
	report, err := verify.Run(context.Background(), pool, verify.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	report.Events.Bodies = 0            // an erasure removes them
	report.Erasures = verify.Erasures{} // rows that only say so are in no register
	keep("verify", []any{report.Mirror, report.Events, report.Accounts, report.Differences()}, nil)
	rows, _ := r.Pool.Query(context.Background(), sql.SettleRecount)
	recounted, err := pgx.CollectRows(rows, pgx.RowTo[string])
	keep("recount", recounted, err)
	return found
}

// appendRow writes a row that is no fact, as an erasure does, and erases nothing.
func (r *rig) appendRow(event string, key contact.Key, at time.Time) {
	r.t.Helper()
	err := pgx.BeginFunc(context.Background(), r.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(context.Background(), sql.ErasureLock, pgx.StrictNamedArgs{"shard": key.Shard()}); err != nil {
			return err
		}
		var id pgtype.UUID
		if err := tx.QueryRow(context.Background(), "select gen_random_uuid()").Scan(&id); err != nil {
			return err
		}
		row := audit.NewOperatorRow(event, key, id, at)
		return audit.Append(context.Background(), tx, nil, &row)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// Rows of the log that are no facts change nothing that is folded, reported, verified
// or counted, wherever they stand; and an erasure changes nothing of other contacts.
func TestErase_isNoFact(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.run(r.worker.Run)
	pool, err := pg.Open(r.URL, max(rebuild.Conns, verify.Conns))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	n := 0
	event := func(id int64, second int, kind, rest string) {
		n++
		r.put(fmt.Appendf(nil, `{"EventId":"00000000-0000-4000-8000-%012d","Timestamp":"2026-01-01T00:00:%02dZ","Event":%q,"PrimaryKey":%d,"Entity":"contact","ContextIdentifier":"Cust1","ChangedByAssociateId":5,"Changes":["name","country_id"]%s}`,
			n, second, kind, id, rest))
		r.drain()
	}
	const sent = `,"FieldValues":{"activeInterests":0,"associate_id":1,"business_idx":1,"category_idx":1,"country_id":%d,"deleted":0,"DeletedDate":"0001-01-01T00:00:00Z",` +
		`"registered":"2020-01-01T00:00:00Z","registered_associate_id":1,"source":0,"updated":"2026-01-01T00:00:00Z","userdef2_id":1,"userdef_id":1}`
	for id := range int64(6) { // created, and as SuperOffice sends it
		event(id+1, 1, "contact.created", `,"FieldValues":{"name":"Acme"}`)
		event(id+1, 4, "contact.changed", fmt.Sprintf(sent, id))
	}
	event(2, 5, "contact.softdeleted", "")
	event(2, 6, "contact.changed", `,"FieldValues":{"deleted":0}`)
	event(3, 5, "contact.softdeleted", "")
	event(4, 6, "contact.deleted", "")
	event(4, 3, "contact.changed", `,"FieldValues":{"department":"Late"}`)
	for id := range int64(3) { // plain ones of which the last is the newest
		event(6+id, 7, "contact.changed", fmt.Sprintf(sent, 50+id))
		event(6+id, 8, "contact.changed", fmt.Sprintf(sent, 60+id))
	}
	event(8, 9, "contact.deleted", "")
	remade := func() {
		t.Helper()
		r.execute("delete from contacts where contact_id <> 3")
		if _, err := rebuild.Run(t.Context(), pool, rebuild.Options{Actor: "tester", Action: operator.Rebuild, Wait: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	settle := func() {
		t.Helper()
		// Other databases' transactions hold the horizon back.
		for deadline := time.Now().Add(time.Minute); !slices.Equal(r.texts("select settled::text from advance_log_horizon()"), []string{"true"}); {
			if time.Now().After(deadline) {
				t.Fatal("the horizon does not come to the end of the log")
			}
		}
		r.texts("select seal_accounts(1000)::text")
	}
	remade() // so that first_seen_at is the log's
	settle()
	before := r.reports(pool, 0)
	if len(before["contact_changes"]) == 0 || len(before["deleted_contacts"]) != 4 || len(before["contact_timeline"]) == 0 || len(before["event_accounting"]) != 1 ||
		len(before["contacts_as_of('2026-01-01T00:00:05Z', 'Cust1')"]) == 0 {
		t.Fatalf("the test tests nothing: %q", before)
	}
	facts := r.texts("select count(*)::text from contact_audit_log where outcome is not null")
	rows := 0
	for id := range int64(9) {
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for _, at := range []time.Time{start.AddDate(-26, 0, 0), start.Add(4500 * time.Millisecond), start.Add(7200 * time.Millisecond), time.Now().Truncate(time.Microsecond)} {
			for i, event := range []string{audit.Erased, audit.ErasureLifted} {
				r.appendRow(event, contact.Key{Tenant: "Cust1", ID: id + 1}, at.Add(time.Duration(i)*time.Millisecond))
				rows++
			}
		}
	}
	if diff := gocmp.Diff(before, r.reports(pool, 0)); diff != "" {
		t.Errorf("erasures are taken for facts (-without +with them):\n%s", diff)
	}
	settle()
	remade()
	if diff := gocmp.Diff(before, r.reports(pool, 0)); diff != "" {
		t.Errorf("erasures are taken for facts, when counted or remade (-without +with them):\n%s", diff)
	}
	want := slices.Repeat([]string{"erased 2 t", "unchanged 2 t"}, rows/2)
	if diff := gocmp.Diff(want, r.texts(`select concat_ws(' ', change, num_nonnulls(outcome, contact_id, context_identifier), changed_columns = '{}') from changes_since(0) where event like 'mirror.%'`)); diff != "" {
		t.Errorf("changes_since (-want +got):\n%s", diff)
	}
	if got := r.texts("select count(*)::text from contact_audit_log where outcome is not null"); got[0] != facts[0] {
		t.Errorf("%s facts, want %s", got[0], facts[0])
	}

	before = r.reports(pool, 1)
	r.erase(contact.Key{Tenant: "Cust1", ID: 1})
	after := r.reports(pool, 1)
	for _, found := range []map[string][]string{before, after} { // which name the contact otherwise
		for _, what := range []string{"contacts_as_of('2026-01-01T00:00:02Z', 'Cust1', 1)", "column_provenance('Cust1', 1)"} {
			delete(found, what)
		}
	}
	if diff := gocmp.Diff(before, after); diff != "" {
		t.Errorf("the erasure of contact 1 has changed reports on others (-before +after):\n%s", diff)
	}
}
