package erasure_test

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/audit"
	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/quarantine"
	"contactmirror/internal/signature"
	"contactmirror/internal/verify"
	"contactmirror/migrations"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "15") // each is a life in the database
	pgtest.Main(m)
}

// secret signs every delivery that put stores.
const secret = "of the test"

var verifier = quarantine.Verifier{Keyring: signature.NewKeyring([]signature.Secret{{Key: secret}}, nil)}

// author erases and lifts.
var author = erasure.Author{Actor: "tester"}

var received = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// rig is an inbox and a worker that have the service's rights, and a pool of the
// owner's beside them.
type rig struct {
	*pgtest.DB
	t       *testing.T
	service *pgxpool.Pool
	inbox   *inbox.Inbox
	worker  *mirror.Worker
}

func newRig(t *testing.T, loops int) *rig {
	t.Helper()
	return newRigAt(t, loops, "read committed")
}

// newRigAt is newRig where the database's default isolation is level.
func newRigAt(t *testing.T, loops int, level string) *rig {
	t.Helper()
	r := &rig{DB: pgtest.New(t), t: t}
	var database string
	if err := r.Pool.QueryRow(t.Context(), "select current_database()").Scan(&database); err != nil {
		t.Fatal(err)
	}
	r.execute("alter database " + database + " set default_transaction_isolation = '" + level + "'")
	role := "service" + database[strings.LastIndex(database, "_"):]
	if _, err := migrations.Grant(t.Context(), r.URL, migrations.Roles{Actor: "tester", Service: role, Create: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.execute("drop owned by " + role + "; drop role " + role) })
	u, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("role", role)
	u.RawQuery = query.Encode()
	if r.service, err = pg.Open(u.String(), 12); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.service.Close)
	r.worker = mirror.New(r.service, slog.New(slog.DiscardHandler), loops)
	r.inbox = inbox.New(r.service, r.worker.Wake)
	r.run(r.inbox.Run)
	return r
}

func (r *rig) execute(statement string, args ...any) {
	r.t.Helper()
	if _, err := r.Pool.Exec(context.Background(), statement, args...); err != nil {
		r.t.Fatalf("%s: %v", statement, err)
	}
}

// run runs f until the test ends.
func (r *rig) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

// put stores a body as a receiver does that has just received it.
func (r *rig) put(body []byte) {
	r.t.Helper()
	r.putReceived(body, time.Now())
}

// putReceived stores a body that was received at another time, as from a spool.
func (r *rig) putReceived(body []byte, at time.Time) {
	r.t.Helper()
	d := inbox.Delivery{Body: body, ReceivedAt: at, Signature: signature.Sign(secret, body)}
	e, err := event.Parse(body, received)
	if err != nil {
		d.Reason = err.Error()
		if tenant, known := event.Scan(body).Tenant(); known {
			d.Tenant = &tenant
		}
	} else {
		d.Event = &e
	}
	if _, err := r.inbox.Put(context.Background(), d); err != nil {
		r.t.Error(err)
	}
}

// drain waits until nothing is queued.
func (r *rig) drain() {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; r.worker.Wake() {
		var queued int
		err := pgx.BeginFunc(context.Background(), r.Pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(context.Background(), "select from sync_shards order by shard for update"); err != nil {
				return err
			}
			return tx.QueryRow(context.Background(), "select count(*) from sync_queue").Scan(&queued)
		})
		if err != nil {
			r.t.Fatal(err)
		}
		if queued == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%d events still queued; health: %+v", queued, r.worker.Health())
		}
	}
}

func (r *rig) erase(key contact.Key) erasure.Account {
	r.t.Helper()
	a, err := erasure.Erase(context.Background(), r.Pool, key, erasure.Options{Author: author, Reason: new("asked for")})
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) texts(query string, args ...any) []string {
	r.t.Helper()
	rows, _ := r.Pool.Query(context.Background(), query, args...)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
	return values
}

// mentions are the tables in which a text is found, in any column and within
// any bytes.
func (r *rig) mentions(text string) (tables []string) {
	r.t.Helper()
	for _, table := range r.texts(`select relname::text from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'm') order by 1`) {
		var found bool
		if err := r.Pool.QueryRow(context.Background(), `select exists (select from `+table+` t where position($1 in t::text) > 0 or position($2 in t::text) > 0)`,
			text, hex.EncodeToString([]byte(text))).Scan(&found); err != nil {
			r.t.Fatal(err)
		}
		if found {
			tables = append(tables, table)
		}
	}
	return tables
}

