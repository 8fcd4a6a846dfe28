package signature_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/signature"
)

// A body whose tenant can't be read may be of any tenant that has the secret, and of
// no other.
func TestKeyring_VerifyAnyReturnsWhoVouches(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	ring := signature.NewKeyring([]signature.Secret{{Key: "shared"}, {Key: "both"}}, map[string][]signature.Secret{
		"A":                 {{Key: "a"}, {Key: "both"}, {Key: "old", NotAfter: now.Add(-time.Second)}},
		"B":                 {{Key: "b"}, {Key: "old"}},
		signature.AnyTenant: {{Key: "any"}},
	})
	everyone := []string{"A", "B"}
	for key, want := range map[string]signature.Vouchers{
		"shared": {Tenants: []string{"*"}, Except: everyone},
		"any":    {Tenants: []string{"*"}, Except: everyone},
		"both":   {Tenants: []string{"*", "A"}, Except: everyone},
		"a":      {Tenants: []string{"A"}},
		"old":    {Tenants: []string{"B"}},
	} {
		body := []byte("not JSON")
		got, err := ring.VerifyAny(signature.Sign(key, body), body, now)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", key, err, diff)
		}
	}
	alone := signature.NewKeyring([]signature.Secret{{Key: "shared"}}, nil)
	if got, err := alone.VerifyAny(signature.Sign("shared", nil), nil, now); err != nil || got.Except == nil || len(got.Except) != 0 {
		t.Errorf("without tenants of their own: %+v, %v, want an empty list of exceptions", got, err)
	}
	if got, err := ring.VerifyAny(signature.Sign("stranger", nil), nil, now); !errors.Is(err, signature.ErrMismatch) || got.Tenants != nil {
		t.Errorf("stranger: %+v, %v", got, err)
	}
}
