package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/contact"
	"contactmirror/internal/event"
)

var received = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func sample(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("..", "..", "testdata", "deliveries", name))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func parse(t *testing.T, body []byte) event.Event {
	t.Helper()
	e, err := event.Parse(body, received)
	if err != nil {
		t.Fatalf("Parse(%s): %v", body, err)
	}
	return e
}

func TestParseSamples(t *testing.T) {
	t.Parallel()
	e := parse(t, sample(t, "v11-softdeleted-inferred.json"))
	if got, want := *e.Occurred, contact.Ticks(17472960001234567); got != want {
		t.Errorf("occurred at tick %d, want %d", got, want)
	}
	if e.Tenant != "Cust54321" || e.Name != "contact.softdeleted" || *e.PrimaryKey != 18 || e.ID.String() != "5d0c0c4e-6a0f-4f0e-9a52-0e6b1f2f7a11" {
		t.Errorf("envelope %+v", e)
	}
	c := e.Contact
	if c.Key != (contact.Key{Tenant: "Cust54321", ID: 18}) || c.Fact.SoftDeleted() != contact.IsDeleted || *c.Fact.ChangedBy != 5 {
		t.Errorf("contact %+v", c)
	}
	values := map[string]string{}
	for _, cell := range c.Fact.Given {
		if spec := cell.Column.Spec(); spec.Type == contact.Timestamptz && !cell.Value.IsNull() {
			values[spec.Source] = cell.Value.Time().Format(time.RFC3339Nano)
		}
	}
	want := map[string]string{
		"DeletedDate": "2025-05-15T08:00:00.123456Z", "registered": "2020-02-16T17:50:17Z", "updated": "2025-05-15T08:00:00.123456Z",
	}
	if diff := cmp.Diff(want, values); diff != "" {
		t.Errorf("dates (-want +got):\n%s", diff)
	}
	if got, want := c.Fact.Unknown.Names(), []string{"updated_associate_id"}; !cmp.Equal(got, want) {
		t.Errorf("changed without a value: %v, want %v", got, want)
	}

	e = parse(t, sample(t, "2018-deleted.json"))
	if got, want := string(e.Contact.IDValues), `{"associate_id":4039840,"contact_id":994863}`; got != want || e.Contact.FieldValues != nil {
		t.Errorf("id values %s and field values %s, want %s and none", got, e.Contact.FieldValues, want)
	}
	if e := parse(t, sample(t, "test-event.json")); !e.Ignored() || e.Tenant != "Default" || *e.PrimaryKey != 0 {
		t.Errorf("test event %+v", e)
	}
	if e := parse(t, sample(t, "2018-created.json")); len(e.Contact.Changes) != 37 || len(e.Contact.Fact.Unknown.Names()) != 36 {
		t.Errorf("created: %d changes, of which %v", len(e.Contact.Changes), e.Contact.Fact.Unknown.Names())
	}
	if _, err := event.Parse(sample(t, "2018-created-as-published.json"), received); err == nil {
		t.Error("the sample as published parses, though it is not JSON")
	}
}