// verify proves the chain, the mirror, the events and the account.
func (r *rig) verify() {
	r.t.Helper()
	report := r.verified(verify.Options{})
	if want := r.texts(`select count(*)::text from contact_audit_log where erased_columns is not null`); fmt.Sprint(report.Chain.Erased) != want[0] {
		r.t.Errorf("verify counts %d erased rows, want %s", report.Chain.Erased, want[0])
	}
}

// verified is what verify reports, which is no difference.
func (r *rig) verified(o verify.Options) *verify.Report {
	r.t.Helper()
	pool, err := pg.Open(r.URL, verify.Conns)
	if err != nil {
		r.t.Fatal(err)
	}
	defer pool.Close()
	report, err := verify.Run(context.Background(), pool, o)
	if err != nil {
		r.t.Fatal(err)
	}
	if report.Differences() > 0 {
		r.t.Errorf("verify: %+v, %+v, %+v, %+v", report.Chain, report.Mirror, report.Events, report.Accounts)
	}
	return report
}

// balanced checks that every accepted event has its outcome.
func (r *rig) balanced() {
	r.t.Helper()
	if got := r.texts(`select context_identifier from event_accounting where not balanced`); len(got) > 0 {
		r.t.Errorf("tenants %q do not balance", got)
	}
}

// folded is what the log says of a contact.
func (r *rig) folded(key contact.Key) (s contact.State) {
	r.t.Helper()
	facts, err := audit.Facts(context.Background(), r.Pool, []contact.Key{key})
	if err != nil {
		r.t.Fatal(err)
	}
	s.Merge(facts[0], nil)
	return s
}

// secretOf is in every text that belongs to a contact, numberOf in every number.
func secretOf(key contact.Key) string { return fmt.Sprintf("secret-%s-%d-", key.Tenant, key.ID) }

func numberOf(key contact.Key) int64 {
	return 44556677_000_0000 + key.ID*10000 + int64(len(key.Tenant))*10_000_000
}

// story makes random events of a few contacts, all of whose values can be told.
type story struct {
	random *rand.Rand
	n      int
	facts  map[contact.Key][]contact.Fact
	poison map[contact.EventID]bool // can't be applied, but without their values
}

