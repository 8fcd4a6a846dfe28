package event_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"contactmirror/internal/contact"
	"contactmirror/internal/event"
)

// checkRedacted checks what holds of every body that can be redacted: it is read
// as the same event and as the fact without its values, before and after the
// erasure alike.
func checkRedacted(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, body []byte,
) {
	t.Helper()
	want, err := event.ParseStored(body, time.Time{})
	redacted, ok := event.Redact(body)
	if ok != (err == nil && !want.Ignored()) {
		t.Fatalf("Redact(%q) = %t, though it is parsed as %+v, %v", body, ok, want, err)
	}
	if !ok {
		return
	}
	got, err := event.ParseStored(redacted, time.Time{})
	if err != nil {
		t.Fatalf("%q, redacted to %q: %v", body, redacted, err)
	}
	if again, ok := event.Redact(redacted); !ok || !bytes.Equal(again, redacted) {
		t.Fatalf("redacted again, %q is %q, %t", redacted, again, ok)
	}
	if _, err := event.Parse(redacted, received); err == nil {
		t.Fatalf("%q is taken from outside", redacted)
	}
	if bytes.Equal(body, redacted) { // made by Redact before
		return
	}
	want.Contact.Changes = slices.DeleteFunc(want.Contact.Changes, func(name string) bool {
		_, isColumn := contact.BySource(name)
		return !isColumn
	})
	given := []string{}
	for _, cell := range want.Contact.Fact.Given {
		given = append(given, cell.Column.Spec().Source)
	}
	if len(got.Contact.Erased) != len(given) || got.Contact.FieldValues != nil || got.Contact.IDValues != nil {
		t.Fatalf("%q, redacted to %q, has values: %+v", body, redacted, got.Contact)
	}
	want.Contact.Fact = want.Contact.Fact.Erase()
	want.Contact.FieldValues, want.Contact.IDValues, want.Contact.Erased, got.Contact.Erased = nil, nil, nil, nil
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(contact.Value{})); diff != "" {
		t.Fatalf("%q, redacted to %q (-sent without values +read):\n%s", body, redacted, diff)
	}
}

func TestRedact_keepsTheEnvelope(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../testdata/deliveries/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples", err)
	}
	for _, file := range files {
		checkRedacted(t, sample(t, filepath.Base(file)))
	}
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SampledFrom([]string{`"secret"`, `4711`, `0`, `1`, `null`, `true`, `{"a":"secret"}`, `["secret"]`, `"secret \"}"`, `"2025-05-14T10:48:07.8912039Z"`, `"4711"`})
		values := func(label string, names ...string) string {
			var members []string
			for _, name := range names {
				if rapid.Bool().Draw(t, label+name) {
					members = append(members, fmt.Sprintf("%q:%s", name, value.Draw(t, name)))
				}
			}
			return "{" + strings.Join(members, ",") + "}"
		}
		kind := rapid.SampledFrom([]string{"contact.created", "contact.changed", "contact.softdeleted", "contact.deleted"}).Draw(t, "kind")
		members := map[string]string{
			"Event": `"` + kind + `"`, "Extra": `"secret"`, "ContextIdentifier": rapid.SampledFrom([]string{"", "null", `"Cust1"`, `"C\u0075st1"`}).Draw(t, "tenant"),
			"Changes":              rapid.SampledFrom([]string{"", "[]", `["name","x_own","secret","name"]`, `["name","contact_id","deleted"]`}).Draw(t, "changes"),
			"ChangedByAssociateId": rapid.SampledFrom([]string{"", "null", "5", `"5"`}).Draw(t, "by"),
			"WebhookName":          rapid.SampledFrom([]string{"", "null", `"hook"`}).Draw(t, "hook"),
		}
		if rapid.Bool().Draw(t, "FieldValues") {
			members["FieldValues"] = values("field", "name", "deleted", "DeletedDate", "country_id", "contact_id", "orgNr", "x_own", "registered")
		}
		if rapid.Bool().Draw(t, "Values") {
			members["Values"] = values("value", "name", "contact_id", "text")
		}
		data := body(members)
		if rapid.Bool().Draw(t, "mark") {
			data = append([]byte("\ufeff"), data...)
		}
		checkRedacted(t, data)
		redacted, _ := event.Redact(data)
		for _, text := range []string{"secret", "4711"} {
			if bytes.Contains(redacted, []byte(text)) {
				t.Fatalf("%q, redacted to %q, is not without values", data, redacted)
			}
		}
	})
}

