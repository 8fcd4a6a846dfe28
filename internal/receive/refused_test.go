package receive_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"contactmirror/internal/receive"
	"contactmirror/internal/signature"
)

// A wrong secret is noticed: since when every delivery has been refused.
func TestRefusedSince(t *testing.T) {
	t.Parallel()
	c := config(&kept{})
	var seconds atomic.Int64
	c.Now = func() time.Time { return now.Add(time.Duration(seconds.Add(1)) * time.Second) }
	address, r := serve(t, c)
	body := changed("Cust1")
	post := func(header http.Header, status int) {
		t.Helper()
		if got := do(t, address, http.MethodPost, "/webhook", header, body); got.status != status {
			t.Fatalf("status is %d, want %d", got.status, status)
		}
	}
	check := func(begun bool, want int64) time.Time {
		t.Helper()
		since, n := r.Refused()
		if since.IsZero() == begun || n != want {
			t.Errorf("%d refused since %v, want %d", n, since, want)
		}
		return since
	}
	check(false, 0)
	if !r.LastAccepted().IsZero() {
		t.Errorf("last accepted at %v, before the first", r.LastAccepted())
	}
	post(signed("wrong", body), http.StatusUnauthorized)
	first := check(true, 1)
	post(nil, http.StatusUnauthorized)
	post(signed(otherSecret, body), http.StatusUnauthorized)
	if since := check(true, 2); !since.Equal(first) {
		t.Errorf("refused since %v, want %v", since, first)
	}
	post(signed(secret, body), http.StatusOK)
	check(false, 0)
	if want := now.Add(time.Duration(seconds.Load()) * time.Second).Truncate(time.Microsecond); !r.LastAccepted().Equal(want) {
		t.Errorf("last accepted at %v, want %v", r.LastAccepted(), want)
	}
	post(signed("wrong", body), http.StatusUnauthorized)
	check(true, 1)
}

// What no secret could have signed tells nothing of the secret: however much of
// it strangers send, no time of refusals begins, of the receiver or of a tenant.
func TestReceiver_Refused_countsWellFormedSignaturesOnly(t *testing.T) {
	t.Parallel()
	c := config(&kept{})
	address, r := serve(t, c)
	body := changed("Own")
	right := signature.Sign(ownSecret, body)
	malformed := []string{
		"", " ", "x", "sha256=" + right, right + "=", right[:43], right[:40] + "====", strings.Repeat("=", 44), strings.Repeat("é", 22),
		base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 32)), base64.StdEncoding.EncodeToString(make([]byte, 31)),
		base64.StdEncoding.EncodeToString(make([]byte, 33)), hex.EncodeToString(make([]byte, 22)), right[:42] + "+=", right[:20] + "\t" + right[21:],
	}
	refused := func() (list int) {
		for _, use := range c.Keyring.Uses() {
			if !use.RefusedSince.IsZero() {
				list++
			}
		}
		return list
	}
	for _, header := range malformed {
		h := http.Header{}
		h.Set(signature.Header, header)
		if got := do(t, address, http.MethodPost, "/webhook", h, body); got.status != http.StatusUnauthorized {
			t.Fatalf("%q: status is %d", header, got.status)
		}
		if since, n := r.Refused(); n != 0 || !since.IsZero() || refused() != 0 {
			t.Errorf("%q counts: %d refused since %v, %d lists", header, n, since, refused())
		}
	}
	counts := r.Counts()
	if counts[receive.WrongSignature] != 0 || counts[receive.MissingSignature]+counts[receive.MalformedSignature] != uint64(len(malformed)) {
		t.Errorf("counted %v", counts)
	}
	do(t, address, http.MethodPost, "/webhook", signed("wrong", body), body)
	if _, n := r.Refused(); n != 1 || refused() != 1 || r.Counts()[receive.WrongSignature] != 1 {
		t.Errorf("a well-formed one: %d refused, %d lists, %v", n, refused(), r.Counts())
	}
}

