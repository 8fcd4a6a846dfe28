package signature_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"contactmirror/internal/signature"
)

// The check of a body whose tenant can't be read costs a pass over the body for each
// valid secret, whoever sends it. So it is bounded, and of one tenant's it is not.
func TestKeyring_Verify_boundsTheWorkWithoutATenant(t *testing.T) {
	t.Parallel()
	const (
		secrets = 64
		most    = 32 << 20 / secrets // bytes of a body at which the bound is met
	)
	tenants := map[string][]signature.Secret{}
	for n := range secrets - 1 {
		tenants[fmt.Sprintf("Cust%d", n)] = []signature.Secret{{Key: fmt.Sprintf("key %d", n)}}
	}
	tenants["Over"] = []signature.Secret{{Key: "expired", NotAfter: now.Add(-time.Hour)}} // costs nothing
	ring := signature.NewKeyring([]signature.Secret{{Key: "shared"}}, tenants)
	for _, test := range []struct {
		name  string
		key   string
		known bool
		size  int
		want  error
	}{
		{"below the bound", "shared", false, most - 1, nil},
		{"below the bound, wrong", "wrong", false, most - 1, signature.ErrMismatch},
		{"at the bound", "shared", false, most, signature.ErrUnverifiable},
		{"at the bound, wrong", "wrong", false, most, signature.ErrUnverifiable},
		{"above the bound", "key 7", false, 2 * most, signature.ErrUnverifiable},
		{"above the bound, with a tenant", "key 7", true, 2 * most, nil},
		{"above the bound, with a tenant, wrong", "wrong", true, 2 * most, signature.ErrMismatch},
		{"empty", "shared", false, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			body := make([]byte, test.size)
			if err := ring.Verify("Cust7", test.known, signature.Sign(test.key, body), body, now); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err := ring.Verify("Cust7", test.known, "x", body, now); !errors.Is(err, signature.ErrMalformed) {
				t.Errorf("a malformed signature: got %v", err)
			}
		})
	}
	// None of a tenant's secrets is to blame.
	body := make([]byte, most)
	fresh := signature.NewKeyring([]signature.Secret{{Key: "shared"}}, tenants)
	if err := fresh.Verify("", false, signature.Sign("wrong", body), body, now); !errors.Is(err, signature.ErrUnverifiable) {
		t.Error(err)
	}
	for _, use := range fresh.Uses() {
		if !use.RefusedSince.IsZero() || !use.LastMatched.IsZero() {
			t.Errorf("%+v", use)
		}
	}
}
