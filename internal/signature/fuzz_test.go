package signature_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"contactmirror/internal/signature"
)

// Exactly one header verifies a body under a secret: the one that Sign makes.
func FuzzVerify(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.secret, []byte(v.body), v.signature)
	}
	f.Fuzz(func(t *testing.T, key string, body []byte, header string) {
		ring := signature.NewKeyring(nil, map[string][]signature.Secret{
			"A": {{Key: key}},
			"B": {{Key: key + "'"}},
		})
		err := ring.Verify("A", true, header, body, now)
		if signed := key != "" && header == signature.Sign(key, body); signed != (err == nil) {
			t.Errorf("%q: got %v, signed: %t", header, err, signed)
		}
		if key != "" && ring.Verify("A", true, signature.Sign(key, body), body, now) != nil {
			t.Error("a body's own signature does not verify it")
		}
		if ring.Verify("B", true, signature.Sign(key, body), body, now) == nil {
			t.Error("a tenant's secret vouches for another")
		}
	})
}

// What is accepted can be used, and reads back the same from a clean spelling.
func FuzzParseTenantSecrets(f *testing.F) {
	f.Add([]byte(`{"A": [{"secret": "s", "not_before": "2026-11-01T00:00:00Z", "not_after": null}], "*": [{"secret": "t"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tenants, err := signature.ParseTenantSecrets(data)
		if err != nil {
			return
		}
		again, err := signature.ParseTenantSecrets(spell(t, tenants))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tenants, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("read again (-first +second):\n%s", diff)
		}
		for tenant, secrets := range tenants {
			ring := signature.NewKeyring(nil, map[string][]signature.Secret{tenant: secrets})
			s := secrets[0]
			at := s.NotBefore
			if s.NotBefore.IsZero() {
				at = s.NotAfter
			}
			if err := ring.Verify(tenant, true, signature.Sign(s.Key, data), data, at); err != nil {
				t.Errorf("tenant %q: %v", tenant, err)
			}
		}
	})
}

func spell(t *testing.T, tenants map[string][]signature.Secret) []byte {
	entries := make(map[string][]map[string]string)
	for tenant, secrets := range tenants {
		for _, s := range secrets {
			entry := map[string]string{"secret": s.Key}
			if !s.NotBefore.IsZero() {
				entry["not_before"] = s.NotBefore.Format(time.RFC3339Nano)
			}
			if !s.NotAfter.IsZero() {
				entry["not_after"] = s.NotAfter.Format(time.RFC3339Nano)
			}
			entries[tenant] = append(entries[tenant], entry)
		}
	}
	data, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Nothing that is read as a secret could be a blank or half of one.
func FuzzParseSecrets(f *testing.F) {
	f.Add("one\r\ntwo\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		secrets, err := signature.ParseSecrets(text)
		if err != nil {
			return
		}
		ring := signature.NewKeyring(secrets, nil)
		if ring.Empty() != (len(secrets) == 0) {
			t.Errorf("%d secrets make a keyring that is empty: %t", len(secrets), ring.Empty())
		}
		for _, s := range secrets {
			if err := ring.Verify("A", true, signature.Sign(s.Key, []byte(text)), []byte(text), now); err != nil {
				t.Errorf("line %q: %v", s.Key, err)
			}
		}
	})
}
