package erasure_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/pg"
	"contactmirror/internal/quarantine"
	"contactmirror/internal/verify"
	"contactmirror/migrations"
)

// hashed are the tables in which the SHA-256 of a body is found.
func (r *rig) hashed(body []byte) []string {
	hash := sha256.Sum256(body)
	return r.mentions(hex.EncodeToString(hash[:]))
}

// A malformed body of an erased contact that comes again is counted in its entry,
// whether the first one came before the erasure or after it, and however many come at a
// time; and nothing is kept by which a body can be recognized.
func TestErase_malformedBodyAgain(t *testing.T) {
	t.Parallel()
	key := contact.Key{Tenant: "Cust1", ID: 7}
	const head = `{"EventId":"00000000-0000-4000-8000-000000000009","Timestamp":"2026-01-01T00:00:00Z","PrimaryKey":7,"ContextIdentifier":"Cust1","Event":"contact.changed"`
	for name, bodies := range map[string][]string{
		"malformed":   {head + `,"FieldValues":{"name":"secret"},"Changes":"x"}`, head + `,"FieldValues":{"name":"secret 2"},"Changes":"x"}`},
		"not JSON":    {head + `,"FieldValues":{"name":"secret"`, head + `,"FieldValues":{"name":"secret 2"`},
		"in the past": {strings.Replace(head, "2026", "0026", 1) + `,"FieldValues":{"name":"secret"}}`, strings.Replace(head, "2026", "0026", 1) + `,"FieldValues":{"name":"secret 2"}}`},
		// A redacted body is kept of these.
		"ahead": {strings.Replace(head, "2026", "2027", 1) + `,"FieldValues":{"name":"secret"}}`, strings.Replace(head, "2026", "2027", 1) + `,"FieldValues":{"name":"secret 2"}}`},
	} {
		for _, before := range []int{0, 1, 2} { // how many bodies came before the erasure
			t.Run(fmt.Sprintf("%s, %d before", name, before), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, 1)
				for _, body := range bodies[:before] {
					r.put([]byte(body))
				}
				r.erase(key)
				var senders sync.WaitGroup
				for range 5 {
					for _, body := range bodies {
						senders.Go(func() { r.put([]byte(body)) })
					}
				}
				senders.Wait()
				r.erase(key) // finds nothing more
				if got := r.texts(`select concat_ws(' ', count(*), sum(deliveries)) from quarantined_deliveries`); got[0] != fmt.Sprintf("%d %d", max(1, before), before+10) {
					t.Errorf("entries and deliveries: %s, want %d and %d", got[0], max(1, before), before+10)
				}
				if got := r.mentions("secret"); len(got) > 0 {
					t.Errorf("left in %q", got)
				}
				for _, body := range bodies {
					if got := r.hashed([]byte(body)); len(got) > 0 {
						t.Errorf("the hash of a body is left in %q", got)
					}
				}
				// Lifted, they are kept again, each by its bytes; erased once more, they go.
				if err := erasure.Lift(t.Context(), r.Pool, key, author); err != nil {
					t.Fatal(err)
				}
				for _, body := range bodies {
					r.put([]byte(body))
					r.put([]byte(body))
				}
				if got := r.texts(`select count(*)::text from quarantined_deliveries where deliveries = 2 and bytes_removed_at is null`); got[0] != "2" {
					t.Errorf("%s entries after the lifting, want 2", got[0])
				}
				r.erase(key)
				if got := r.mentions("secret"); len(got) > 0 {
					t.Errorf("left in %q after the second erasure", got)
				}
			})
		}
	}
}