// Where unsigned deliveries are allowed, anybody can send one. So only a signature
// that matches ends a time of refusals, and only verified deliveries count as such.
func TestReceiver_Refused_endsWithAMatchOnly(t *testing.T) {
	t.Parallel()
	event, unreadable := changed("Cust1"), []byte("x")
	ofNoTenant := []byte(`{"Event":"contact.changed","ContextIdentifier":7}`)
	tests := []struct {
		name     string
		header   http.Header
		body     []byte
		status   int
		verified bool
	}{
		{"unsigned, taken", nil, event, http.StatusOK, false},
		{"unsigned, refused", nil, unreadable, http.StatusBadRequest, false},
		{"unsigned, empty", nil, nil, http.StatusBadRequest, false},
		{"unsigned, of no tenant", nil, ofNoTenant, http.StatusBadRequest, false},
		{"a malformed signature", http.Header{signature.Header: {"x"}}, event, http.StatusUnauthorized, false},
		{"a wrong signature", signed("wrong", event), event, http.StatusUnauthorized, false},
		{"another tenant's signature", signed(otherSecret, event), event, http.StatusUnauthorized, false},
		{"signed", signed(secret, event), event, http.StatusOK, true},
		{"signed, unreadable", signed(secret, unreadable), unreadable, http.StatusOK, true},
		{"signed, of no tenant", signed(ownSecret, ofNoTenant), ofNoTenant, http.StatusOK, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := config(&kept{})
			c.AllowUnsigned = true
			address, r := serve(t, c)
			if got := do(t, address, http.MethodPost, "/webhook", signed("wrong", event), event); got.status != http.StatusUnauthorized {
				t.Fatalf("the wrong signature before: %d %s", got.status, got.body)
			}
			if got := do(t, address, http.MethodPost, "/webhook", test.header, test.body); got.status != test.status {
				t.Fatalf("%d %s, want %d", got.status, got.body, test.status)
			}
			if _, n := r.Refused(); (n == 0) != test.verified {
				t.Errorf("%d refused, verified: %t", n, test.verified)
			}
			want := uint64(0)
			if test.verified {
				want = 1
			}
			if got := r.Retries()["0"]; got != want {
				t.Errorf("%d deliveries count as verified, want %d", got, want)
			}
		})
	}
}

// A body whose tenant can't be read is not checked against every secret whatever that
// costs. It is refused, and tells nothing of the secrets.
func TestReceiver_unverifiable(t *testing.T) {
	t.Parallel()
	tenants := map[string][]signature.Secret{}
	for n := range 1024 {
		tenants[fmt.Sprintf("Cust%d", n)] = []signature.Secret{{Key: fmt.Sprintf("key %d", n)}}
	}
	k := &kept{}
	c := config(k)
	c.Keyring = signature.NewKeyring(nil, tenants)
	address, r := serve(t, c)
	post := func(tenant string, size int) reply {
		t.Helper()
		body := fmt.Appendf(nil, `{"Event":"contact.changed","ContextIdentifier":%s,"Padding":"`, tenant)
		body = append(append(body, bytes.Repeat([]byte("x"), size-len(body)-2)...), `"}`...)
		return do(t, address, http.MethodPost, "/webhook", signed("key 7", body), body)
	}
	const most = 32 << 20 / 1024
	checkProblem(t, post("7", most), http.StatusUnauthorized)
	if _, n := r.Refused(); r.Counts()[receive.Unverifiable] != 1 || n != 0 || len(k.all()) != 0 {
		t.Errorf("counts %v, %d refused, kept %v", r.Counts(), n, k.all())
	}
	for tenant, size := range map[string]int{"7": most - 1, `"Cust7"`: 2 * most} {
		if got := post(tenant, size); got.status != http.StatusOK {
			t.Errorf("%d bytes of tenant %s: %d %s", size, tenant, got.status, got.body)
		}
	}
}