func (s *story) next() (bodies [][]byte) {
	s.n++
	key := contact.Key{Tenant: []string{"Cust1", "Customer2"}[s.random.IntN(2)], ID: 1 + s.random.Int64N(4)}
	kind := []string{"contact.changed", "contact.changed", "contact.changed", "contact.created", "contact.softdeleted"}[s.random.IntN(5)]
	if s.random.IntN(60) == 0 {
		kind = "contact.deleted"
	}
	body := map[string]any{
		"EventId": fmt.Sprintf("00000000-0000-4000-8000-%012d", s.n), "Event": kind, "PrimaryKey": key.ID, "ContextIdentifier": key.Tenant,
		// Ties, and late ones.
		"Timestamp": received.Add(time.Duration(s.n/3-s.random.IntN(5))*time.Second - 24*time.Hour).Format(time.RFC3339Nano),
		"Changes":   []string{"name", "country_id", "x_own"}[:s.random.IntN(4)], "ChangedByAssociateId": 5, "Entity": "contact",
	}
	secret, number := fmt.Sprint(secretOf(key), s.n), numberOf(key)+int64(s.n%1000)
	values := map[string]any{"name": secret, "department": secret, "associate_id": number, "category_idx": number, "xstop": true, "orgNr": secret}
	for name := range values {
		if s.random.IntN(2) == 0 {
			delete(values, name)
		}
	}
	if s.random.IntN(6) == 0 { // names of columns beside any text
		body["Changes"] = []string{"name", secret, "country_id", secret, "name"}
	}
	switch s.random.IntN(8) {
	case 0:
		values["deleted"], values["DeletedDate"] = 1, "1987-04-13T12:00:00Z"
	case 1:
		values["deleted"] = 0
	case 2:
		values["registered"], values["updatedCount"] = "no date "+secret, "[I:x]"
	}
	if s.random.IntN(4) > 0 {
		body["FieldValues"] = values
	}
	if s.random.IntN(4) == 0 {
		body["Values"] = map[string]any{"contact_id": key.ID, "associate_id": number, "text": secret}
	}
	if s.random.IntN(25) == 0 {
		values["number2"], body["FieldValues"] = "poison", values
	}
	if s.random.IntN(25) == 0 {
		body["EventId"] = "not understood " + secret
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	if e, err := event.Parse(text, received); err == nil {
		s.facts[key] = append(s.facts[key], e.Contact.Fact)
		s.poison[*e.ID] = values["number2"] != nil
	}
	bodies = [][]byte{text}
	if s.random.IntN(5) == 0 { // again, and perhaps with other bytes
		body["Extra"] = secret
		text, _ = json.Marshal(body)
		bodies = append(bodies, text)
	}
	return bodies
}

// Whenever contacts are erased in the course of random lives, and whatever comes
// of them later, nothing that they were given is left anywhere; the mirror is
// the fold of the log and of the facts without values; the chain holds and every
// event is accounted for. Erasing and applying run at the same time.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 3)
			r.execute(`alter table contacts add constraint poison check (number2 is distinct from 'poison')`)
			s := &story{random: rand.New(rand.NewPCG(seed, 12)), facts: map[contact.Key][]contact.Fact{}, poison: map[contact.EventID]bool{}}
			erased := []contact.Key{{Tenant: "Cust1", ID: 1}, {Tenant: "Cust1", ID: 2}, {Tenant: "Customer2", ID: 3}, {Tenant: "Customer2", ID: 9}}
			kept := []contact.Key{{Tenant: "Cust1", ID: 3}, {Tenant: "Cust1", ID: 4}, {Tenant: "Customer2", ID: 1}, {Tenant: "Customer2", ID: 2}}
			const events = 600
			at := map[int][]contact.Key{}
			for _, key := range erased {
				n := s.random.IntN(events)
				at[n] = append(at[n], key)
			}
			r.run(r.worker.Run)
			var senders sync.WaitGroup
			for n := range events {
				for _, body := range s.next() {
					senders.Go(func() { r.put(body) })
				}
				if n%20 == 0 {
					senders.Wait()
				}
				for _, key := range at[n] {
					senders.Go(func() { r.erase(key) })
				}
			}
			senders.Wait()
			r.drain()
			if got := r.mentions(secretOf(kept[0])); !slices.Contains(got, "contacts") && !slices.Contains(got, "contact_audit_log") || !slices.Contains(got, "quarantined_deliveries") {
				t.Fatalf("what is not erased is found in %q only: the test tests nothing", got)
			}
			for _, key := range erased {
				if got := r.mentions(secretOf(key)); len(got) > 0 {
					t.Errorf("%s is left in %q, until it is erased again", secretOf(key), got)
				}
				if a := r.erase(key); !a.Already || a.AuditRows != 0 || a.Bodies != 0 || a.Queued != 0 || a.Quarantined != 0 {
					t.Errorf("again: %+v", a)
				}
				for _, text := range []string{secretOf(key), fmt.Sprint(numberOf(key))[:12]} {
					if got := r.mentions(text); len(got) > 0 {
						t.Errorf("%s is left in %q", text, got)
					}
				}
				if s.facts[key] == nil {
					continue
				}
				var truth contact.State
				var facts []contact.Fact
				logged := r.texts(`select event_id::text from contact_audit_log`)
				for _, f := range s.facts[key] {
					if slices.Contains(logged, f.Order.ID.String()) {
						facts = append(facts, f.Erase())
					} else if !s.poison[f.Order.ID] {
						t.Errorf("%v is not in the log", f.Order)
					}
				}
				truth.Merge(facts, nil)
				if diff := gocmp.Diff(truth, r.folded(key), gocmp.AllowUnexported(contact.Value{})); diff != "" {
					t.Errorf("%v (-facts +log):\n%s", key, diff)
				}
			}
			r.verify()
			if health := r.worker.Health(); health.Err != nil {
				t.Error(health.Err)
			}
		})
	}
}