// An ignored event without an EventId is known by its body, but not that of an erased
// contact: nothing is kept by which a body can be recognized, and what repeats it is a
// duplicate all the same.
func TestErase_ignoredEventWithoutID(t *testing.T) {
	t.Parallel()
	key := contact.Key{Tenant: "Cust1", ID: 7}
	body := func(second int, name string) []byte {
		return fmt.Appendf(nil, `{"Timestamp":"2026-01-01T00:00:%02dZ","Event":"contact.merged","PrimaryKey":7,"ContextIdentifier":"Cust1","FieldValues":{"name":%q}}`, second, name)
	}
	for name, before := range map[string][][]byte{
		"none before": nil, "one before": {body(1, "secret")}, "three before": {body(1, "secret"), body(1, "secret 2"), body(2, "secret")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1)
			for _, body := range before {
				r.put(body)
			}
			r.erase(key)
			for range 3 {
				var senders sync.WaitGroup
				for _, body := range [][]byte{body(1, "secret"), body(1, "secret 2"), body(1, "secret 3"), body(2, "secret")} {
					senders.Go(func() { r.put(body) })
				}
				senders.Wait()
			}
			events := max(2, len(before))
			if got := r.texts(`select concat_ws(' ', (select count(*) from webhook_events), (select count(*) from duplicate_deliveries))`); got[0] != fmt.Sprintf("%d %d", events, len(before)+12-events) {
				t.Errorf("events and duplicates: %s, want %d and %d", got[0], events, len(before)+12-events)
			}
			if a := r.erase(key); a.Bodies != 0 {
				t.Errorf("again: %+v", a)
			}
			if got := r.mentions("secret"); len(got) > 0 {
				t.Errorf("left in %q", got)
			}
			for _, body := range [][]byte{body(1, "secret"), body(1, "secret 2"), body(1, "secret 3"), body(2, "secret")} {
				if got := r.hashed(body); len(got) > 0 {
					t.Errorf("the hash of %s is left in %q", body, got)
				}
			}
			// Lifted, they are kept again, each by its bytes; erased once more, they go.
			if err := erasure.Lift(t.Context(), r.Pool, key, author); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				r.put(body(1, "secret"))
				r.put(body(1, "secret 2"))
			}
			if got := r.texts(`select count(*)::text from webhook_bodies`); got[0] != "2" {
				t.Errorf("%s bodies after the lifting, want 2", got[0])
			}
			r.erase(key)
			for _, body := range [][]byte{body(1, "secret"), body(1, "secret 2")} {
				if got := append(r.hashed(body), r.mentions("secret")...); len(got) > 0 {
					t.Errorf("left in %q after the second erasure", got)
				}
			}
			r.verify()
			r.balanced()
		})
	}
}

// A delivery that names the contact by an escaped key is its own, whatever else it says
// that looks like a key.
func TestErase_escapedKeysAndDecoys(t *testing.T) {
	t.Parallel()
	key := contact.Key{Tenant: "Cust1", ID: 7}
	const rest = `,"EventId":"00000000-0000-4000-8000-000000000009","Timestamp":"2026-01-01T00:00:00Z","ContextIdentifier":"Cust1","FieldValues":{"name":"secret"}`
	for name, body := range map[string]string{
		"escaped":                       `{"Event":"contact.changed","Primary\u004bey":7,"Changes":"x"` + rest + `}`,
		"escaped, not JSON":             `{"Event":"contact.changed","Primary\u004Bey":7` + rest,
		"escaped event":                 `{"Event":"con\u0074act.changed","Primary\u004bey":"7","Changes":"x"` + rest + `}`,
		"escaped name of the event":     `{"\u0045vent":"contact.changed","Primary\u004bey":"7","Changes":"x"` + rest + `}`,
		"a decoy of the key":            `{"Event":"contact.changed","PrimaryKey":8,"Primary\u004bey":7` + rest + `}`,
		"a decoy in a text":             `{"Event":"contact.changed","Note":"\"PrimaryKey\":8","Primary\u004bey":7,"Changes":"x"` + rest + `}`,
		"a decoy in an object":          `{"Event":"contact.changed","X":{"PrimaryKey":8},"Primary\u004bey":7` + rest,
		"a decoy of the event":          `{"X":{"Event":"person.changed"},"\u0045vent":"contact.changed","Primary\u004bey":7,"Changes":"x"` + rest + `}`,
		"a decoy beside a broken event": `{"ContextIdentifier":"Cust1","X":{"Event":"person.changed"},"Event":contact.changed,"Primary\u004bey":7,"FieldValues":{"name":"secret"}}`,
		"a contact by its entity":       `{"Event":"x.merged","Entity":"Contact","PrimaryKey":7` + rest,
		"a number with a fraction":      `{"Event":"contact.changed","PrimaryKey":7.0,"Changes":"x"` + rest + `}`,
	} {
		for order, put := range map[string]func(*rig){
			"put, then erased": func(r *rig) { r.put([]byte(body)); r.erase(key) },
			"erased, then put": func(r *rig) { r.erase(key); r.put([]byte(body)) },
		} {
			t.Run(name+": "+order, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, 1)
				put(r)
				if got := r.mentions("secret"); len(got) > 0 {
					t.Errorf("left in %q", got)
				}
				if got := r.texts(`select count(*)::text from quarantined_deliveries`); got[0] != "1" {
					t.Errorf("%s entries, want 1", got[0])
				}
			})
		}
	}
}

