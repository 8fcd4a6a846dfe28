package verify

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/chain"
)

// lines is everything that a report finds fault with.
func lines(r *Report) []string {
	var found []string
	if r.Chain != nil {
		for _, b := range r.Chain.Breaks {
			found = append(found, b.String())
		}
	}
	for _, d := range r.Mirror.Differences {
		found = append(found, d.String())
	}
	return append(append(found, r.Events.Lines...), r.Accounts.Lines...)
}

func TestWhatHolds(t *testing.T) {
	t.Parallel()
	r := newRig(t, 5)
	if empty := r.run(Options{Keys: testKey(t, "sixteen bytes or more")}); empty.Differences() != 0 || empty.Chain.Rows != 0 {
		t.Errorf("of an empty database: %v", lines(empty))
	}
	r.apply(200, nil)
	report := r.run(Options{})
	if report.Differences() != 0 {
		t.Errorf("found %q", lines(report))
	}
	contacts := r.value("select concat_ws(' ', (select count(*) from contacts), (select count(*) from contact_tombstones))")
	if got := fmt.Sprint(report.Mirror.Contacts, report.Mirror.Tombstones); got != contacts || !strings.Contains(contacts, " ") {
		t.Errorf("checked %s contacts and tombstones, want %s", got, contacts)
	}
	if got := fmt.Sprint(report.Chain.Rows, report.Chain.Unkeyed, report.Mirror.Facts, report.Events.Applied, report.Events.Bodies, report.Accounts.Tenants); got != "200 200 200 200 200 2" {
		t.Errorf("counted %s", got)
	}
	one := r.run(Options{Tenant: new("Cust1")})
	if one.Chain != nil || one.Differences() != 0 || one.Accounts.Tenants != 1 || one.Mirror.Facts == 0 || one.Mirror.Facts >= 200 || one.Events.Applied != one.Mirror.Facts {
		t.Errorf("of one tenant: %+v", one)
	}
}

// Nothing seems wrong while events are being stored and applied.
func TestUnderTraffic(t *testing.T) {
	t.Parallel()
	r := newRig(t, 12)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for range 10 {
			r.apply(60, nil)
		}
	}()
	rows := map[int64]bool{}
	for feeding := true; feeding; {
		select {
		case <-fed:
			feeding = false
		default:
		}
		report := r.run(Options{})
		if report.Differences() != 0 {
			t.Fatalf("found %q", lines(report))
		}
		rows[report.Chain.Rows] = true
	}
	if !rows[600] || len(rows) < 3 {
		t.Errorf("looked at logs of %v rows: the test tests nothing", rows)
	}
}

