package audit_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/simulator"
)

// toldFact is what an event says, as the test reads it.
type toldFact struct {
	contact.Fact
	names      map[contact.Column]bool
	values     map[contact.Column]contact.Value
	unreadable map[contact.Column]bool
	// erased is the columns whose values were erased.
	erased map[contact.Column]bool
}

func factOf(e *event.Contact) *toldFact {
	f := &toldFact{
		Fact: e.Fact, names: map[contact.Column]bool{}, values: map[contact.Column]contact.Value{},
		unreadable: map[contact.Column]bool{}, erased: map[contact.Column]bool{},
	}
	mark := func(in map[contact.Column]bool, names []string) {
		for _, name := range names {
			if c, ok := contact.BySource(name); ok && name != "contact_id" {
				in[c] = true
			}
		}
	}
	mark(f.names, e.Changes)
	mark(f.unreadable, e.Unreadable)
	for _, cell := range e.Fact.Given {
		f.values[cell.Column] = cell.Value
	}
	return f
}

// erase removes the values.
func (f *toldFact) erase() {
	f.Fact = f.Fact.Erase()
	for c := range f.values {
		f.erased[c] = true
	}
	clear(f.values)
}

// inOrder is the facts in the source's order, without the first hard delete and what
// follows it.
func inOrder(facts []*toldFact) []*toldFact {
	facts = slices.SortedFunc(slices.Values(facts), func(a, b *toldFact) int { return a.Order.Compare(b.Order) })
	if i := slices.IndexFunc(facts, func(f *toldFact) bool { return f.Order.Kind == contact.Deleted }); i >= 0 {
		facts = facts[:i]
	}
	return facts
}

// changesOf is contact_changes of a contact, written down from its rules without
// regard to cost.
func changesOf(key contact.Key, facts []*toldFact) (lines []string) {
	facts = inOrder(facts)
	for i, f := range facts {
		for c := contact.Column(1); c < contact.NumColumns; c++ {
			switch {
			case f.names[c] && !saidBefore(facts[:i], f, c):
				lines = append(lines, changeLine(key, facts[:i], f, c, "changed", who(f.ChangedBy), ""))
			case f.names[c]:
			default:
				if since := noticedSince(facts, i, c); since != "" {
					lines = append(lines, changeLine(key, facts[:i], f, c, "noticed", "nobody", since))
				}
			}
		}
	}
	return lines
}

// saidBefore is whether one of the facts before f says the same of c at the same time.
func saidBefore(before []*toldFact, f *toldFact, c contact.Column) bool {
	return slices.ContainsFunc(before, func(g *toldFact) bool {
		_, given := f.values[c]
		_, also := g.values[c]
		return g.Order.Ticks == f.Order.Ticks && g.names[c] && who(g.ChangedBy) == who(f.ChangedBy) &&
			(f.Erased || g.Erased || given == also && f.values[c] == g.values[c])
	})
}

// noticedSince is since when the value of c may have changed to the one that facts[i]
// gives without naming it; empty where nothing is noticed.
func noticedSince(facts []*toldFact, i int, c contact.Column) string {
	f := facts[i]
	value, given := f.values[c]
	if !given {
		return ""
	}
	for j, g := range facts {
		same, also := g.values[c]
		if g.Order.Ticks == f.Order.Ticks && (g.names[c] || j < i && also && same == value) {
			return ""
		}
	}
	for _, g := range slices.Backward(facts[:i]) {
		if g.Order.Ticks == f.Order.Ticks {
			continue
		}
		if old, ok := g.values[c]; ok {
			if old == value {
				return ""
			}
			return utc(g.Order.Ticks.Time())
		}
		if g.names[c] || g.erased[c] {
			return ""
		}
	}
	return ""
}

func changeLine(key contact.Key, before []*toldFact, f *toldFact, c contact.Column, kind, by, notBefore string) string {
	old := "unknown"
	for _, g := range slices.Backward(before) {
		if value, ok := g.values[c]; ok && (g.Order.Ticks < f.Order.Ticks || g.names[c]) {
			old = jsonText(c, value)
			break
		}
	}
	now, from := "unknown", ""
	if value, ok := f.values[c]; ok {
		now, from = jsonText(c, value), "event"
	}
	return fmt.Sprintf("%s %d %s %s: %s > %s (%s) by %s not before %s, %s", key.Tenant, key.ID, c.Spec().Name, kind, old, now, from, by, notBefore, f.Order.ID)
}

const changeLines = `select format('%s %s %s %s: %s > %s (%s) by %s not before %s, %s', context_identifier, contact_id, column_name, kind,
		coalesce(old_value::text, 'unknown'), coalesce(new_value::text, 'unknown'), value_from,
		coalesce(changed_by_associate_id::text, 'nobody'), to_char(not_before at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), event_id)
	from `

func who(id *int64) string {
	if id == nil {
		return "nobody"
	}
	return fmt.Sprint(*id)
}

