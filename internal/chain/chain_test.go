package chain_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"contactmirror/internal/chain"
)

func commit(t testing.TB, v chain.Values) chain.Commitment {
	t.Helper()
	c, err := chain.NewLinker(nil).Commit(make([]byte, chain.SaltSize), v)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func fields(doc string) chain.Values { return chain.Values{FieldValues: []byte(doc)} }

// What jsonb does to a document changes nothing, and nor does any other way to
// write the same.
func TestOneMeaningOneCommitment(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{`{}`, ` { } `},
		{`{"name":"a","b":1}`, `{"b": 1, "name": "a"}`},
		{`{"n":100}`, `{"n":1e2}`, `{"n":100.0}`, `{"n":1.00E+2}`, `{"n":1000e-1}`, `{"n":0.001e5}`},
		{`{"n":0}`, `{"n":-0}`, `{"n":0.000}`, `{"n":0e7}`, `{"n":-0.0e-3}`},
		{`{"n":-0.05}`, `{"n":-5e-2}`, `{"n":-0.0500}`},
		{`{"n":9223372036854775807}`, `{"n":9223372036854775807.0}`},
		{`{"s":"\u00e5<\/"}`, `{"s":"å</"}`, `{"\u0073":"å\u003c/"}`},
		{`{"a":["x",{"c":null,"b":[true]}]}`, `{ "a" : [ "x" , {"b":[true],"c":null} ] }`},
	} {
		for _, doc := range same[1:] {
			if commit(t, fields(doc)) != commit(t, fields(same[0])) {
				t.Errorf("%s and %s have different commitments", same[0], doc)
			}
		}
	}
}

func TestOtherMeaningOtherCommitment(t *testing.T) {
	t.Parallel()
	seen := map[chain.Commitment]chain.Values{}
	for _, v := range []chain.Values{
		{},
		fields(`null`), fields(`{}`), fields(`[]`), fields(`""`), fields(`[{}]`), fields(`[[]]`),
		{IDValues: []byte(`{}`)},
		{LastKnown: []byte(`{}`)},
		{FieldValues: []byte(`{}`), IDValues: []byte(`{}`)},
		fields(`{"a":1}`), fields(`{"a":"1"}`), fields(`{"a":true}`), fields(`{"a":"true"}`), fields(`{"a":false}`), fields(`{"a":null}`),
		fields(`{"a":-1}`), fields(`{"a":10}`), fields(`{"a":0.1}`), fields(`{"a":0}`), fields(`{"a":1.1}`), fields(`{"a":11}`), fields(`{"a":1e-20}`),
		fields(`{"A":1}`), fields(`{"a":{"a":1}}`), fields(`{"a":[1]}`), fields(`{"a":[1,1]}`), fields(`{"a":[[1],1]}`), fields(`{"a":[11]}`),
		fields(`{"a":"","b":""}`), fields(`{"a":"b"}`), fields(`{"ab":""}`), fields(`{"a":{"b":1},"c":2}`), fields(`{"a":{"b":1,"c":2}}`),
	} {
		c := commit(t, v)
		if other, ok := seen[c]; ok {
			t.Errorf("%q and %q have one commitment", v, other)
		}
		seen[c] = v
	}
	salted, err := chain.NewLinker(nil).Commit([]byte("0123456789abcdef"), fields(`{}`))
	if _, ok := seen[salted]; ok || err != nil {
		t.Errorf("the salt makes no difference, %v", err)
	}
}

func TestNoJSON(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{``, `{`, `{"a"}`, `{"a":1,}`, `{} {}`, `{"a":1,"a":1}`, `{"a":{"b":1,"b":2}}`, `{"a":01}`, `{"a":"\ud800"}`} {
		if _, err := chain.NewLinker(nil).Commit(nil, fields(doc)); err == nil {
			t.Errorf("%q: no error", doc)
		}
	}
	// An error leaves nothing behind.
	l := chain.NewLinker(nil)
	_, _ = l.Commit(nil, fields(`{"z":{"y":1,`))
	salt := make([]byte, chain.SaltSize)
	if got, err := l.Commit(salt, fields(`{"b":1,"a":2}`)); err != nil || got != commit(t, fields(`{"a":2,"b":1}`)) {
		t.Errorf("after an error: %x, %v", got, err)
	}
}