// Each kind of damage, put back before the next one.
func TestWhatIsFound(t *testing.T) {
	t.Parallel()
	r := newRig(t, 6)
	r.apply(300, nil)
	for _, statement := range []string{
		"create table kept_contacts as select * from contacts", "create table kept_tombstones as select * from contact_tombstones",
		"create table kept_log as select * from contact_audit_log", "create table kept_events as select * from webhook_events",
		"create table kept_bodies as select * from webhook_bodies",
	} {
		r.tamper(statement)
	}
	restore := []string{
		"delete from contacts", "insert into contacts select * from kept_contacts", "delete from contact_tombstones", "insert into contact_tombstones select * from kept_tombstones",
		"delete from contact_audit_log", "insert into contact_audit_log select * from kept_log", "delete from webhook_events", "insert into webhook_events select * from kept_events",
		"delete from webhook_bodies", "insert into webhook_bodies select * from kept_bodies",
	}
	const first = "(select contact_id from contacts order by context_identifier, contact_id limit 1) and context_identifier = (select context_identifier from contacts order by context_identifier, contact_id limit 1)"
	for _, c := range []struct {
		statement string
		want      []string // each in some line
	}{
		{"update contacts set name = 'forged', pending_columns = array_remove(pending_columns, 'name') where contact_id = " + first, []string{`different row: name "forged" → `}},
		{"update contacts set soft_deleted = not soft_deleted, soft_deleted_at = case when soft_deleted then null else now() end where contact_id = " + first, []string{"different row: soft_deleted "}},
		{"update contacts set updated = 'infinity' where contact_id = " + first, []string{`updated "infinity" → `}},
		{"update contacts set updated = '-infinity', dbi_last_modified = 'infinity' where contact_id = " + first, []string{`updated "-infinity" → `, `dbi_last_modified "infinity" → NULL`}},
		{"update contacts set updated = '0044-03-15 BC', registered = '10000-01-01' where contact_id = " + first, []string{`updated "-0043-03-15T00:00:00Z" → `, `registered "10000-01-01T00:00:00Z" → `}},
		{"update contacts set soft_deleted = true, soft_deleted_at = 'infinity', last_event_at = '-infinity' where contact_id = " + first, []string{`soft_deleted_at "infinity" → `, `last_event_at "-infinity" → `}},
		{"update contact_tombstones set deleted_at = 'infinity' where contact_id = (select min(contact_id) from contact_tombstones)", []string{`different tombstone: deleted_at "infinity" → `}},
		{"update contacts set pending_columns = pending_columns || 'nothing'::text where contact_id = " + first, []string{"pending_columns {", "nothing} → {"}},
		{"update contacts set last_event_at = last_event_at + interval '1 microsecond' where contact_id = " + first, []string{"last_event_at "}},
		{"delete from contacts where contact_id = " + first, []string{": missing row"}},
		{"insert into contacts select (jsonb_populate_record(c, '{\"contact_id\": 999999}')).* from contacts c where contact_id = " + first, []string{"contact 999999 of tenant", "unexpected row"}},
		{"delete from contact_tombstones where contact_id = (select min(contact_id) from contact_tombstones)", []string{": missing tombstone"}},
		{"update contact_tombstones set occurred_ticks = occurred_ticks - 1, event_seq = 0 where contact_id = (select min(contact_id) from contact_tombstones)", []string{"different tombstone: event_seq 0 → ", "occurred_ticks "}},
		{"insert into contact_tombstones select context_identifier, 999999, deleted_at, event_seq, occurred_ticks, event_id from contact_tombstones limit 1", []string{"contact 999999 of tenant", "unexpected tombstone"}},
		{"delete from contact_audit_log where audit_seq = (select max(audit_seq) from contact_audit_log)", []string{": missing: place ", "lost: it was accepted", "account of tenant"}},
		{"alter table contact_audit_log drop constraint contact_audit_log_event; update contact_audit_log set event = 'contact.eaten' where audit_seq = 7", []string{": altered: row 7, contact.eaten", `unreadable log: "contact.eaten" is no contact event`, "another event than webhook_events"}},
		{"update contact_audit_log set field_values = '{\"name\": 5}' where audit_seq = 9", []string{": altered: row 9", "unreadable log: ", "other field_values than its body"}},
		{"update webhook_events set received_at = received_at + interval '1 second' where event_seq = 3", []string{"another received_at than webhook_events"}},
		{"update webhook_bodies set body = convert_to(replace(convert_from(body, 'UTF8'), '\"Changes\":[', '\"Changes\":[\"forged\",'), 'UTF8') where event_seq = (select min(event_seq) from webhook_bodies where convert_from(body, 'UTF8') like '%\"Changes\":[\"%')", []string{"other changed_columns than its body"}},
		{"update webhook_bodies set body = '{}' where event_seq = 4", []string{"event 4, ", "its body can't be read"}},
		{"delete from webhook_events where event_seq = 5", []string{"invented: its event was never accepted", "account of tenant"}},
		{"update webhook_events set event_id = gen_random_uuid() where event_seq = 6", []string{"another event_id than webhook_events"}},
	} {
		r.tamper(c.statement)
		report := r.run(Options{})
		got := strings.Join(lines(report), "\n")
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s:\nfound %s\nwant %s", c.statement, got, want)
			}
		}
		if report.Differences() == 0 {
			t.Errorf("%s: no differences", c.statement)
		}
		if _, err := json.Marshal(report); err != nil {
			t.Errorf("%s: as JSON: %v", c.statement, err)
		}
		r.tamper(restore...)
	}
	if report := r.run(Options{}); report.Differences() != 0 {
		t.Errorf("put back: %q", lines(report))
	}
}