// An event that was accepted stays one: the worker's clock, and that of the
// receiver then, are not asked.
func TestParseStored_asksNoClock(t *testing.T) {
	t.Parallel()
	late := body(map[string]string{"Timestamp": `"2027-11-02T12:00:00.0000001Z"`})
	redacted, ok := event.Redact(late)
	if !ok {
		t.Fatal("can't be redacted")
	}
	for _, data := range [][]byte{late, redacted} {
		if _, err := event.ParseStored(data, time.Time{}); err != nil {
			t.Error(err)
		}
		if _, err := event.ParseStored(data, received); err == nil {
			t.Errorf("%s is taken a year before its time", data)
		}
		if _, err := event.ParseStored(data, received.AddDate(1, 0, 1)); err != nil {
			t.Error(err)
		}
	}
}

func FuzzRedact(f *testing.F) {
	for _, file := range []string{"v11-softdeleted-inferred.json", "2018-deleted.json"} {
		f.Add(sample(f, file))
		redacted, _ := event.Redact(sample(f, file))
		f.Add(redacted)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkRedacted(t, data)
		if redacted, ok := event.Redact(data); ok && !json.Valid(redacted[bytes.IndexByte(redacted, '\n'):]) {
			t.Fatalf("%q", redacted)
		}
	})
}

// A body that only looks redacted keeps nothing that is no envelope.
func TestRedact_ofABodyThatASenderWrote(t *testing.T) {
	t.Parallel()
	without, ok := event.Redact(body(map[string]string{"FieldValues": `{"country_id":1}`}))
	if !ok {
		t.Fatal("the event can't be redacted")
	}
	for name, change := range map[string][2]string{
		"values":           {`"Changes":`, `"FieldValues":{"name":"secret"},"Changes":`},
		"ids":              {`"Changes":`, `"Values":{"name":"secret"},"Changes":`},
		"an unknown key":   {`"Changes":`, `"x":"secret","Changes":`},
		"a column of none": {`"country_id"`, `"secret"`},
		"an unknown field": {`{"event":`, `{"x":"secret","event":`},
	} {
		forged := bytes.Replace(without, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(forged, without) {
			t.Fatalf("%s: %s is not in %s", name, change[0], without)
		}
		if again, ok := event.Redact(forged); ok && bytes.Contains(again, []byte("secret")) {
			t.Errorf("%s: %s", name, again)
		}
	}
}

// A body names at most 16 contacts, for each one costs a look-up and a lock where
// it is stored.
func TestSubjects_areBounded(t *testing.T) {
	t.Parallel()
	for ids, told := range map[int]bool{0: false, 1: true, 16: true, 17: false, 50_000: false} {
		text := []byte(`{"Event":"contact.changed"`)
		for i := range ids {
			text = fmt.Appendf(text, `,"PrimaryKey":%d,"PrimaryKey":%d`, i+1, i+1)
		}
		found, ok := event.Subjects(append(text, '}'))
		if ok != told || told && len(found) != ids {
			t.Errorf("%d ids: found %d, told: %t", ids, len(found), ok)
		}
	}
}

// Whatever PrimaryKey Parse reads in a good event, Subjects reads in the same event
// when another of its members can't be read, or when it is cut off.
func TestSubjects_readsKeysAsParseDoes(t *testing.T) {
	t.Parallel()
	const good = `{"EventId":"00000000-0000-4000-8000-000000000002","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.changed",KEY,"ContextIdentifier":"Cust1","Changes":[]}`
	read := 0
	for _, name := range []string{`"PrimaryKey"`, `"Primary\u004bey"`, `"\u0050rimaryKey"`} {
		for _, key := range []string{
			`7`, `"7"`, ` 7`, `7 `, `" 7"`, `"7 "`, `7.0`, `"7.0"`, `"7.00"`, `"\u0037"`, `"\u0037.\u0030"`, `7e0`, `70e-1`, `"7e0"`, `0.7e1`, `+7`, `"+7"`, `07`, `"07"`,
			`"[I:7]"`, `9223372036854775807`, `"9223372036854775807.0"`, `18446744073709551623`, `-7`, `7.5`, `"x7"`, `{"a":7}`, `[7]`, `true`,
		} {
			body := strings.Replace(good, "KEY", name+":"+key, 1)
			e, err := event.Parse([]byte(body), time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC))
			if err != nil {
				continue
			}
			read++
			for what, broken := range map[string]string{
				"bad EventId": strings.Replace(body, "00000000-", "nonsense-", 1), "bad Changes": strings.Replace(body, `"Changes":[]`, `"Changes":7`, 1),
				"cut off": body[:strings.Index(body, `,"ContextIdentifier"`)], "before a decoy": strings.Replace(body, `"Changes":[]`, `"primarykey":8`, 1) + "x",
			} {
				if ids, _ := event.Subjects([]byte(broken)); !slices.Contains(ids, e.Contact.Key.ID) {
					t.Errorf("%s: %s: names %v, want %d", what, broken, ids, e.Contact.Key.ID)
				}
			}
		}
	}
	if read < 20 {
		t.Errorf("only %d of the keys were read by Parse", read)
	}
	for _, unknown := range []string{`{"PrimaryKey":"x7","primarykey":8}`, `{"PrimaryKey":7.5,"PrimaryKey":8}`} {
		if ids, told := event.Subjects([]byte(unknown)); told {
			t.Errorf("%s: names %v and no other", unknown, ids)
		}
	}
}