// body is a valid event with the members in changed set (a JSON value) or, when
// empty, left out.
func body(changed map[string]string) []byte {
	members := map[string]string{
		"EventId": `"88f91933-edce-4c1a-8ded-ade8e2f72434"`, "Timestamp": `"2025-05-14T10:48:07.8912039Z"`,
		"Event": `"contact.changed"`, "PrimaryKey": `18`, "Changes": `["name"]`,
	}
	for k, v := range changed {
		members[k] = v
	}
	var b []byte
	for k, v := range members {
		if v != "" {
			b = append(append(append(b, ','), `"`+k+`":`...), v...)
		}
	}
	b[0] = '{'
	return append(b, '}')
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat(`[`, n) + strings.Repeat(`]`, n) }
	tests := []struct {
		name  string
		body  []byte
		field string
	}{
		{"empty", nil, ""},
		{"no object", []byte(`[1]`), ""},
		{"cut off", body(nil)[:40], ""},
		{"two documents", append(body(nil), body(nil)...), ""},
		{"10,001 deep", body(map[string]string{"x": deep(10_001)}), ""},
		{"invalid UTF-8", body(map[string]string{"x": "\"\xff\""}), ""},
		{"lone surrogate", body(map[string]string{"WebhookName": `"\ud800"`}), ""},
		{"no event", body(map[string]string{"Event": ""}), "Event"},
		{"event twice", append([]byte(`{"Event":"contact.created",`), body(nil)[1:]...), "Event"},
		{"long event name", body(map[string]string{"Event": `"` + strings.Repeat("x", 256) + `"`}), "Event"},
		{"NUL in event name", body(map[string]string{"Event": `"a\u0000"`}), "Event"},
		{"no id", body(map[string]string{"EventId": ""}), "EventId"},
		{"id is no GUID", body(map[string]string{"EventId": `"88f91933+edce-4c1a-8ded-ade8e2f72434"`}), "EventId"},
		{"id in odd braces", body(map[string]string{"EventId": `"{88f91933-edce-4c1a-8ded-ade8e2f72434)"`}), "EventId"},
		{"no timestamp", body(map[string]string{"Timestamp": "null"}), "Timestamp"},
		{"timestamp is a number", body(map[string]string{"Timestamp": "1"}), "Timestamp"},
		{"timestamp with a one-digit hour", body(map[string]string{"Timestamp": `"2025-05-14T1:48:07Z"`}), "Timestamp"},
		{"timestamp with a comma", body(map[string]string{"Timestamp": `"2025-05-14T1:48:07,1Z"`}), "Timestamp"},
		{"timestamp without digits", body(map[string]string{"Timestamp": `"2025-05-14T10:48:07.Z"`}), "Timestamp"},
		{"year 1", body(map[string]string{"Timestamp": `"0001-01-01T00:00:00"`}), "Timestamp"},
		{"year 9999", body(map[string]string{"Timestamp": `"9999-12-31T23:59:59.9999999"`}), "Timestamp"},
		{"day after tomorrow", body(map[string]string{"Timestamp": `"2026-11-02T12:00:00.0000001Z"`}), "Timestamp"},
		{"no primary key", body(map[string]string{"PrimaryKey": ""}), "PrimaryKey"},
		{"primary key 0", body(map[string]string{"PrimaryKey": "0"}), "PrimaryKey"},
		{"primary key of 65 bits", body(map[string]string{"PrimaryKey": "9223372036854775808"}), "PrimaryKey"},
		{"primary key 1e2", body(map[string]string{"PrimaryKey": "1e2"}), "PrimaryKey"},
		{"changes is an object", body(map[string]string{"Changes": "{}"}), "Changes"},
		{"changes holds a number", body(map[string]string{"Changes": `["name",1]`}), "Changes"},
		{"changes holds a NUL", body(map[string]string{"Changes": `["na\u0000me"]`}), "Changes"},
		{"long tenant", body(map[string]string{"ContextIdentifier": `"` + strings.Repeat("x", 256) + `"`}), "ContextIdentifier"},
		{"tenant is a number", body(map[string]string{"ContextIdentifier": `1`}), "ContextIdentifier"},
		{"field values is a list", body(map[string]string{"FieldValues": `[]`}), "FieldValues"},
		{"field twice", body(map[string]string{"FieldValues": `{"name":"a","name":"a"}`}), "FieldValues"},
		{"field with a NUL", body(map[string]string{"FieldValues": `{"name":"a\u0000"}`}), "FieldValues"},
		{"values is a string", body(map[string]string{"Values": `"x"`}), "Values"},
		{"value with a NUL", body(map[string]string{"Values": `{"x":"\u0000"}`}), "Values"},
		{"webhook name is a list", body(map[string]string{"WebhookName": `[]`}), "WebhookName"},
		{"changed by 1e400", body(map[string]string{"ChangedByAssociateId": `1e400`}), "ChangedByAssociateId"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := event.Parse(tt.body, received)
			var invalid *event.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("error %v, want an InvalidError", err)
			}
			if invalid.Field != tt.field {
				t.Errorf("%q is about %q, want %q", err, invalid.Field, tt.field)
			}
			if len(err.Error()) > 300 || !utf8.ValidString(err.Error()) {
				t.Errorf("unreadable reason %q", err)
			}
		})
	}
}

