package signature_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/signature"
)

func TestParseSecrets(t *testing.T) {
	t.Parallel()
	tests := map[string][]signature.Secret{
		"":                     nil,
		"\n \r\n\t\n":          nil,
		"one":                  {{Key: "one"}},
		"one\n":                {{Key: "one"}},
		"one\r\n\r\ntwo\r\n":   {{Key: "one"}, {Key: "two"}},
		"\ufeffone\ntwo":       {{Key: "one"}, {Key: "two"}},
		" leading and inner ":  {{Key: " leading and inner "}},
		"hemmelighet-æøå":      {{Key: "hemmelighet-æøå"}},
		"same\nsame":           {{Key: "same"}, {Key: "same"}},
		"# no comment, a line": {{Key: "# no comment, a line"}},
	}
	for text, want := range tests {
		got, err := signature.ParseSecrets(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestParseSecretsRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"good\nhem\x00melig":              "secret on line 2 holds a NUL character",
		"hem\xffmelig":                    "secret on line 1 is not valid UTF-8",
		"\xff\xfeh\x00e\x00m\x00":         "secret on line 1 is not valid UTF-8", // UTF-16
		"good\n\nhem\xe6melig in Latin-1": "secret on line 3 is not valid UTF-8",
	}
	for text, want := range tests {
		if _, err := signature.ParseSecrets(text); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestParseTenantSecrets(t *testing.T) {
	t.Parallel()
	got, err := signature.ParseTenantSecrets([]byte("\ufeff" + `{
		"Cust1234": [
			{"secret": "old", "not_after": "2026-11-30T23:59:59+01:00"},
			{"secret": "hemmelighet-æøå", "not_before": "2026-11-01T00:00:00Z", "not_after": null}
		],
		"": [{"secret": "\u0068i"}],
		"*": [{"secret": "star"}]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]signature.Secret{
		"Cust1234": {
			{Key: "old", NotAfter: time.Date(2026, 11, 30, 22, 59, 59, 0, time.UTC)},
			{Key: "hemmelighet-æøå", NotBefore: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
		},
		"":  {{Key: "hi"}},
		"*": {{Key: "star"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if none, err := signature.ParseTenantSecrets([]byte(" {} ")); err != nil || len(none) != 0 {
		t.Errorf("an empty object: got %v, %v", none, err)
	}
}

func TestParseTenantSecretsRefuses(t *testing.T) {
	t.Parallel()
	// Each text holds hemmelig where a secret, or a mistake for one, may stand.
	tests := []struct{ name, text, want string }{
		{"nothing", ``, `not valid JSON, at byte 0`},
		{"list", `["hemmelig"]`, `not a JSON object`},
		{"bare secret", `hemmelig`, `not valid JSON, at byte 0`},
		{"cut short", `{"A": [{"secret": "hemmelig"`, `not valid JSON, at byte`},
		{"no quote", `{"A": [{"secret": hemmelig}]}`, `not valid JSON, at byte`},
		{"trailing comma", `{"A": [{"secret": "hemmelig"}],}`, `not valid JSON, at byte`},
		{"trailing data", `{"A": [{"secret": "hemmelig"}]} hemmelig`, `not valid JSON, at byte`},
		{"two objects", `{"A": [{"secret": "hemmelig"}]}{}`, `not valid JSON, at byte`},
		{"not UTF-8", "{\"A\": [{\"secret\": \"hemmelig\xe6\"}]}", `tenant secrets are not valid UTF-8`},
		{"tenant twice", `{"A": [{"secret": "hemmelig"}], "\u0041": [{"secret": "hemmelig"}]}`, `tenant "A" occurs twice`},
		{"string for list", `{"A": "hemmelig"}`, `tenant "A": not a list of secrets`},
		{"object for list", `{"A": {"secret": "hemmelig"}}`, `tenant "A": not a list of secrets`},
		{"empty list", `{"A": []}`, `tenant "A": no secrets`},
		{"null list", `{"A": null}`, `tenant "A": no secrets`},
		{"string for entry", `{"A": ["hemmelig"]}`, `tenant "A": entry 1: not a JSON object`},
		{"null entry", `{"A": [{"secret": "hemmelig"}, null]}`, `tenant "A": entry 2: not a JSON object`},
		{"no secret", `{"A": [{"not_after": "2026-11-01T00:00:00Z"}]}`, `tenant "A": entry 1: secret is missing`},
		{"empty secret", `{"*": [{"secret": "hemmelig"}, {"secret": ""}]}`, `tenant "*": entry 2: secret is empty`},
		{"blank secret", `{"A": [{"secret": " \t"}]}`, `tenant "A": entry 1: secret is empty`},
		{"null secret", `{"A": [{"secret": null}]}`, `tenant "A": entry 1: secret is empty`},
		{"number secret", `{"A": [{"secret": 4711}]}`, `tenant "A": entry 1: secret is not a string`},
		{"half a surrogate pair", `{"A": [{"secret": "hemmelig\ud800"}]}`, `tenant "A": entry 1: secret is not valid UTF-8`},
		{"NUL in a tenant", `{"A\u0000": [{"secret": "hemmelig"}]}`, `tenant "A\x00" holds a NUL character`},
		{"NUL", `{"A": [{"secret": "hemmelig\u0000"}]}`, `tenant "A": entry 1: secret holds a NUL character`},
		{"secret twice", `{"A": [{"secret": "hemmelig", "secret": "hemmelig2"}]}`, `tenant "A": entry 1: secret occurs twice`},
		{"unknown field", `{"A": [{"secret": "s", "hemmelig": 1}]}`, `tenant "A": entry 1: unknown field`},
		{"field in capitals", `{"A": [{"Secret": "hemmelig"}]}`, `tenant "A": entry 1: unknown field`},
		{"no time", `{"A": [{"secret": "s", "not_before": "hemmelig"}]}`, `tenant "A": entry 1: not_before is not a time`},
		{"date only", `{"A": [{"secret": "hemmelig", "not_after": "2026-11-01"}]}`, `tenant "A": entry 1: not_after is not a time`},
		{"empty time", `{"A": [{"secret": "hemmelig", "not_after": ""}]}`, `tenant "A": entry 1: not_after is not a time`},
		{"zero time", `{"A": [{"secret": "hemmelig", "not_after": "0001-01-01T00:00:00Z"}]}`, `tenant "A": entry 1: not_after is not a time`},
		{"number time", `{"A": [{"secret": "hemmelig", "not_before": 1764000000}]}`, `tenant "A": entry 1: not_before is not a string`},
		{
			"times crossed",
			`{"A": [{"secret": "hemmelig", "not_before": "2026-11-01T00:00:00+01:00", "not_after": "2026-10-31T22:59:59Z"}]}`,
			`tenant "A": entry 1: not_after lies before not_before`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := signature.ParseTenantSecrets([]byte(test.text))
			if err == nil {
				t.Fatalf("accepted, as %d tenants", len(got))
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, want %q", err, test.want)
			}
			if strings.Contains(err.Error(), "hemmelig") {
				t.Errorf("%q shows the secret", err)
			}
		})
	}
}