func TestAccount(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	key := contact.Key{Tenant: "Cust1", ID: 7}
	body := func(n int, kind, rest string) []byte {
		return fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-01T00:00:%02dZ","Event":%q,"PrimaryKey":7,"Entity":"contact","ContextIdentifier":"Cust1"%s}`, n, n, kind, rest)
	}
	r.put(body(1, "contact.created", `,"FieldValues":{"name":"Acme","country_id":5}`))
	r.put(body(1, "contact.created", `,"FieldValues":{"name":"Acme","country_id":6}`))
	r.put(body(2, "contact.merged", `,"FieldValues":{"name":"Acme"}`)) // ignored, and yet about the contact
	r.put(body(3, "contact.changed", `,"EventId":"Acme"`))
	r.put([]byte(`{"Acme": `))
	r.put([]byte(`{"PrimaryKey":8,"Event":"contact.changed","FieldValues":{"name":"Other"}`))
	r.run(r.worker.Run)
	r.drain()

	if _, err := erasure.Erase(t.Context(), r.service, key, erasure.Options{Author: author}); !errors.Is(err, erasure.ErrNotAllowed) {
		t.Errorf("erased by the service: %v", err)
	}
	before := r.mentions("Acme")
	want := erasure.Account{
		ContextIdentifier: "Cust1", ContactID: 7, DryRun: true, Row: true, AuditRows: 1, Bodies: 2, Duplicates: 1, Quarantined: 1, Unattributed: []int64{2},
	}
	dry, err := erasure.Erase(t.Context(), r.Pool, key, erasure.Options{Author: author, DryRun: true})
	if diff := gocmp.Diff(want, dry); diff != "" || err != nil {
		t.Errorf("dry run: %v (-want +got):\n%s", err, diff)
	}
	if diff := gocmp.Diff(before, r.mentions("Acme")); diff != "" {
		t.Errorf("a dry run has changed something:\n%s", diff)
	}
	got := r.erase(key)
	if diff := gocmp.Diff(want, got, cmpopts.IgnoreFields(erasure.Account{}, "DryRun")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := r.mentions("Acme"); !slices.Equal(got, []string{"quarantined_deliveries"}) { // that nobody can attribute
		t.Errorf("left in %q", got)
	}
	if err := quarantine.Discard(t.Context(), r.service, "tester", 2); err != nil {
		t.Error(err)
	}
	// A late duplicate leaves no hash, a new event no value, a delivery that is
	// understood only now no bytes.
	r.put(body(1, "contact.created", `,"FieldValues":{"name":"Acme"}`))
	r.put(body(4, "contact.changed", `,"Changes":["department"],"FieldValues":{"name":"Acme 2","orgNr":"1","deleted":1}`))
	fifth := body(5, "contact.changed", `,"FieldValues":{"name":"Acme 3"}`)
	in := inbox.Delivery{Body: fifth, ReceivedAt: received, Reason: "Acme is not understood", Tenant: new("Cust1"), Signature: signature.Sign(secret, fifth)}
	if _, err := r.inbox.Put(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	entries, err := quarantine.List(t.Context(), r.service, nil, false)
	if err != nil || len(entries) != 2 {
		t.Fatalf("quarantine: %+v, %v", entries, err)
	}
	if err := quarantine.Retry(t.Context(), r.service, "tester", entries[1].QuarantineSeq, verifier); err != nil {
		t.Fatal(err)
	}
	r.drain()
	for text, in := range map[string][]string{"Acme 2": nil, "Acme 3": nil, "Acme is": nil} {
		if got := r.mentions(text); !slices.Equal(got, in) {
			t.Errorf("%q is left in %q", text, got)
		}
	}
	if got := r.texts(`select count(*)::text from duplicate_deliveries where body_sha256 = ''`); got[0] != "2" {
		t.Errorf("%s duplicates without a hash, want 2", got[0])
	}
	if diff := gocmp.Diff([]string{"created {country_id,name} f", "changed {deleted,name,orgNr} t", "changed {name}"}, r.texts(`
		select concat_ws(' ', substr(event, 9), erased_columns, soft_deleted) from contact_audit_log where outcome is not null order by occurred_ticks`)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff([]string{"t 37 contact.changed"}, r.texts(`select concat_ws(' ', soft_deleted, cardinality(pending_columns), last_event) from contacts`)); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff([]string{"asked for"}, r.texts(`select concat_ws(' ', reason, lifted_at, lifted_audit_seq) from erasures`)); diff != "" {
		t.Errorf("erasures (-want +got):\n%s", diff)
	}

	// Lifted, it is kept again; what was erased stays so. Erased once more, that
	// goes too.
	if err := erasure.Lift(t.Context(), r.Pool, key, author); err != nil {
		t.Fatal(err)
	}
	if err := erasure.Lift(t.Context(), r.Pool, key, author); !errors.Is(err, erasure.ErrNotErased) {
		t.Errorf("lifted twice: %v", err)
	}
	r.put(body(6, "contact.changed", `,"FieldValues":{"name":"Renamed"}`))
	r.put(body(0, "contact.changed", `,"FieldValues":{"department":"Late","name":"Older"}`)) // goes through the history
	r.drain()
	if diff := gocmp.Diff([]string{"Renamed Late t 36"}, r.texts(`select concat_ws(' ', name, department, 'department' = any (pending_columns), cardinality(pending_columns)) from contacts`)); diff != "" {
		t.Errorf("row after lifting (-want +got):\n%s", diff)
	}
	r.verify()
	if a := r.erase(key); a.Already || a.AuditRows != 2 || a.Bodies != 2 {
		t.Errorf("erased anew: %+v", a)
	}
	for _, text := range []string{"Renamed", "Late", "Older"} {
		if got := r.mentions(text); len(got) > 0 {
			t.Errorf("%q is left in %q", text, got)
		}
	}
	// Its end works as ever.
	r.put(body(9, "contact.deleted", `,"Values":{"text":"Acme 4"}`))
	r.drain()
	if diff := gocmp.Diff([]string{"7 0 applied"}, r.texts(`select concat_ws(' ', t.contact_id, (select count(*) from contacts), (select outcome from contact_audit_log where hard_deleted)) from contact_tombstones t`)); diff != "" {
		t.Errorf("hard delete (-want +got):\n%s", diff)
	}
	if got := r.mentions("Acme 4"); len(got) > 0 {
		t.Errorf("left in %q", got)
	}
	r.verify()
}

// An event in open quarantine loses its values, and can still be applied.
func TestQuarantinedEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.execute(`alter table contacts add constraint poison check (number2 is distinct from 'poison')`)
	key := contact.Key{Tenant: "Cust1", ID: 7}
	r.put([]byte(`{"EventId":"00000000-0000-0000-0000-000000000001","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.changed","PrimaryKey":7,"ContextIdentifier":"Cust1","FieldValues":{"name":"Acme","number2":"poison"}}`))
	r.run(r.worker.Run)
	r.drain()
	if a := r.erase(key); a.Quarantined != 1 || a.Redacted != 1 || a.Bodies != 0 || a.AuditRows != 0 || a.Row {
		t.Errorf("%+v", a)
	}
	if got := r.mentions("Acme"); len(got) > 0 {
		t.Errorf("left in %q", got)
	}
	if got := r.texts(`select concat_ws(' ', reason, resolution) from quarantined_deliveries`); got[0] != "(SQLSTATE 23514) (values erased)" {
		t.Errorf("entry %q", got[0])
	}
	if got := r.texts(`select concat_ws(' ', accepted, quarantined, balanced) from event_accounting`); got[0] != "1 1 t" {
		t.Errorf("account %q", got[0])
	}
	if err := quarantine.Retry(t.Context(), r.service, "tester", 1, verifier); err != nil {
		t.Errorf("retry: %v", err)
	}
	r.drain()
	if got := r.texts(`select concat_ws(' ', a.erased_columns, a.outcome, c.name, (select count(*) from webhook_bodies)) from contact_audit_log a join contacts c using (contact_id) where a.outcome is not null`); len(got) != 1 || got[0] != "{name,number2} applied 0" {
		t.Errorf("applied as %q", got)
	}
	r.verify()
}

// What is queued keeps its body until it is applied, and loses it then.
func TestQueuedEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.put([]byte(`{"EventId":"00000000-0000-0000-0000-000000000001","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.softdeleted","PrimaryKey":7,"FieldValues":{"name":"Acme"}}`))
	if a := r.erase(contact.Key{ID: 7}); a.Queued != 1 || a.Bodies != 0 {
		t.Errorf("%+v", a)
	}
	// Neither function takes the body of a queued event.
	if got := r.texts(`select concat_ws(' ', contactmirror_strip_events(array_agg(event_seq)), contactmirror_redact_event(min(event_seq), null)) from webhook_events`); got[0] != "0 f" {
		t.Errorf("stripped while it is queued: %q", got)
	}
	r.run(r.worker.Run)
	r.drain()
	if got := r.texts(`select concat_ws(' ', soft_deleted, name, (select count(*) from webhook_bodies)) from contacts`); got[0] != "t 0" {
		t.Errorf("applied to %q", got[0])
	}
	if got := r.mentions("Acme"); len(got) > 0 {
		t.Errorf("left in %q", got)
	}
}

// The function refuses what has not been prepared under the lock, so that no
// row is left out.
func TestFunctionRefusesHalfAnErasure(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.put([]byte(`{"EventId":"00000000-0000-0000-0000-000000000001","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.changed","PrimaryKey":7,"FieldValues":{"name":"Acme"}}`))
	r.run(r.worker.Run)
	r.drain()
	for call, want := range map[string]string{
		`contactmirror_erase('', 7, 100, null, '{}', '{}', '{}', '{}', '{}', '{}')`:                                                                                         "must hold the lock",
		`contactmirror_erase('', 7, 100, null, (select array_agg(audit_seq) from contact_audit_log where outcome is not null), array[null::bytea], '{}', '{}', '{}', '{}')`: "no erasure",
		`contactmirror_erase('', 7, 101, null, '{}', '{}', '{}', '{}', '{}', '{}')`:                                                                                         "row 101 of the log is no erasure of this contact",
		`contactmirror_erase('', 7, 1, null, '{}', '{}', '{}', '{}', '{}', '{}')`:                                                                                           "row 1 of the log is no erasure of this contact",
		`contactmirror_erase('', 8, 100, null, '{}', '{}', '{}', '{}', '{}', '{}')`:                                                                                         "row 100 of the log is no erasure of this contact",
	} {
		tx, err := r.Pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `
			insert into contact_audit_log (audit_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks, received_at, recorded_at,
				changed_columns, unreadable_columns, hard_deleted, effect, given_columns, origin, chain_seq, chain)
			values (100, 0, '', 7, 'mirror.erased', gen_random_uuid(), now(), 0, now(), now(), '{}', '{}', false, 'erased', 0, 'operator', 1, decode(repeat('00', 36), 'hex'))`); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "select "+call); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", call, err, want)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.texts(`select concat_ws(' ', name, (select count(*) from erasures)) from contacts`); got[0] != "Acme 0" {
		t.Errorf("%q", got[0])
	}
}

