package signature

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"time"
)

// The ways in which [Keyring.Verify] refuses. To the sender they are one: which
// tenants have secrets here is nobody's business.
var (
	// ErrMalformed means that the header can't be anybody's signature.
	ErrMalformed = errors.New("signature: not the base64 of an HMAC-SHA256")
	// ErrNoSecret means that no secret is live that could vouch for the tenant.
	ErrNoSecret = errors.New("signature: no live secret for this tenant")
	// ErrMismatch means that none of the secrets asked gives this signature.
	ErrMismatch = errors.New("signature: not made with a live secret for this tenant")
)

// AnyTenant is the entry of [ParseTenantSecrets] whose secrets serve every
// tenant without entries of its own.
const AnyTenant = "*"

// Keyring is the secrets by which deliveries are verified. It never changes
// once made, so it may be shared freely. A nil Keyring is an empty one.
type Keyring struct {
	shared  []Secret
	tenants map[string][]Secret
	every   []Secret // of all tenants, for a body that does not name one
}

// NewKeyring makes a keyring. The shared secrets, and those that tenants has
// for [AnyTenant], serve the tenants that tenants does not name; a tenant that
// it names is verified against its own list alone, be it empty.
func NewKeyring(shared []Secret, tenants map[string][]Secret) *Keyring {
	k := &Keyring{
		shared:  slices.Concat(shared, tenants[AnyTenant]),
		tenants: make(map[string][]Secret, len(tenants)),
	}
	k.every = slices.Clone(k.shared)
	for _, tenant := range slices.Sorted(maps.Keys(tenants)) {
		if tenant != AnyTenant {
			k.tenants[tenant] = slices.Clone(tenants[tenant])
			k.every = append(k.every, tenants[tenant]...)
		}
	}
	return k
}

// Empty reports whether k holds no secret at all, live or not.
func (k *Keyring) Empty() bool { return k == nil || len(k.every) == 0 }

// Verify returns nil when header is the signature of body under a secret that
// is live at now for tenant, or, where the body's tenant is not known, under
// any live secret; otherwise one of the errors above.
func (k *Keyring) Verify(tenant string, known bool, header string, body []byte, now time.Time) error {
	sent, ok := decode(header)
	if !ok {
		return ErrMalformed
	}
	live, matched := 0, 0
	for _, s := range k.candidates(tenant, known) {
		if !s.live(now) {
			continue
		}
		live++
		// No early exit: the time must not tell which secret matched.
		matched |= subtle.ConstantTimeCompare(mac(s.Key, body), sent)
	}
	switch {
	case matched == 1:
		return nil
	case live == 0:
		return ErrNoSecret
	}
	return ErrMismatch
}

// candidates is the secrets that may vouch for a body of tenant.
func (k *Keyring) candidates(tenant string, known bool) []Secret {
	if k == nil {
		return nil
	}
	if !known {
		return k.every
	}
	if own, ok := k.tenants[tenant]; ok {
		return own
	}
	return k.shared
}

// strict knows one spelling of a signature only.
var strict = base64.StdEncoding.Strict()

// decode returns the MAC that header spells.
func decode(header string) ([]byte, bool) {
	if len(header) != strict.EncodedLen(sha256.Size) {
		return nil, false
	}
	sent, err := strict.DecodeString(header)
	return sent, err == nil && len(sent) == sha256.Size
}