// Numbers in any spelling, against arithmetic on their digits.
func TestNumbers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[1-9][0-9]{0,20}`).Draw(t, "digits")
		shift := rapid.IntRange(0, 25).Draw(t, "shift")
		sign := rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign")
		plain := sign + digits + strings.Repeat("0", shift)
		scaled := fmt.Sprintf("%s%se%d", sign, digits, shift)
		point := rapid.IntRange(1, len(digits)).Draw(t, "point")
		pointed := fmt.Sprintf("%s%s.%s0E+%d", sign, digits[:point], digits[point:], shift+len(digits)-point)
		a, errA := chain.NewLinker(nil).Commit(nil, fields(plain))
		b, errB := chain.NewLinker(nil).Commit(nil, fields(scaled))
		c, errC := chain.NewLinker(nil).Commit(nil, fields(pointed))
		if a != b || b != c || errA != nil || errB != nil || errC != nil {
			t.Fatalf("%s, %s and %s differ: %v %v %v", plain, scaled, pointed, errA, errB, errC)
		}
	})
}

func row() chain.Row {
	return chain.Row{
		AuditSeq: 1, EventSeq: new(int64(2)), Shard: 3, Tenant: "Cust1", ContactID: 4, Event: "contact.changed", EventID: [16]byte{5},
		OccurredAt: 6, OccurredTicks: 60, ReceivedAt: 7, RecordedAt: 8, ChangedColumns: []string{"name", "department"},
		UnreadableColumns: []string{"xstop"}, SoftDeleted: new(false), Outcome: "applied", ChangedBy: new(int64(9)),
		WebhookName: new("hook"), Origin: "webhook", Values: chain.Commitment{10},
	}
}

// Every column of a row is covered, and so is its place.
func TestEveryColumnIsCovered(t *testing.T) {
	t.Parallel()
	key, err := chain.NewKey([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]*chain.Linker{"no key": chain.NewLinker(nil), "key": chain.NewLinker(key)} {
		start := chain.Head{Count: 10, Link: chain.Link{35: 1}}
		seen := map[chain.Link]string{}
		note := func(change string, link chain.Link) {
			if other, ok := seen[link]; ok {
				t.Errorf("%s: %s: has the link of %s", name, change, other)
			}
			seen[link] = change
		}
		original := row()
		note("no change", l.Next(start, &original).Link)
		for change, do := range map[string]func(*chain.Row){
			"audit_seq": func(r *chain.Row) { r.AuditSeq++ }, "event_seq": func(r *chain.Row) { *r.EventSeq++ }, "no event_seq": func(r *chain.Row) { r.EventSeq = nil },
			"tenant": func(r *chain.Row) { r.Tenant = "" }, "contact": func(r *chain.Row) { r.ContactID++ },
			"event": func(r *chain.Row) { r.Event = "contact.created" }, "event_id": func(r *chain.Row) { r.EventID[15]++ }, "occurred_at": func(r *chain.Row) { r.OccurredAt++ },
			"occurred_ticks": func(r *chain.Row) { r.OccurredTicks++ }, "received_at": func(r *chain.Row) { r.ReceivedAt++ }, "recorded_at": func(r *chain.Row) { r.RecordedAt++ },
			"changed_columns": func(r *chain.Row) { r.ChangedColumns = []string{"namedepartment"} }, "fewer columns": func(r *chain.Row) { r.ChangedColumns = nil },
			"unreadable_columns": func(r *chain.Row) { r.UnreadableColumns = nil }, "moved column": func(r *chain.Row) {
				r.ChangedColumns, r.UnreadableColumns = r.ChangedColumns[:1], append(r.ChangedColumns[1:], r.UnreadableColumns...)
			},
			"soft_deleted": func(r *chain.Row) { r.SoftDeleted = new(true) }, "silent": func(r *chain.Row) { r.SoftDeleted = nil }, "hard_deleted": func(r *chain.Row) { r.HardDeleted = true },
			"outcome": func(r *chain.Row) { r.Outcome = "no_op" }, "changed_by": func(r *chain.Row) { *r.ChangedBy++ }, "by nobody": func(r *chain.Row) { r.ChangedBy = nil },
			"webhook_name": func(r *chain.Row) { r.WebhookName = new("") }, "no webhook": func(r *chain.Row) { r.WebhookName = nil }, "origin": func(r *chain.Row) { r.Origin = "fetch" },
			"values": func(r *chain.Row) { r.Values[0]++ },
		} {
			changed := row()
			do(&changed)
			note(change, l.Next(start, &changed).Link)
		}
		moved := row()
		note("place", l.Next(chain.Head{Count: start.Count + 1, Link: start.Link}, &moved).Link)
		other := start
		other.Link[chain.LinkSize-1]++
		note("link before", l.Next(other, &moved).Link)
		moved.Shard++
		note("shard", l.Next(start, &moved).Link)
	}
}

// A key takes over from none and from another, and its links name it.
func TestKeys(t *testing.T) {
	t.Parallel()
	if _, err := chain.NewKey([]byte("0123456789abcde")); err == nil {
		t.Error("15 bytes are a key")
	}
	one, err1 := chain.NewKey([]byte("0123456789abcdef"))
	two, err2 := chain.NewKey([]byte("fedcba9876543210"))
	if err1 != nil || err2 != nil || one.ID() == two.ID() || one.ID() == (chain.KeyID{}) || (*chain.Key)(nil).ID() != (chain.KeyID{}) {
		t.Fatal(one, two, err1, err2)
	}
	r := row()
	open := chain.NewLinker(nil).Next(chain.Head{}, &r)
	seal := chain.NewLinker(one).Seal(r.Shard, open)
	if seal == open.Link || seal.Key() != one.ID() || seal == chain.NewLinker(two).Seal(r.Shard, open) {
		t.Errorf("%v is sealed with %v", open, seal)
	}
	if chain.NewLinker(one).Seal(r.Shard+1, open) == seal || chain.NewLinker(one).Seal(r.Shard, chain.Head{Count: 2, Link: open.Link}) == seal {
		t.Error("the seal of one head would do for another")
	}
	keyed := chain.NewLinker(one).Next(open, &r)
	if keyed.Link.Key() != one.ID() || keyed.Count != 2 || keyed == chain.NewLinker(two).Next(open, &r) {
		t.Errorf("with the key: %v", keyed)
	}
	if lost := chain.NewLinker(nil).Next(keyed, &r); lost.Link.Key() != (chain.KeyID{}) || lost.Count != 3 {
		t.Errorf("without the key again: %v", lost)
	}
	if link, ok := chain.ParseLink(seal[:]); !ok || link != seal {
		t.Errorf("read back %v, %v", link, ok)
	}
	if _, ok := chain.ParseLink(seal[:32]); ok {
		t.Error("32 bytes are a link")
	}
}

// The forms are stored for good.
func TestPinned(t *testing.T) {
	t.Parallel()
	key, err := chain.NewKey([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	c := commit(t, chain.Values{FieldValues: []byte(`{"name":"a","deleted":1.50,"updated":null}`), LastKnown: []byte(`{"pending_columns":["name"],"xstop":true}`)})
	r := row()
	r.Values = c
	head := chain.NewLinker(nil).Next(chain.Head{}, &r)
	keyed := chain.NewLinker(key).Next(head, &r)
	for _, pin := range []struct {
		name string
		got  []byte
		want string
	}{
		{"commitment", c[:], "90a9f5e0c1907a77a9b5f970e2c7abf62730681decf5891d7d52395a2e9cf2dd"},
		{"link", head.Link[:], "0000000011ca6db301ca8d9e435ce19893cfd03351764c0544d117f0a2fe03eecc61d956"},
		{"keyed link", keyed.Link[:], "8c8e7f47ae32c95177e835e03f08c444ef24315a190d28f1fb2f413763e97e3029bdea9d"},
	} {
		if got := hex.EncodeToString(pin.got); got != pin.want {
			t.Errorf("%s %s, want %s", pin.name, got, pin.want)
		}
	}
}

// BenchmarkLink is what the chain costs an event: the commitment to the values
// of a version 11 event and the link.
func BenchmarkLink(b *testing.B) {
	key, err := chain.NewKey([]byte("0123456789abcdef"))
	if err != nil {
		b.Fatal(err)
	}
	values := fields(`{"contact_id":18,"name":"Kattekjop AS","department":"Oslo","associate_id":5,"country_id":826,"business_idx":2,"category_idx":7,"orgNr":"974760673","updated":"2025-05-14T08:48:07.8912034Z","updated_associate_id":5,"updatedCount":4,"deleted":0,"DeletedDate":"0001-01-01T00:00:00"}`)
	salt := make([]byte, chain.SaltSize)
	for name, l := range map[string]*chain.Linker{"unkeyed": chain.NewLinker(nil), "keyed": chain.NewLinker(key)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r, head := row(), chain.Head{}
			for b.Loop() {
				if r.Values, err = l.Commit(salt, values); err != nil {
					b.Fatal(err)
				}
				head = l.Next(head, &r)
			}
		})
	}
}