// A body that can't be read is about a contact wherever the same event, whole, would
// be: by its name or by its entity. What can't be read of the two may be a contact's.
func TestSubjects_asksTheEntityToo(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"contact.changed", "contact.merged", "x.merged", "person.changed", ""} {
		for _, entity := range []string{"contact", "Contact", "CONTACT", "c\\u006fntact", "person", "contacts", ""} {
			var isEntity string
			if err := json.Unmarshal([]byte(`"`+entity+`"`), &isEntity); err != nil {
				t.Fatal(err)
			}
			ofContact := strings.HasPrefix(name, "contact.") || strings.EqualFold(isEntity, "contact")
			head := fmt.Sprintf(`{"Entity":"%s","Event":"%s","PrimaryKey":7,"ContextIdentifier":"Cust1"`, entity, name)
			tail := fmt.Sprintf(`{"ContextIdentifier":"Cust1","PrimaryKey":7,"Event" : "%s","Entity" : "%s"`, name, entity)
			for what, body := range map[string]string{
				"cut off": head, "cut off in a value": head + `,"FieldValues":{"name":"sec`, "the event twice": head + `,"Event":"x.merged"}`,
				"the entity last": tail, "the entity last, the tenant twice": tail + `,"ContextIdentifier":"Cust2"}`,
				"a NUL": head + `,"WebhookName":"\u0000"` + "\x00}",
			} {
				ids, told := event.Subjects([]byte(body))
				if named := slices.Equal(ids, []int64{7}); named != ofContact || !told {
					t.Errorf("%s: %s: names %v, %t; want it to be about contact 7: %t", what, body, ids, told, ofContact)
				}
			}
		}
	}
	for body, ofContact := range map[string]bool{
		`{"PrimaryKey":7,"Event":"x.merged","Entity":"con`:         true,
		`{"PrimaryKey":7,"Event":"x.merged","Entity":"`:            true,
		`{"PrimaryKey":7,"Event":"x.merged","Entity":`:             true,
		`{"PrimaryKey":7,"Event":"x.merged","Entity":"per`:         false,
		`{"PrimaryKey":7,"Event":"x.merged","Entity":"contacts`:    false,
		`{"PrimaryKey":7,"Event":"x.mer`:                           true,
		`{"PrimaryKey":7,"Event":"x.merged","Event":contact.x}`:    true,
		`{"PrimaryKey":7,"Event":"x.merged","Event":5,"Entity":5}`: true,
	} {
		if ids, _ := event.Subjects([]byte(body)); slices.Equal(ids, []int64{7}) != ofContact {
			t.Errorf("%s: names %v; want it to be about contact 7: %t", body, ids, ofContact)
		}
	}
}