func utc(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05.000000") }

// jsonText is how reports write a value.
func jsonText(c contact.Column, v contact.Value) string {
	x := plainValue(c.Spec().Type, v)
	if !v.IsNull() && c.Spec().Type == contact.Timestamptz {
		x = v.Time().Format("2006-01-02T15:04:05.999999Z")
	}
	text, _ := json.Marshal(x)
	return string(text)
}

// versionsOf is contact_history of a contact: its facts applied one after the other.
func versionsOf(t testing.TB, key contact.Key, facts []*toldFact) (versions []string) {
	t.Helper()
	alive := inOrder(facts)
	all := slices.SortedFunc(slices.Values(facts), func(a, b *toldFact) int { return a.Order.Compare(b.Order) })
	var (
		s    contact.State
		last contact.Row
	)
	end := func(at string) {
		if n := len(versions); n > 0 {
			versions[n-1] += at
		}
	}
	for i, f := range alive {
		s.Apply(&f.Fact)
		at := f.Order.Ticks.Time()
		if i+1 < len(all) && all[i+1].Order.Ticks.Time().Equal(at) || len(versions) > 0 && s.Row == last {
			continue
		}
		end(utc(at))
		last = s.Row
		row := map[string]any{
			"context_identifier": key.Tenant, "contact_id": key.ID, "soft_deleted": s.Row.SoftDeleted, "soft_deleted_at": nil,
			"pending_columns": s.Row.Pending.Names(), "changed_by_associate_id": f.ChangedBy, "event_id": f.Order.ID.String(),
		}
		if s.Row.SoftDeleted {
			row["soft_deleted_at"] = instant(time.UnixMicro(s.Row.SoftDeletedAt))
		}
		for i, spec := range contact.Columns[1:] {
			row[spec.Name] = plainValue(spec.Type, s.Row.Values[i+1])
		}
		versions = append(versions, canonicalJSON(t, row)+" from "+utc(at)+" to ")
	}
	if len(alive) < len(all) {
		end(utc(all[len(alive)].Order.Ticks.Time()))
	}
	return versions
}

const versionLines = `select (to_jsonb(h) - '{valid_from,valid_to,event,audit_seq,occurred_at,occurred_ticks,event_rank}'::text[])::text
	|| ' from ' || to_char(valid_from at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || ' to ' || coalesce(to_char(valid_to at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), '')
	from `

// versionTexts writes the objects in lines of versions as [canonicalJSON] does.
func versionTexts(t testing.TB, lines []string) []string {
	t.Helper()
	for i, line := range lines {
		end := strings.LastIndex(line, "} from ") + 1
		lines[i] = sorted(t, []string{line[:end]})[0] + line[end:]
	}
	return lines
}

// another is an event of body with another EventId, as a second hook or a retry by
// hand sends it; sometimes it names other columns.
func another(t testing.TB, random *rand.Rand, body []byte) []byte {
	t.Helper()
	var e map[string]json.RawMessage
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	e["EventId"] = fmt.Appendf(nil, `"%08x-0000-4000-8000-%012x"`, random.Uint32(), random.Uint64()>>16)
	switch random.IntN(4) {
	case 0:
		e["Changes"] = json.RawMessage(`["country_id","name","name","x_own"]`)
	case 1:
		e["ChangedByAssociateId"] = json.RawMessage(`77`)
	}
	body, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// contact_changes and contact_history say what a naive reading of their rules says,
// of random lives with losses, ties, events of two hooks, late events, values that
// can't be read, hard deletes and erasures, in any order of arrival and in any batches.
func TestContactChanges_followTheRules(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			changesOfLives(t, seed)
		})
	}
}