// What is missing of a key, and what was done without it, shows until it is adopted,
// and is listed after that.
func TestRun_keysComeAndGo(t *testing.T) {
	t.Parallel()
	r := newRig(t, 8)
	one, two := testKey(t, "the first key of the log"), testKey(t, "the second key of the log")
	ids := map[string]string{"one": one[0].ID().String(), "two": two[0].ID().String()}
	want := func(name string, options Options, counts string, faults ...string) {
		t.Helper()
		report := r.run(options)
		c := report.Chain
		if got := fmt.Sprint(c.Unkeyed, c.Keyed, c.OtherKey, c.Adopted, c.Unchecked); got != counts {
			t.Errorf("%s: rows without a key, with one given, with another, adopted, unchecked: %s, want %s", name, got, counts)
		}
		var got []string
		for _, b := range c.Breaks {
			if kind := b.What; !slices.Contains(got, kind) {
				got = append(got, kind)
			}
		}
		if diff := cmp.Diff(faults, got); diff != "" || report.Differences() != int64(len(c.Breaks)) {
			t.Errorf("%s: breaks (-want +got):\n%s%q", name, diff, lines(report))
		}
	}
	r.apply(60, nil)
	want("never a key", Options{}, "60 0 0 0 0")
	want("a key that nobody has used", Options{Keys: one}, "60 0 0 0 0", Unproved)
	if done := r.adopt(one); len(done.Shards) != 32 || done.NotProved() != 60 {
		t.Errorf("adopted %+v", done)
	}
	want("adopted", Options{Keys: one}, "60 0 0 60 0")
	want("adopted, the key is not given", Options{}, "60 0 0 60 32", Unchecked)
	want("adopted, allowed", Options{AllowUnchecked: true}, "60 0 0 60 32")
	if done := r.adopt(one); len(done.Shards) != 0 {
		t.Errorf("adopted again: %+v", done)
	}
	r.apply(60, one)
	want("with the key", Options{Keys: one}, "60 60 0 60 0")
	// The key is changed while an old and a new process run.
	both := chain.Keys{two[0], one[0]}
	for range 3 {
		r.apply(10, both)
		r.apply(10, one)
	}
	r.apply(30, both)
	want("changed", Options{Keys: both}, "60 150 0 60 0")
	want("changed, the new key is not given", Options{Keys: one}, "60 90 60 60 60", Unchecked)
	r.apply(0, two) // the old key is taken out
	r.apply(30, two)
	want("without the old one", Options{Keys: chain.Keys{one[0], two[0]}}, "60 180 0 60 0")
	unchecked := r.run(Options{Keys: two})
	if got := lines(unchecked); len(got) != 1 || !strings.Contains(got[0], ids["one"]) {
		t.Errorf("the old key is not given: %q", got)
	}
	want("… which is allowed", Options{Keys: two, AllowUnchecked: true}, "60 90 90 60 122")
	// A worker without the key, and what it has done is adopted.
	r.apply(30, nil)
	want("a worker without a key", Options{Keys: both}, "90 180 0 60 0", Unproved)
	want("… found without the keys too", Options{AllowUnchecked: true}, "90 0 180 60 212", Unproved)
	r.apply(30, two)
	lost := r.run(Options{Keys: both}).Chain
	if len(lost.Breaks) == 0 || lost.Unkeyed <= 90 {
		t.Errorf("a head without a signature was continued with the key: %+v", lost)
	}
	dry, err := Adopt(t.Context(), r.Pool, AdoptOptions{Keys: both, Actor: "tester", Reason: "a test", DryRun: true})
	if err != nil || dry.NotProved() != lost.Unkeyed-60 {
		t.Errorf("would adopt %+v, %v; want %d rows", dry, err, lost.Unkeyed-60)
	}
	want("a dry run", Options{Keys: both}, fmt.Sprint(lost.Unkeyed, lost.Keyed, " 0 60 0"), Unproved)
	r.adopt(both)
	r.apply(30, two)
	want("adopted", Options{Keys: both}, fmt.Sprint(lost.Unkeyed, lost.Keyed+30, 0, lost.Unkeyed, 0))
	if got := r.value("select string_agg(distinct concat_ws(' ', actor, action, detail->>'reason'), ', ') from operator_actions"); got != "tester adopt_audit a test" {
		t.Errorf("operator_actions has %q", got)
	}
}

