package erasure_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/mirror"
	"contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/internal/quarantine"
	"contactmirror/internal/rebuild"
	"contactmirror/internal/refold"
	"contactmirror/internal/verify"
)

// sent is an event that was sent, in the reference's own words.
type sent struct {
	id, second int
	kind       string
	contact    int64
	changes    []string
	values     map[string]any // nil for none
	at         int            // how many steps had been taken when it was accepted
	poison     bool           // refused as long as it has its values
}

func (s *sent) eventID() string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", s.id) }

func (s *sent) time() time.Time {
	return received.Add(time.Duration(s.second)*time.Second - time.Hour)
}

func (s *sent) body(tenant string, again bool) []byte {
	body := map[string]any{
		"EventId": s.eventID(), "Timestamp": s.time().Format(time.RFC3339), "Event": s.kind, "PrimaryKey": s.contact, "Entity": "contact",
		"ContextIdentifier": tenant, "ChangedByAssociateId": 5, "Changes": s.changes,
	}
	if s.values != nil {
		body["FieldValues"] = s.values
	}
	if again {
		body["Again"] = "secret"
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return text
}

var ranks = map[string]int{"contact.created": 0, "contact.changed": 1, "contact.softdeleted": 2, "contact.deleted": 3}

func (s *sent) compare(other *sent) int {
	return cmp.Or(cmp.Compare(s.second, other.second), cmp.Compare(ranks[s.kind], ranks[other.kind]), cmp.Compare(s.id, other.id))
}

// span is an erasure: the step at which it was lifted, 0 while it is in force.
type span struct{ lifted int }

// reference is what the mirror should hold of a tenant. It knows only what was sent,
// erased and lifted, in which order.
type reference struct {
	step     int
	events   []*sent
	erasures map[int64][]*span
	rows     []string // of the log, that are no facts
}

// erased tells whether the values of s are gone: an erasure of its contact is in force,
// or was lifted later than s came.
func (r *reference) erased(s *sent) bool {
	return slices.ContainsFunc(r.erasures[s.contact], func(e *span) bool { return e.lifted == 0 || e.lifted > s.at })
}

func (r *reference) inForce(id int64) *span {
	for _, e := range r.erasures[id] {
		if e.lifted == 0 {
			return e
		}
	}
	return nil
}

// columns are those that events give values to, by SuperOffice's names.
var columns = []string{"country_id", "deleted", "name", "number2"}

// mirrored is the rows of contacts and of contact_tombstones, and the facts in the log.
func (r *reference) mirrored() (contacts, tombstones, facts []string) {
	byContact := map[int64][]*sent{}
	for _, s := range r.events {
		byContact[s.contact] = append(byContact[s.contact], s)
		changes := s.changes
		if r.erased(s) { // but for what is no column, and might be any text
			changes = slices.DeleteFunc(slices.Clone(changes), func(name string) bool { return name == "x_own" })
		}
		fact := fmt.Sprintf("%s %s %d {%s}", s.eventID(), s.kind, s.contact, strings.Join(changes, ","))
		given := slices.DeleteFunc(slices.Clone(columns), func(name string) bool { _, ok := s.values[name]; return !ok })
		switch {
		case r.erased(s):
			fact += " erased {" + strings.Join(given, ",") + "}"
		default:
			for _, name := range given {
				fact += fmt.Sprintf(" %s=%v", name, s.values[name])
			}
		}
		facts = append(facts, fact)
	}
	for id, events := range byContact {
		slices.SortFunc(events, func(a, b *sent) int { return a.compare(b) })
		if i := slices.IndexFunc(events, func(s *sent) bool { return s.kind == "contact.deleted" }); i >= 0 {
			tombstones = append(tombstones, fmt.Sprint(id, " ", events[i].eventID()))
			continue
		}
		var (
			values  = map[string]string{}
			settled = map[string]bool{}
			flag    bool
			since   string
		)
		for _, s := range events {
			for _, name := range columns {
				value, given := s.values[name]
				switch {
				case given && !r.erased(s):
					values[name], settled[name] = fmt.Sprint(value), true
				case given || slices.Contains(s.changes, name):
					settled[name] = false
				}
			}
			says, speaks := s.kind == "contact.softdeleted", s.kind == "contact.softdeleted" || s.kind == "contact.created"
			if deleted, given := s.values["deleted"]; given && s.kind != "contact.softdeleted" {
				says, speaks = deleted == 1, true
			}
			if speaks && says && !flag {
				since = " since " + s.time().Format("15:04:05")
			}
			if speaks {
				flag = says
			}
		}
		row := fmt.Sprintf("%d %s", id, events[len(events)-1].eventID())
		for _, name := range columns {
			row += fmt.Sprintf(" %s=%s/%t", name, values[name], !settled[name])
		}
		if flag {
			row += since
		}
		contacts = append(contacts, row)
	}
	for _, rows := range [][]string{contacts, tombstones, facts} {
		slices.Sort(rows)
	}
	return contacts, tombstones, facts
}

// machine is a tenant in one run of the property.
type machine struct {
	*rig
	tenant string
	wide   *pgxpool.Pool // with connections for a rebuild and verify
	ref    reference
	n      *atomic.Int64 // numbers events, in all tenants
}

func (m *machine) key(t *rapid.T) contact.Key {
	return contact.Key{Tenant: m.tenant, ID: rapid.Int64Range(1, 2).Draw(t, "contact")}
}

func (m *machine) event(t *rapid.T) {
	s := &sent{
		id: int(m.n.Add(1)), second: rapid.IntRange(0, 12).Draw(t, "second"), contact: m.key(t).ID, at: m.ref.step,
		kind:    rapid.SampledFrom([]string{"contact.changed", "contact.changed", "contact.changed", "contact.created", "contact.softdeleted"}).Draw(t, "kind"),
		changes: rapid.SampledFrom([][]string{{}, {"name"}, {"name", "country_id"}, {"number2", "x_own"}}).Draw(t, "changes"),
	}
	if rapid.IntRange(0, 30).Draw(t, "hard delete") == 30 {
		s.kind = "contact.deleted"
	}
	given := map[string]any{"name": fmt.Sprint("secret", s.id), "country_id": s.id, "deleted": rapid.IntRange(0, 1).Draw(t, "deleted"), "number2": "two"}
	if s.poison = rapid.IntRange(0, 7).Draw(t, "poison") == 7; s.poison {
		given["number2"] = "poison"
	}
	left := rapid.IntRange(0, 1<<len(columns)-1).Draw(t, "given")
	for i, name := range columns {
		if left>>i&1 == 0 && !(s.poison && name == "number2") {
			delete(given, name)
		}
	}
	if s.poison || rapid.Bool().Draw(t, "has values") {
		s.values = given
	}
	m.ref.events = append(m.ref.events, s)
	m.put(s.body(m.tenant, false))
}

func (m *machine) duplicate(t *rapid.T) {
	if len(m.ref.events) > 0 {
		m.put(rapid.SampledFrom(m.ref.events).Draw(t, "event").body(m.tenant, rapid.Bool().Draw(t, "other bytes")))
	}
}

func (m *machine) eraseOne(t *rapid.T) {
	key := m.key(t)
	dry := rapid.IntRange(0, 4).Draw(t, "dry run") == 4
	a, err := erasure.Erase(context.Background(), m.Pool, key, erasure.Options{Author: author, DryRun: dry})
	if err != nil {
		t.Fatal(err)
	}
	if in := m.ref.inForce(key.ID) != nil; a.Already != in {
		t.Fatalf("already erased: %t, want %t", a.Already, in)
	}
	if !dry && !a.Already {
		m.ref.erasures[key.ID] = append(m.ref.erasures[key.ID], &span{})
		m.ref.rows = append(m.ref.rows, fmt.Sprint("mirror.erased ", key.ID))
	}
}

func (m *machine) liftOne(t *rapid.T) {
	key := m.key(t)
	in := m.ref.inForce(key.ID)
	err := erasure.Lift(context.Background(), m.Pool, key, author)
	switch {
	case in == nil && !errors.Is(err, erasure.ErrNotErased):
		t.Fatalf("lifted what is not erased: %v", err)
	case in == nil:
	case err != nil:
		t.Fatal(err)
	default:
		in.lifted = m.ref.step
		m.ref.rows = append(m.ref.rows, fmt.Sprint("mirror.erasure_lifted ", key.ID))
	}
}

// work applies all that is queued, in batches of a size.
func (m *machine) work(t *rapid.T) {
	m.workOff(rapid.SampledFrom([]int{1, 2, 3, 500}).Draw(t, "batch"))
}

func (m *machine) workOff(size int) {
	m.t.Helper()
	w := mirror.New(m.service, slog.New(slog.DiscardHandler), 1)
	w.BatchSize = size
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	worked := *m.rig
	worked.worker = w
	worked.drain()
	cancel()
	if err := <-done; err != nil {
		m.t.Error(err)
	}
}

// rebuild repairs what it has damaged, or a part.
func (m *machine) rebuild(t *rapid.T) {
	m.execute("update contacts set name = 'forged', pending_columns = '{}' where context_identifier = $1", m.tenant)
	scope := refold.Scope{Tenant: &m.tenant}
	action := operator.Rebuild
	if rapid.Bool().Draw(t, "replay") {
		scope.Logged, action = true, operator.Replay
	}
	if _, err := rebuild.Run(context.Background(), m.wide, rebuild.Options{Scope: scope, Actor: "tester", Action: action, Wait: time.Minute}); err != nil {
		t.Fatal(err)
	}
}

// retry retries one entry in quarantine; what still has its poison comes back.
func (m *machine) retry(t *rapid.T) {
	open, err := quarantine.List(context.Background(), m.service, &m.tenant, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(open) == 0 {
		return
	}
	entry := rapid.IntRange(0, len(open)-1).Draw(t, "entry")
	if err := quarantine.Retry(context.Background(), m.service, "tester", open[entry].QuarantineSeq, verifier); err != nil {
		t.Fatal(err)
	}
}

const (
	refusePoison = `alter table contact_audit_log add constraint poison check (field_values ->> 'number2' is distinct from 'poison') not valid`
	acceptPoison = `alter table contact_audit_log drop constraint poison`
)

// finish has everything applied, and compares.
func (m *machine) finish(t *rapid.T) {
	m.workOff(500)
	m.execute(acceptPoison)
	open, err := quarantine.List(context.Background(), m.service, &m.tenant, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range open {
		if err := quarantine.Retry(context.Background(), m.service, "tester", entry.QuarantineSeq, verifier); err != nil {
			t.Error(err)
		}
	}
	m.workOff(500)
	m.execute(refusePoison)

	contacts, tombstones, facts := m.ref.mirrored()
	cells := "''"
	for _, name := range columns {
		cells += fmt.Sprintf(" || ' %[1]s=' || coalesce(%[1]s::text, '') || '/' || ('%[1]s' = any (pending_columns))::text", name)
	}
	for what, c := range map[string]struct {
		want  []string
		query string
	}{
		"contacts": {contacts, `
			select concat(contact_id, ' ', last_event_id, ` + cells + `, case when soft_deleted then ' since ' || to_char(soft_deleted_at at time zone 'UTC', 'HH24:MI:SS') end)
			from contacts where context_identifier = $1 order by 1`},
		"contact_tombstones": {tombstones, `select concat(contact_id, ' ', event_id) from contact_tombstones where context_identifier = $1 order by 1`},
		"facts": {facts, `
			select concat_ws(' ', event_id, event, contact_id, changed_columns, 'erased ' || erased_columns::text,
				(select string_agg(k || '=' || (field_values ->> k), ' ' order by k collate "C") from jsonb_object_keys(field_values) k))
			from contact_audit_log where context_identifier = $1 and outcome is not null order by 1`},
		"rows that are no facts": {m.ref.rows, `
			select concat(event, ' ', contact_id) from contact_audit_log where context_identifier = $1 and outcome is null order by audit_seq`},
		"accounts": {nil, `select context_identifier from event_accounting where context_identifier = $1 and not balanced`},
	} {
		got := m.texts(c.query, m.tenant)
		slices.Sort(got)
		want := slices.Clone(c.want)
		slices.Sort(want)
		if diff := gocmp.Diff(append([]string{}, want...), append([]string{}, got...)); diff != "" {
			t.Errorf("%s (-reference +mirror):\n%s", what, diff)
		}
	}
	for _, s := range m.ref.events {
		if m.ref.erased(s) && s.values != nil {
			if held := m.texts(`select 'log' from webhook_bodies b join webhook_events w using (event_seq) where w.event_id = $1::uuid`, s.eventID()); len(held) > 0 {
				t.Errorf("the body of %s is kept", s.eventID())
			}
		}
	}
	report, err := verify.Run(context.Background(), m.wide, verify.Options{Tenant: &m.tenant})
	if err != nil || report.Differences() > 0 {
		t.Errorf("verify: %v, %+v, %+v, %+v", err, report.Mirror, report.Events, report.Accounts)
	}
}

// Events in order and late, duplicates, deletes, erasures, liftings, batches of any
// size, rebuilds, replays and retries give one result whatever the interleaving: it
// follows from what was said, and from the order of acceptance, erasure and lifting.
func TestErase_anyInterleaving(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.execute(refusePoison)
	wide, err := pg.Open(r.URL, max(rebuild.Conns, verify.Conns))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(wide.Close)
	var runs, events atomic.Int64
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{rig: r, wide: wide, tenant: fmt.Sprint("Tenant", runs.Add(1)), n: &events}
		m.ref.erasures = map[int64][]*span{}
		steps := map[string]func(*rapid.T){
			"event": m.event, "duplicate": m.duplicate, "erase": m.eraseOne, "lift": m.liftOne, "work": m.work, "rebuild": m.rebuild, "retry": m.retry,
		}
		likely := []string{"event", "event", "event", "event", "duplicate", "erase", "erase", "lift", "lift", "work", "work", "rebuild", "retry"}
		for _, name := range rapid.SliceOfN(rapid.SampledFrom(likely), 10, 50).Draw(t, "steps") {
			m.ref.step++
			steps[name](t)
		}
		m.finish(t)
	})
	r.verify()
}