func changesOfLives(t *testing.T, seed uint64) {
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `do $$ begin execute format('alter database %I set timezone = ''<+0530>-05:30''', current_database()); end $$`); err != nil {
		t.Fatal(err)
	}
	db.Pool.Reset()
	random := rand.New(rand.NewPCG(seed, 11))
	lives := simulator.NewLives(seed, []string{"", "Cust1"}, 12, received.AddDate(0, -1, 0))
	lives.Mix = &simulator.Mix{Ties: 10, V10: 15}
	var bodies [][]byte
	for range 300 {
		body := lives.Next()
		if random.IntN(2) == 0 {
			body = vary(t, random, body)
		}
		if random.IntN(8) == 0 {
			continue // lost
		}
		bodies = append(bodies, body)
		if random.IntN(10) == 0 {
			bodies = append(bodies, another(t, random, body))
		}
	}
	if seed == 0 { // all late but the last
		random.Shuffle(len(bodies), func(i, j int) { bodies[i], bodies[j] = bodies[j], bodies[i] })
	} else { // some late, so that some contacts have no irregular row
		for i := range bodies {
			if j := i + random.IntN(60); j < len(bodies) && random.IntN(40) == 0 {
				bodies[i], bodies[j] = bodies[j], bodies[i]
			}
		}
	}

	facts := map[contact.Key][]*toldFact{}
	seen := map[string]bool{}
	clock := received
	inForce := map[contact.Key]bool{}
	for rest := bodies; len(rest) > 0; {
		n := min(1+random.IntN(1+200*random.IntN(2)), len(rest))
		for _, e := range putAt(t, db, clock, rest[:n]...) {
			if id := fmt.Sprint(e.Contact.Key, e.Contact.Fact.Order); !seen[id] {
				seen[id] = true
				f := factOf(e.Contact)
				if inForce[e.Contact.Key] {
					f.erase()
				}
				facts[e.Contact.Key] = append(facts[e.Contact.Key], f)
			}
		}
		rest = rest[n:]
		drain(t, db)
		if random.IntN(3) == 0 {
			keys := slices.SortedFunc(maps.Keys(facts), contact.Key.Compare)
			key := keys[random.IntN(len(keys))]
			before := rows(t, db, changeLines+`contact_changes where context_identifier = $1 and contact_id = $2`, key.Tenant, key.ID)
			if _, err := erasure.Erase(t.Context(), db.Pool, key, erasure.Options{Author: erasure.Author{Actor: "tester"}}); err != nil {
				t.Fatal(err)
			}
			after := rows(t, db, changeLines+`contact_changes where context_identifier = $1 and contact_id = $2`, key.Tenant, key.ID)
			if len(after) > len(before) {
				t.Errorf("the erasure of %v adds changes:\n%s", key, gocmp.Diff(before, after))
			}
			for _, f := range facts[key] {
				f.erase()
			}
			inForce[key] = true
			if random.IntN(2) == 0 {
				if err := erasure.Lift(t.Context(), db.Pool, key, erasure.Author{Actor: "tester"}); err != nil {
					t.Fatal(err)
				}
				inForce[key] = false
			}
			if err := db.Pool.QueryRow(t.Context(), `select clock_timestamp()`).Scan(&clock); err != nil {
				t.Fatal(err)
			}
		}
	}

	lines, versions := []string{}, []string{}
	for key, list := range facts {
		lines = append(lines, changesOf(key, list)...)
		versions = append(versions, versionsOf(t, key, list)...)
	}
	slices.Sort(lines)
	slices.Sort(versions)
	got := slices.Sorted(slices.Values(rows(t, db, changeLines+`contact_changes`)))
	if diff := gocmp.Diff(lines, got); diff != "" {
		t.Errorf("contact_changes (-go +sql):\n%.6000s", diff)
	}
	gotVersions := slices.Sorted(slices.Values(versionTexts(t, rows(t, db, versionLines+`contact_history h`))))
	if diff := gocmp.Diff(versions, gotVersions); diff != "" {
		t.Errorf("contact_history (-go +sql):\n%.6000s", diff)
	}
	noticed := 0
	for _, line := range lines {
		if strings.Contains(line, " noticed: ") {
			noticed++
		}
	}
	regular := rows(t, db, `select count(*)::text from contact_audit_log where noticed_columns is not null`)[0]
	if noticed == 0 || regular == "0" && seed > 0 {
		t.Fatalf("%d changes are noticed, and %s rows noticed some: the test tests nothing", noticed, regular)
	}
	t.Logf("%d changes, %d noticed; %s rows noticed some; %d versions", len(lines), noticed, regular, len(versions))

	// One contact, or some time, gives the same lines.
	for key := range facts {
		compareLines(t, "contact_changes of one contact",
			rows(t, db, changeLines+`contact_changes where context_identifier || ' ' || contact_id = $1 order by 1`, fmt.Sprint(key.Tenant, " ", key.ID)),
			rows(t, db, changeLines+`contact_changes where context_identifier = $1 and contact_id = $2 order by 1`, key.Tenant, key.ID))
		compareLines(t, "contact_history of one contact",
			rows(t, db, versionLines+`contact_history h where context_identifier || ' ' || contact_id = $1 order by 1`, fmt.Sprint(key.Tenant, " ", key.ID)),
			rows(t, db, versionLines+`contact_history($1, $2) h order by 1`, key.Tenant, key.ID))
	}
	from := rows(t, db, `select (percentile_disc(0.4) within group (order by occurred_at))::text from contact_audit_log where outcome is not null`)[0]
	to := rows(t, db, `select (percentile_disc(0.6) within group (order by occurred_at))::text from contact_audit_log where outcome is not null`)[0]
	compareLines(t, "contact_changes_between",
		rows(t, db, changeLines+`contact_changes where context_identifier = 'Cust1' and (occurred_at + interval '0') >= $1::text::timestamptz and (occurred_at + interval '0') < $2::text::timestamptz order by 1`, from, to),
		rows(t, db, changeLines+`contact_changes_between('Cust1', $1::text::timestamptz, $2::text::timestamptz) order by 1`, from, to))
}

func compareLines(t testing.TB, what string, want, got []string) {
	t.Helper()
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-of all +):\n%.3000s", what, diff)
	}
}

// putAt stores the events of bodies as received at a time, and returns them.
func putAt(t testing.TB, db *pgtest.DB, at time.Time, bodies ...[]byte) (events []event.Event) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), db.Pool, func(tx pgx.Tx) error {
		for _, body := range bodies {
			e, err := event.Parse(body, at)
			if err != nil {
				return fmt.Errorf("%s: %w", body, err)
			}
			events = append(events, e)
			if _, err := inbox.PutIn(t.Context(), tx, inbox.Delivery{Body: body, ReceivedAt: at, Event: &e}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return events
}
