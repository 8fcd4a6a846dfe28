package receive_test

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"contactmirror/internal/signature"
)

func TestUnsignedAllowed(t *testing.T) {
	t.Parallel()
	body, malformed := changed("Cust1"), []byte(`{"Event":"contact.changed"}`)
	empty := signature.NewKeyring(nil, nil)
	tests := []struct {
		name    string
		keyring *signature.Keyring
		header  http.Header
		body    []byte
		status  int
		loud    bool // an unsigned delivery is accepted
	}{
		{"unsigned", keyring(), http.Header{}, body, 200, true},
		{"unsigned, no secrets", empty, http.Header{}, body, 200, true},
		{"unsigned, no keyring", nil, http.Header{}, body, 200, true},
		{"signed", keyring(), signed(secret, body), body, 200, false},
		{"wrongly signed", keyring(), signed("guessed", body), body, 401, false},
		{"signed, nothing to check it with", empty, signed("guessed", body), body, 200, true},
		{"unsigned and malformed", keyring(), http.Header{}, malformed, 400, false},
		{"unsigned and empty", empty, http.Header{}, nil, 400, false},
		{"signed and malformed", keyring(), signed(secret, malformed), malformed, 200, false},
		{"malformed, nothing to check it with", empty, signed("guessed", malformed), malformed, 400, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			k, log := &kept{}, &lines{}
			c := config(k)
			c.AllowUnsigned, c.Keyring, c.Log = true, test.keyring, log.logger(slog.LevelInfo)
			address, _ := serve(t, c)
			got := do(t, address, "POST", "/webhook", test.header, test.body)
			if got.status != test.status || (len(k.all()) == 1) != (test.status == 200) {
				t.Errorf("got %d %s, want %d", got.status, got.body, test.status)
			}
			if test.status != 200 {
				checkProblem(t, got, test.status)
			}
			loud := slices.ContainsFunc(log.all(), func(line string) bool {
				return strings.Contains(line, "level=WARN") && strings.Contains(line, "unsigned delivery accepted")
			})
			if loud != test.loud {
				t.Errorf("log is %q", log.all())
			}
		})
	}
}