// Somebody who owns the server makes the log anew, without the key or without
// what was at its end.
func TestRewrittenLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, 9)
	key := testKey(t, "the key of the log")
	r.apply(80, key)
	heads := r.run(Options{Keys: key}).Heads
	content, err := json.Marshal(heads)
	if err != nil {
		t.Fatal(err)
	}
	if heads, err = ParseHeads(content); err != nil {
		t.Fatal(err)
	}
	r.apply(40, key)
	if report := r.run(Options{Keys: key, Against: heads}); report.Differences() != 0 {
		t.Errorf("after more events: %q", lines(report))
	}
	r.tamper(
		"create table kept_log as select * from contact_audit_log", "create table kept_shards as select * from sync_shards",
		"delete from contact_audit_log", "update sync_shards set audit_count = 0, audit_head = null, audit_signatures = null",
		"insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes) select shard, context_identifier, event_seq, received_at, 1000 from kept_log",
		"delete from contacts", "delete from contact_tombstones",
	)
	r.apply(0, nil)
	report := r.run(Options{Keys: key})
	if got := lines(report); len(got) != 1 || !strings.Contains(got[0], "chains of all shards: not proved") {
		t.Errorf("made anew without the key: %q", got)
	}
	if report := r.run(Options{Against: heads}); len(report.Chain.Breaks) < 10 || report.Chain.Breaks[0].What != Rewritten {
		t.Errorf("made anew, beside its heads: %q", lines(report))
	}
	// Cut off at the end of one shard, which is long enough to be.
	r.tamper(
		"delete from contact_audit_log", "insert into contact_audit_log select * from kept_log",
		`update sync_shards s set audit_count = k.audit_count, audit_head = k.audit_head, audit_signatures = k.audit_signatures from kept_shards k where k.shard = s.shard`,
		`create table cut as select shard, audit_seq from contact_audit_log where chain_seq = 2 order by shard limit 1`,
		`delete from contact_audit_log a using cut where a.shard = cut.shard and a.audit_seq >= cut.audit_seq`,
		`update sync_shards s set audit_count = 1, audit_head = a.chain from contact_audit_log a, cut where a.shard = cut.shard and s.shard = cut.shard`,
	)
	report = r.run(Options{Keys: key})
	if got := report.Chain.Breaks; len(got) != 1 || got[0].What != Unsigned {
		t.Errorf("cut off, by itself: %q", lines(report))
	}
	if report = r.run(Options{AllowUnchecked: true}); len(report.Chain.Breaks) != 0 {
		t.Errorf("cut off, without the key: %q", lines(report))
	}
	report = r.run(Options{Keys: key, Against: heads})
	if got := report.Chain.Breaks; len(got) != 2 || got[1].What != CutOff && got[1].What != Rewritten {
		t.Errorf("cut off, beside its heads: %q", lines(report))
	}
	for _, bad := range []string{"", "{}", `{"shards":[]}`, strings.Replace(string(content), `"rows":`, `"rows":-`, 1), strings.Replace(string(content), `"shard":3,`, `"shard":2,`, 1)} {
		if _, err := ParseHeads([]byte(bad)); err == nil {
			t.Errorf("%.60s are heads", bad)
		}
	}
	// The tampering above lost events for good; the account is not this test's.
	r.tamper("delete from contact_audit_log", "insert into contact_audit_log select * from kept_log")
}