// A dry run draws no number of any sequence, and a repetition none but that of its
// record in operator_actions. What the first one did, the second one says.
func TestErase_again(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.run(r.worker.Run)
	key := contact.Key{Tenant: "Cust1", ID: 7}
	r.put(secretEvent("contact.created", "", received))
	r.put([]byte(`{"Event":"contact.changed","PrimaryKey":7,"ContextIdentifier":"Cust1"}`))
	r.drain()
	const numbers = `select concat_ws(' ', sequencename, last_value) from pg_sequences where schemaname = current_schema() and sequencename not like 'operator%' order by 1`
	dry := func() {
		t.Helper()
		before := r.texts(numbers)
		if _, err := erasure.Erase(t.Context(), r.Pool, key, erasure.Options{Author: author, DryRun: true}); err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(before, r.texts(numbers)); diff != "" {
			t.Errorf("a dry run draws numbers (-before +after):\n%s", diff)
		}
	}
	dry()
	first := r.erase(key)
	dry()
	before := r.texts(numbers)
	again := r.erase(key)
	if diff := gocmp.Diff(before, r.texts(numbers)); diff != "" {
		t.Errorf("a repetition draws numbers (-before +after):\n%s", diff)
	}
	at := again.Earlier.ErasedAt
	want := erasure.Account{
		ContextIdentifier: "Cust1", ContactID: 7, Already: true, Row: true, Unattributed: []int64{},
		Earlier: &erasure.Earlier{
			ErasedAt: at, Reason: new("asked for"), Actor: new("tester"), HadRow: new(true),
			AuditRows: &first.AuditRows, Bodies: &first.Bodies, Duplicates: &first.Duplicates, Quarantined: &first.Quarantined,
		},
	}
	if diff := gocmp.Diff(want, again); diff != "" || first.AuditRows != 1 || first.Quarantined != 1 {
		t.Errorf("first %+v, again (-want +got):\n%s", first, diff)
	}
	if got := r.texts(`select erased_at::text from erasures where erased_at = $1`, at); len(got) != 1 {
		t.Errorf("erased at %v", at)
	}
	r.verify()
	r.balanced()
}

// The planner's statistics are readable where their columns are, and hold values.
func TestErase_leavesNothingInStatistics(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.run(r.worker.Run)
	var database string
	if err := r.Pool.QueryRow(t.Context(), "select current_database()").Scan(&database); err != nil {
		t.Fatal(err)
	}
	suffix := database[strings.LastIndex(database, "_"):]
	service, reporting := "service"+suffix, "reporting"+suffix
	if _, err := migrations.Grant(t.Context(), r.URL, migrations.Roles{Actor: "tester", Service: service, Reporting: reporting, Create: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.execute("drop owned by " + reporting + "; drop role " + reporting) })
	for id := int64(7); id <= 9; id++ { // a value is in a statistic if it occurs twice, and so is a range's end
		for n := range 20 {
			r.put(fmt.Appendf(nil, `{"EventId":"00000000-0000-4000-8000-%012d","Timestamp":"2026-01-01T00:00:%02dZ","Event":"contact.changed","PrimaryKey":%d,"ContextIdentifier":"Cust1","Changes":["name"],`+
				`"FieldValues":{"name":"secret-%d","orgNr":"secret-%[3]d"},"Values":{"text":"secret-%[3]d"}}`, id*100+int64(n), n, id, id))
		}
		r.put(fmt.Appendf(nil, `{"Event":"contact.changed","PrimaryKey":%d,"ContextIdentifier":"Cust1","Changes":"secret-%[1]d"}`, id))
		r.put(fmt.Appendf(nil, `{"Event":"contact.merged","PrimaryKey":%d,"ContextIdentifier":"Cust1","Changes":["secret-%[1]d"]}`, id))
	}
	r.drain()
	r.execute("analyze")
	seen := func(role, text string) (tables []string) {
		t.Helper()
		rolledBack := errors.New("rolled back")
		err := pgx.BeginFunc(context.Background(), r.Pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(context.Background(), "set local role "+role); err != nil {
				return err
			}
			rows, _ := tx.Query(context.Background(), `select tablename || '.' || attname from pg_stats s where position($1 in s::text) > 0 or position($2 in s::text) > 0 order by 1`,
				text, hex.EncodeToString([]byte(text)))
			var err error
			if tables, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
				return err
			}
			return rolledBack
		})
		if !errors.Is(err, rolledBack) {
			t.Fatal(err)
		}
		return tables
	}
	if got := seen(reporting, "secret-7"); len(got) < 2 {
		t.Fatalf("the test tests nothing: reporting sees %q", got)
	}
	for _, body := range r.texts(`select convert_from(body, 'UTF8') from webhook_bodies`) {
		if got := r.statistics(body); len(got) > 0 {
			t.Errorf("statistics hold the hash of a body in %q", got)
		}
	}
	for id := int64(7); id <= 8; id++ {
		r.erase(contact.Key{Tenant: "Cust1", ID: id})
	}
	for _, role := range []string{reporting, service, "current_user"} {
		if role == "current_user" {
			role = r.texts("select current_user::text")[0]
		}
		for _, text := range []string{"secret-7", "secret-8"} {
			if got := seen(role, text); len(got) > 0 {
				t.Errorf("%s sees %s in the statistics of %q", role, text, got)
			}
		}
	}
	r.balanced()
}