// Deliveries that were never understood: which of them name the contact.
func TestAttribution(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	tenant := new("Cust1")
	type entry struct {
		tenant *string
		body   string
		want   string
	}
	cases := []entry{
		{tenant, `{"PrimaryKey": 7, "Event": "contact.changed", `, "erased"},
		{tenant, `{"primarykey": "7" `, "erased"},
		{tenant, `{"PrimaryKey":8,"PrimaryKey":7,"Event":"contact.deleted"}`, "erased"},
		{nil, `{"PrimaryKey": 7, "Event": "contact.created", `, "unknown"},
		{tenant, `{"PrimaryKey": "Smith", "Event": "contact.changed"}`, "unknown"},
		{tenant, `{"Event": "contact.changed"}`, "unknown"},
		{nil, `garbage`, "unknown"},
		{tenant, `{"PrimaryKey": 77, "Event": "contact.changed", `, "other"},
		{tenant, `{"PrimaryKey": 7, "Event": "person.changed", `, "other"},
		{tenant, `{"Entity": "contact", "Event": "x.merged", "PrimaryKey": 7, "ContextIdentifier": "Cust1", `, "erased"},
		{tenant, `{"Entity": "Contact", "Event": "x.merged", "Event": "x.merged", "PrimaryKey": 7, "ContextIdentifier": "Cust1"}`, "erased"},
		{nil, `{"Entity": "contact", "Event": "x.merged", "PrimaryKey": 7, `, "unknown"},
		{tenant, `{"Entity": "person", "Event": "x.merged", "PrimaryKey": 7, `, "other"},
		{new("Cust2"), `{"PrimaryKey": 7, "Event": "contact.deleted", `, "other"},
	}
	var erased, unknown []int64
	for i, c := range cases {
		if _, err := r.inbox.Put(t.Context(), inbox.Delivery{Body: []byte(c.body), ReceivedAt: received, Reason: "for the test", Tenant: c.tenant}); err != nil {
			t.Fatal(err)
		}
		switch c.want {
		case "erased":
			erased = append(erased, int64(i+1))
		case "unknown":
			unknown = append(unknown, int64(i+1))
		}
	}
	a := r.erase(contact.Key{Tenant: "Cust1", ID: 7})
	slices.SortFunc(a.Unattributed, cmp.Compare)
	if diff := gocmp.Diff(unknown, a.Unattributed); diff != "" {
		t.Errorf("unattributed (-want +got):\n%s", diff)
	}
	var gone []int64
	rows, _ := r.Pool.Query(t.Context(), `select quarantine_seq from quarantined_deliveries where bytes_removed_at is not null and body = '' and resolution = 'discarded' order by 1`)
	gone, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if diff := gocmp.Diff(erased, gone); diff != "" || err != nil {
		t.Errorf("erased: %v (-want +got):\n%s", err, diff)
	}
}

