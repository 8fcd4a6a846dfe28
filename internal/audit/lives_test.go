package audit_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/simulator"
)

// crowded makes n deliveries about a few contacts of two tenants, in the order of
// nothing: with several events at one Timestamp, Timestamps that differ by less than
// a microsecond, several hard deletes, repeated creations, and events that only name
// columns. A third of what a contact would have is never made, as if it were lost.
func crowded(random *rand.Rand, n int) [][]byte {
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	bodies := make([][]byte, n)
	for i := range bodies {
		kind := pick("created", "changed", "changed", "changed", "changed", "softdeleted", "softdeleted", "changed", "deleted")
		if kind == "deleted" && random.IntN(3) > 0 {
			kind = "changed"
		}
		ticks := time.Date(2026, 3, 1+random.IntN(6), 0, 0, 0, 0, time.UTC).Format("2006-01-02T15:04:05") + fmt.Sprintf(".%07d", random.IntN(25))
		values := map[string]json.RawMessage{}
		for _, name := range []string{"name", "associate_id", "source", "xstop", "registered", "dbi_last_modified"} {
			if random.IntN(3) == 0 {
				values[name] = json.RawMessage(pick(odd[name]...))
			}
		}
		if name := "country_id"; random.IntN(3) == 0 {
			values[name] = json.RawMessage(pick("1", "2", "null", `"none"`))
		}
		switch random.IntN(4) {
		case 0:
			values["deleted"] = json.RawMessage(pick("0", "1"))
		case 1:
			values["DeletedDate"] = json.RawMessage(pick(`"0001-01-01T00:00:00"`, `"2026-02-27T12:00:00.25"`, `"1970-01-01T00:00:00"`))
		}
		var changes []string
		for _, name := range []string{"name", "country_id", "deleted", "DeletedDate", "dbi_key", "x_own"} {
			if random.IntN(4) == 0 {
				changes = append(changes, name)
			}
		}
		e := map[string]any{
			"EventId": fmt.Sprintf("%08x-0000-4000-8000-%012d", random.Uint32(), i), "Timestamp": ticks, "Event": "contact." + kind,
			"PrimaryKey": 1 + random.IntN(8), "ContextIdentifier": pick("Cust1", "Cust2"), "Changes": changes,
		}
		if random.IntN(4) > 0 {
			e["ChangedByAssociateId"] = random.IntN(9)
		}
		if random.IntN(5) > 0 && kind != "deleted" {
			e["FieldValues"] = values
		}
		bodies[i], _ = json.Marshal(e)
	}
	return bodies
}

// life is what happened to one contact, told by a reader who goes through its facts
// once from the first to the last.
type life struct {
	transitions []string // one a fact, "" for none
	deletions   []string
	// before is the contact just before its hard delete, nil where nothing was known,
	// or it was not hard-deleted.
	before map[string]any
	gone   bool
	// stale and unknown are of a contact that lives.
	stale, unknown []string
}

func tell(key contact.Key, facts []contact.Fact) (t life) {
	facts = slices.SortedFunc(slices.Values(facts), func(a, b contact.Fact) int { return a.Order.Compare(b.Order) })
	var (
		created, inBin, everSeen bool
		since                    time.Time
		given, named             = map[contact.Column]contact.Value{}, map[contact.Column]bool{}
		last                     contact.Fact
	)
	// A soft deletion is shown with the restore that ended it.
	soft := func(f contact.Fact) { t.deletions = append(t.deletions, "soft "+f.Order.ID.String()+" -") }
	restored := func(f contact.Fact) {
		end := len(t.deletions) - 1
		t.deletions[end] = strings.TrimSuffix(t.deletions[end], "-") + f.Order.Ticks.Time().Format(time.RFC3339Nano)
	}
	for _, f := range facts {
		transition := ""
		switch {
		case t.gone:
		case f.Order.Kind == contact.Deleted:
			transition, t.gone = "hard_deleted", true
			t.deletions = append(t.deletions, "hard "+f.Order.ID.String()+" -")
			if everSeen {
				t.before = lastRow(key, given, named, inBin, since, last)
			}
		default:
			flag := f.SoftDeleted()
			switch {
			case flag == contact.IsDeleted && !inBin:
				transition, inBin, since = "soft_deleted", true, f.Order.Ticks.Time()
				soft(f)
			case flag == contact.NotDeleted && inBin:
				transition, inBin = "restored", false
				restored(f)
			case f.Order.Kind == contact.Created && !created:
				transition = "created"
			}
			created = created || f.Order.Kind == contact.Created
			for _, cell := range f.Given {
				given[cell.Column] = cell.Value
				delete(named, cell.Column)
				if cell.Column.Spec().Source == "DeletedDate" && !cell.Value.IsNull() && inBin {
					since = cell.Value.Time()
				}
			}
			for c := range contact.Column(contact.NumColumns) {
				if f.Unknown.Has(c) {
					named[c] = true
				}
			}
			everSeen, last = true, f
		}
		t.transitions = append(t.transitions, transition)
	}
	if t.gone {
		return t
	}
	for c := range contact.Column(contact.NumColumns) {
		_, known := given[c]
		switch {
		case c.Spec().Source == "contact_id":
		case !known:
			t.unknown = append(t.unknown, c.Spec().Name)
		case named[c]:
			t.stale = append(t.stale, c.Spec().Name)
		}
	}
	return t
}