// Names in Changes that are of no column may be any text. They go from the log and from
// redacted bodies; the names of columns stay as they were.
func TestErase_removesTextInChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.execute(`alter table contacts add constraint poison check (number2 is distinct from 'poison')`)
	r.run(r.worker.Run)
	key := contact.Key{Tenant: "Cust1", ID: 7}
	n := 0
	put := func(changes, rest string) {
		n++
		r.put(fmt.Appendf(nil, `{"EventId":"00000000-0000-4000-8000-%012d","Timestamp":"2026-01-01T00:00:%02dZ","Event":"contact.changed","PrimaryKey":7,"ContextIdentifier":"Cust1","Changes":%s%s}`, n, n, changes, rest))
		r.drain()
	}
	put(`["country_id","secret","name","Name","secret","country_id"]`, "")
	put(`["secret"]`, `,"FieldValues":{"name":"secret"}`)
	put(`["org\u004er","secret"]`, `,"FieldValues":{"number2":"poison"}`) // to quarantine
	if got := r.texts(`select changed_columns::text from contact_audit_log order by audit_seq limit 1`); got[0] != `{country_id,secret,name,Name,secret,country_id}` {
		t.Errorf("before the erasure %s", got[0])
	}
	r.erase(key)
	if got := r.mentions("secret"); len(got) > 0 {
		t.Errorf("left in %q", got)
	}
	put(`["secret","department"]`, "")
	if err := quarantine.Retry(t.Context(), r.service, "tester", 1, verifier); err != nil {
		t.Fatal(err)
	}
	r.drain()
	if got := r.mentions("secret"); len(got) > 0 {
		t.Errorf("left in %q", got)
	}
	want := []string{"{country_id,name,country_id}", "{}", "{orgNr}", "{department}"}
	if diff := gocmp.Diff(want, r.texts(`select changed_columns::text from contact_audit_log where outcome is not null order by occurred_at`)); diff != "" {
		t.Errorf("changed_columns (-want +got):\n%s", diff)
	}
	r.verify()
	r.balanced()
	// The link covers the names that are left.
	pool, err := pg.Open(r.URL, verify.Conns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	const before = `update contact_audit_log a set changed_columns = b.changed_columns from before b where b.audit_seq = a.audit_seq`
	r.execute(`create table before as select * from contact_audit_log; alter table contact_audit_log disable trigger user`)
	for _, changed := range []string{"{name,country_id,country_id}", "{country_id,name}", "{country_id,name,country_id,secret}", "{}"} {
		r.execute(`update contact_audit_log set changed_columns = $1::text::text[] where occurred_at = '2026-01-01T00:00:01Z'`, changed)
		if report, err := verify.Run(t.Context(), pool, verify.Options{}); err != nil || len(report.Chain.Breaks) == 0 {
			t.Errorf("%s is not found: %v", changed, err)
		}
		r.execute(before)
	}
	r.execute(`alter table contact_audit_log enable trigger user; drop table before`)
	r.verify()
}

// statistics are the columns in whose statistics the hash of a body is.
func (r *rig) statistics(body string) []string {
	r.t.Helper()
	hash := sha256.Sum256([]byte(body))
	return r.texts(`select tablename || '.' || attname from pg_stats s where position($1 in s::text) > 0`, hex.EncodeToString(hash[:]))
}