func TestParseTakes(t *testing.T) {
	t.Parallel()
	tests := map[string]map[string]string{
		"plain":                          {},
		"10 KB of unknown keys":          {"x": `"` + strings.Repeat("x", 10<<10) + `"`},
		"properties with our names":      {"event": `"contact.deleted"`, "primarykey": `-1`, "EVENTID": `1`},
		"an unknown key with a NUL":      {"x": `"\u0000"`, "\\u0000": `1`},
		"a number out of every range":    {"x": `1e400`},
		"GUID without hyphens":           {"EventId": `"88F91933EDCE4C1A8DEDADE8E2F72434"`},
		"GUID in braces":                 {"EventId": `"{88f91933-edce-4c1a-8ded-ade8e2f72434}"`},
		"GUID in parentheses":            {"EventId": `"(88f91933-edce-4c1a-8ded-ade8e2f72434)"`},
		"GUID as a URN":                  {"EventId": `"urn:uuid:88f91933-edce-4c1a-8ded-ade8e2f72434"`},
		"escaped name":                   {"PrimaryKey": "", `Primary\u004bey`: `"18"`},
		"no changes":                     {"Changes": ""},
		"changes null":                   {"Changes": "null"},
		"timestamp with an offset":       {"Timestamp": `"2025-05-14T12:48:07.8912039+02:00"`},
		"timestamp without a zone":       {"Timestamp": `"2025-05-14T10:48:07.8912039"`},
		"nine digits of a second":        {"Timestamp": `"2025-05-14T10:48:07.891203999Z"`},
		"primary key as a string":        {"PrimaryKey": `"18"`},
		"tenant null":                    {"ContextIdentifier": `null`},
		"a column that is an object":     {"FieldValues": `{"name":{"a":1}}`},
		"an unknown field twice":         {"FieldValues": `{"x":1,"x":"\u0000"}`},
		"values with deep members":       {"Values": `{"x":[[1]],"n":1e-20000,"huge":` + strings.Repeat("9", 70) + `}`},
		"an integer column out of range": {"FieldValues": `{"updatedCount":2147483648,"country_id":9223372036854775808}`},
	}
	for name, changed := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := parse(t, body(changed))
			if got, want := e.ID.String(), "88f91933-edce-4c1a-8ded-ade8e2f72434"; got != want {
				t.Errorf("id %s, want %s", got, want)
			}
			if got, want := *e.Occurred, contact.Ticks(17472196878912039); got != want || *e.PrimaryKey != 18 {
				t.Errorf("occurred at tick %d, key %d, want %d and 18", got, *e.PrimaryKey, want)
			}
		})
	}
}

// Values keeps the numbers that jsonb can hold, and leaves the rest to the body.
func TestParseKeepsStorableNumbers(t *testing.T) {
	t.Parallel()
	e := parse(t, body(map[string]string{"Values": `{"a":1,"b":-2.50,"c":1E3,"d":1e-20000,"e":0e9999999999,"f":1.5e-16384,"g":1e400,"h":"x","i":null}`}))
	if got, want := string(e.Contact.IDValues), `{"a":1,"b":-2.50,"c":1E3,"h":"x","i":null}`; got != want {
		t.Errorf("id values %s, want %s", got, want)
	}
}