// lastRow is a contact as deleted_contacts.last_known shows it.
func lastRow(key contact.Key, given map[contact.Column]contact.Value, named map[contact.Column]bool, inBin bool, since time.Time, last contact.Fact) map[string]any {
	pending := []string{}
	r := map[string]any{
		"context_identifier": key.Tenant, "contact_id": key.ID, "soft_deleted": inBin, "soft_deleted_at": nil,
		"last_event": last.Order.Kind.String(), "last_event_id": last.Order.ID.String(), "last_event_at": utcJSON(last.Order.Ticks.Time()),
		"last_event_ticks": int64(last.Order.Ticks), "last_changed_by_associate_id": last.ChangedBy,
	}
	if inBin {
		r["soft_deleted_at"] = utcJSON(since)
	}
	for c := range contact.Column(contact.NumColumns) {
		spec := c.Spec()
		if spec.Source == "contact_id" {
			continue
		}
		v, known := given[c]
		if !known || named[c] {
			pending = append(pending, spec.Name)
		}
		switch {
		case v.IsNull():
			r[spec.Name] = nil
		case spec.Type == contact.Timestamptz:
			r[spec.Name] = utcJSON(v.Time())
		case spec.Type == contact.Timestamp:
			r[spec.Name] = strings.TrimSuffix(utcJSON(v.Time()), "Z")
		case spec.Type == contact.Text:
			r[spec.Name] = v.Text()
		case spec.Type == contact.Boolean:
			r[spec.Name] = v.Bool()
		default:
			r[spec.Name] = v.Int()
		}
	}
	r["pending_columns"] = pending
	return r
}

// utc is the one spelling of an instant in JSON.
func utcJSON(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.999999Z") }

// The lists of transitions, deletions and pending contacts say what a reader of all
// facts would say, whatever arrived in which order and what was lost or erased.
func TestViews_tellRandomLives(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 15))
			var bodies [][]byte
			if seed%2 == 0 {
				bodies = crowded(random, 250)
			} else {
				lives := simulator.NewLives(seed, []string{"Cust1", "Cust2"}, 25, received.AddDate(0, -1, 0))
				lives.Mix = &simulator.Mix{Ties: 20, V10: 30}
				for range 500 {
					if body := vary(t, random, lives.Next()); random.IntN(8) > 0 { // the others are lost
						bodies = append(bodies, body)
					}
				}
				displace(random, bodies, 200)
			}
			viewsTell(t, random, bodies)
		})
	}
}

// displace moves elements of a list up to n places.
func displace(random *rand.Rand, bodies [][]byte, n int) {
	places := make([]int, len(bodies))
	byPlace := map[int][]byte{}
	for i, body := range bodies {
		places[i] = (i+random.IntN(n))*len(bodies) + i
		byPlace[places[i]] = body
	}
	slices.Sort(places)
	for i, place := range places {
		bodies[i] = byPlace[place]
	}
}

func viewsTell(t *testing.T, random *rand.Rand, bodies [][]byte) {
	db := pgtest.New(t)
	facts := map[contact.Key][]contact.Fact{}
	for rest := bodies; len(rest) > 0; {
		n := min(20+random.IntN(120), len(rest))
		for _, e := range put(t, db, rest[:n]...) {
			facts[e.Contact.Key] = append(facts[e.Contact.Key], e.Contact.Fact)
		}
		drain(t, db)
		rest = rest[n:]
	}
	compareViews(t, db, facts, "as written")
	var keys []contact.Key
	for key := range facts {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, contact.Key.Compare)
	for i, key := range keys {
		if i%3 > 0 {
			continue
		}
		options := erasure.Options{Author: erasure.Author{Actor: "tester"}}
		if _, err := erasure.Erase(t.Context(), db.Pool, key, options); err != nil {
			t.Fatal(err)
		}
		for j := range facts[key] {
			facts[key][j] = facts[key][j].Erase()
		}
	}
	compareViews(t, db, facts, "with erasures")
}