// Erased rows are as safe from tampering as others.
func TestTamperedErasureIsFound(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	for n, id := range []int{7, 7, 8} {
		r.put(fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.changed","PrimaryKey":%d,"FieldValues":{"name":"Acme"}}`, n, id))
	}
	r.run(r.worker.Run)
	r.drain()
	r.erase(contact.Key{ID: 7})
	r.execute(`alter table contact_audit_log drop constraint contact_audit_log_erased`)
	pool, err := pg.Open(r.URL, verify.Conns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for _, tampering := range []string{
		`update contact_audit_log set commitment = sha256(commitment) where contact_id = 7`,
		`update contact_audit_log set commitment = null where contact_id = 7`,
		`update contact_audit_log set field_values = '{"name": "Other"}' where contact_id = 7`,
		`update contact_audit_log set erased_columns = null where contact_id = 7`,
		`update contact_audit_log set erased_columns = '{name}' where contact_id = 8`,
		`update contact_audit_log set erased_columns = '{name}', field_values = null, given_columns = 0, salt = null, commitment = sha256('') where contact_id = 8`,
		`update contact_audit_log set changed_columns = '{name}' where contact_id = 7`,
		`update contacts set name = 'Other', pending_columns = array_remove(pending_columns, 'name') where contact_id = 7`,
		`update contacts set pending_columns = array_remove(pending_columns, 'name') where contact_id = 7`,
	} {
		saved := `create temp table saved as select * from contact_audit_log; create temp table saved_contacts as select * from contacts`
		back := `delete from contact_audit_log; insert into contact_audit_log select * from saved; delete from contacts; insert into contacts select * from saved_contacts; drop table saved, saved_contacts`
		conn, err := r.Pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range []string{"set session_replication_role = replica", saved, tampering} {
			if _, err := conn.Exec(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		report, err := verify.Run(t.Context(), pool, verify.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if report.Differences() == 0 {
			t.Errorf("%s is not found", tampering)
		}
		for _, statement := range []string{back, "reset session_replication_role"} {
			if _, err := conn.Exec(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		conn.Release()
	}
	r.verify()
}

// An erasure whose number is taken is recorded all the same: of two contacts both
// are erased, and stay so.
func TestErase_sequencesBehindTheirTables(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.run(r.worker.Run)
	keys := []contact.Key{{Tenant: "Cust1", ID: 1}, {Tenant: "Cust1", ID: 2}, {Tenant: "Cust1", ID: 3}}
	for _, key := range keys {
		r.ResetSequences(t)
		if a := r.erase(key); a.Already {
			t.Errorf("%v counts as erased before", key)
		}
	}
	if got := r.texts(`select count(*)::text from erasures where lifted_at is null`); got[0] != "3" {
		t.Errorf("%s erasures are recorded, want 3", got[0])
	}
	if a := r.erase(keys[0]); !a.Already {
		t.Errorf("%v does not count as erased before", keys[0])
	}
}