// What an event of another kind holds is never a reason to refuse it, but for
// the tenant.
func TestParseIgnored(t *testing.T) {
	t.Parallel()
	e := parse(t, body(map[string]string{
		"Event": `"Contact.Changed"`, "EventId": `1`, "PrimaryKey": `"x"`, "Timestamp": `"9999-01-01T00:00:00"`,
		"ContextIdentifier": `null`, "Changes": `1`, "Entity": `{}`, "WebhookName": `"\u0000"`,
	}))
	if diff := cmp.Diff(event.Event{Name: "Contact.Changed"}, e); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// unreadableTenants are values of ContextIdentifier that name no tenant.
var unreadableTenants = map[string]string{
	"number": `7`, "boolean": `false`, "object": `{}`, "list": `["Cust1"]`,
	"NUL": `"Cust\u0000"`, "only a NUL": `"\u0000"`, "too long": `"` + strings.Repeat("x", event.MaxName+1) + `"`,
	"twice": `"Cust1","ContextIdentifier":"Cust2"`, "twice the same": `"Cust1","ContextIdentifier":"Cust1"`,
	"twice, once null": `null,"ContextIdentifier":"Cust1"`, "twice, once escaped": `"Cust1","Context\u0049dentifier":"Cust1"`,
	"invalid UTF-8": "\"\xff\"", "lone surrogate": `"\ud800"`,
}

// An event whose tenant can't be read is nobody's, and not the empty tenant's:
// neither a contact event nor one that would be ignored.
func TestParse_refusesUnreadableTenants(t *testing.T) {
	t.Parallel()
	for name, value := range unreadableTenants {
		for _, kind := range []string{"contact.changed", "sale.created", "test"} {
			data := body(map[string]string{"Event": `"` + kind + `"`, "ContextIdentifier": value})
			if e, err := event.Parse(data, received); err == nil {
				t.Errorf("%s, %s: parsed as an event of %q", name, kind, e.Tenant)
			}
			if tenant, known := event.Scan(data).Tenant(); known {
				t.Errorf("%s, %s: checked with the secrets of %q", name, kind, tenant)
			}
		}
	}
	for name, value := range map[string]string{"absent": "", "null": "null", "empty": `""`} {
		for _, kind := range []string{"contact.changed", "sale.created"} {
			data := body(map[string]string{"Event": `"` + kind + `"`, "ContextIdentifier": value})
			if e := parse(t, data); e.Tenant != "" {
				t.Errorf("%s, %s: tenant %q", name, kind, e.Tenant)
			}
			if tenant, known := event.Scan(data).Tenant(); tenant != "" || !known {
				t.Errorf("%s, %s: %q, %t", name, kind, tenant, known)
			}
		}
	}
}

// One byte-order mark before the document says nothing; anywhere else, or a
// second one, it is no JSON.
func TestParse_skipsOneByteOrderMark(t *testing.T) {
	t.Parallel()
	const mark = "\ufeff"
	plain := string(body(map[string]string{"ContextIdentifier": `"Cust1"`}))
	want := parse(t, []byte(plain))
	if diff := cmp.Diff(want, parse(t, []byte(mark+plain)), cmp.AllowUnexported(contact.Value{})); diff != "" {
		t.Errorf("with a byte-order mark (-without +with):\n%s", diff)
	}
	if tenant, known := event.Scan([]byte(mark + plain)).Tenant(); tenant != "Cust1" || !known {
		t.Errorf("tenant %q, %t", tenant, known)
	}
	for name, text := range map[string]string{
		"two": mark + mark + plain, "after a space": " " + mark + plain, "at the end": plain + mark, "alone": mark, "half of one": mark[:2] + plain,
		"UTF-16's": "\xff\xfe" + plain,
	} {
		if e, err := event.Parse([]byte(text), received); err == nil {
			t.Errorf("%s: parsed as %+v", name, e)
		}
	}
}

func TestTenant(t *testing.T) {
	t.Parallel()
	tests := []struct {
		body   string
		tenant string
		known  bool
	}{
		{`{"ContextIdentifier":"Cust1"}`, "Cust1", true},
		{`{"contextIdentifier":"Cust1"}`, "", true},
		{`{}`, "", true},
		{`{"ContextIdentifier":null}`, "", true},
		{`{"ContextIdentifier":7}`, "", false},
		{`{"ContextIdentifier":"Cust1",`, "Cust1", true},
		{`{"ContextIdentifier":"Cust1","ContextIdentifier":"Cust1",`, "", false},
		{`{"x" "y","ContextIdentifier":"Cust1"}`, "", false},
		{`{"a":{"ContextIdentifier":"inner"},"ContextIdentifier":"outer"}`, "outer", true},
		{`[]`, "", false},
		{``, "", false},
	}
	for _, tt := range tests {
		if tenant, known := event.Scan([]byte(tt.body)).Tenant(); tenant != tt.tenant || known != tt.known {
			t.Errorf("Tenant(%s) = %q, %t, want %q, %t", tt.body, tenant, known, tt.tenant, tt.known)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("../../testdata/deliveries/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no samples", err)
	}
	for _, file := range files {
		f.Add(sample(f, filepath.Base(file)))
	}
	for _, value := range unreadableTenants {
		f.Add(body(map[string]string{"ContextIdentifier": value, "Event": `"sale.created"`}))
	}
	f.Add(append([]byte("\ufeff"), body(nil)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		tenant, known := event.Scan(data).Tenant()
		e, err := event.Parse(data, received)
		if !bytes.HasPrefix(data, []byte("\ufeff")) {
			marked, markedErr := event.Parse(append([]byte("\ufeff"), data...), received)
			if (err == nil) != (markedErr == nil) || marked.Tenant != e.Tenant || marked.Name != e.Name {
				t.Fatalf("with a byte-order mark %+v (%v), without %+v (%v)", marked, markedErr, e, err)
			}
		}
		if err != nil {
			var invalid *event.InvalidError
			if !errors.As(err, &invalid) || !utf8.ValidString(err.Error()) {
				t.Fatalf("error %q is no readable InvalidError", err)
			}
			return
		}
		if !known || tenant != e.Tenant {
			t.Fatalf("checked with the secrets of %q (known: %t), parsed as %q", tenant, known, e.Tenant)
		}
		if e.Ignored() {
			return
		}
		stored := append([]string{e.Tenant, e.Name}, e.Contact.Changes...)
		for _, cell := range e.Contact.Fact.Given {
			stored = append(stored, cell.Value.Text())
		}
		for _, s := range stored {
			if strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
				t.Fatalf("%q can't be stored", s)
			}
		}
		for _, object := range [][]byte{e.Contact.FieldValues, e.Contact.IDValues} {
			if object != nil && !json.Valid(object) {
				t.Fatalf("%q is not JSON", object)
			}
		}
		if *e.PrimaryKey < 1 || len(e.Tenant) > event.MaxName {
			t.Fatalf("accepted %+v", e)
		}
		// The log's reader makes the same fact of what is logged.
		cells, err := event.Cells(e.Contact.FieldValues, *e.Occurred)
		if err != nil {
			t.Fatal(err)
		}
		var unreadable contact.Set
		for _, name := range e.Contact.Unreadable {
			c, _ := contact.BySource(name)
			unreadable |= contact.SetOf(c)
		}
		fact := e.Contact.Fact
		if again := contact.NewFact(fact.Order, fact.ChangedBy, e.Contact.Changes, cells, unreadable); !reflect.DeepEqual(again, fact) {
			t.Fatalf("parsed %+v, read back %+v", fact, again)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	data := sample(b, "v11-changed.json")
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := event.Parse(data, received); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	data := sample(b, "v11-changed.json")
	for b.Loop() {
		if tenant, _ := event.Scan(data).Tenant(); tenant != "Cust54321" {
			b.Fatal(tenant)
		}
	}
}