func compareViews(t *testing.T, db *pgtest.DB, facts map[contact.Key][]contact.Fact, when string) {
	t.Helper()
	var transitions, deletions, known, pending []string
	counts := map[string]int{}
	keys := make([]contact.Key, 0, len(facts))
	for key := range facts {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, contact.Key.Compare)
	for _, key := range keys {
		told := tell(key, facts[key])
		of := fmt.Sprint(key.Tenant, " ", key.ID, " ")
		for _, transition := range told.transitions {
			transitions = append(transitions, of+transition)
			counts[transition]++
		}
		for _, deletion := range told.deletions {
			deletions = append(deletions, of+deletion)
		}
		if told.gone {
			text := "null"
			if told.before != nil {
				text = canonicalJSON(t, told.before)
			}
			known = append(known, of+text)
		}
		if told.stale != nil {
			pending = append(pending, of+strings.Join(told.stale, ",")+" "+strings.Join(told.unknown, ","))
		}
	}
	for _, some := range []string{"created", "soft_deleted", "restored", "hard_deleted"} {
		if counts[some] < 3 {
			t.Errorf("%d of %s: the test tests little", counts[some], some)
		}
	}
	if len(pending) == 0 {
		t.Error("no contact has a stale column: the test tests little")
	}
	check := func(what string, want, got []string) {
		t.Helper()
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s, %s (-go +sql):\n%s", what, when, diff)
		}
	}
	check("contact_timeline.transition", transitions, rows(t, db, `select concat(context_identifier, ' ', contact_id, ' ', transition)
		from contact_timeline order by context_identifier, contact_id, occurred_ticks, event_rank, event_id`))
	check("deleted_contacts", deletions, rows(t, db, `
		select concat(context_identifier, ' ', contact_id, ' ', deletion, ' ', event_id, ' ', coalesce(contactmirror_utc(restored_at), '-'))
		from deleted_contacts order by context_identifier, contact_id, occurred_ticks, event_rank, event_id`))
	var got []string
	for _, line := range rows(t, db, `select distinct concat(context_identifier, ' ', contact_id, ' ', coalesce(last_known, 'null'))
		from deleted_contacts where hard_deleted_at is not null`) {
		fields := strings.SplitN(line, " ", 3)
		if fields[2] != "null" {
			fields[2] = sorted(t, fields[2:])[0]
		}
		got = append(got, strings.Join(fields, " "))
	}
	slices.Sort(known)
	slices.Sort(got)
	check("deleted_contacts.last_known", known, got)
	check("names", []string{}, rows(t, db, `select concat(context_identifier, ' ', contact_id, ' ', name)
		from deleted_contacts where name is distinct from last_known ->> 'name'`))
	check("deletions of live contacts", []string{}, rows(t, db, `select concat(d.context_identifier, ' ', d.contact_id)
		from deleted_contacts d left join contacts c using (context_identifier, contact_id)
		where d.hard_deleted_at is null and d.last_known is distinct from contactmirror_row(c)`))
	check("pending_contacts", pending, rows(t, db, `select concat(context_identifier, ' ', contact_id, ' ',
			array_to_string(stale_columns, ','), ' ', array_to_string(unknown_columns, ','))
		from pending_contacts order by context_identifier, contact_id`))
	check("counts", []string{fmt.Sprintf("%d %d %d", counts["soft_deleted"], counts["restored"], counts["hard_deleted"])}, rows(t, db, `
		select concat_ws(' ', count(*) filter (where transition = 'soft_deleted'), count(*) filter (where transition = 'restored'),
			count(*) filter (where transition = 'hard_deleted'))
		from contact_timeline`))
	check("counts of deletions", rows(t, db, `
		select concat_ws(' ', count(*) filter (where transition = 'soft_deleted'), count(*) filter (where transition = 'restored'),
			count(*) filter (where transition = 'hard_deleted'))
		from contact_timeline`), rows(t, db, `
		select concat_ws(' ', count(*) filter (where deletion = 'soft'), count(restored_at), count(*) filter (where deletion = 'hard'))
		from deleted_contacts`))
	check("event_accounting", []string{}, rows(t, db, `select context_identifier from event_accounting where not balanced`))
}
