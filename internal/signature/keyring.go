package signature

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
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
	// ErrUnverifiable means that the body's tenant is not known, and that the body is
	// too large to be held against all live secrets. The signature may be right.
	ErrUnverifiable = errors.New("signature: body too large to be verified without its tenant")
)

// maxUnknownWork bounds what a body costs whose tenant is not known: its bytes times
// the live secrets stay below it. Strangers can send such bodies as well as anybody.
const maxUnknownWork = 32 << 20

// AnyTenant is the entry of [ParseTenantSecrets] whose secrets serve every
// tenant without entries of its own.
const AnyTenant = "*"

// Keyring is the secrets by which deliveries are verified. The secrets never
// change once it is made; it notes when each last matched, and may be shared
// freely. A nil Keyring is an empty one.
type Keyring struct {
	shared  *list
	tenants map[string]*list
	every   []*entry // of all lists, for a body that does not name its tenant
}

// list is the secrets that vouch for the same tenants.
type list struct {
	entries []*entry
	refused Streak
}

type entry struct {
	Secret
	matched atomic.Int64 // in microseconds since 1970; 0: never
}

func newList(secrets []Secret) *list {
	l := &list{entries: make([]*entry, len(secrets))}
	for i, s := range secrets {
		l.entries[i] = &entry{Secret: s}
	}
	return l
}

// NewKeyring makes a keyring. The shared secrets, and those that tenants has
// for [AnyTenant], serve the tenants that tenants does not name; a tenant that
// it names is verified against its own list alone, be it empty.
func NewKeyring(shared []Secret, tenants map[string][]Secret) *Keyring {
	k := &Keyring{
		shared:  newList(slices.Concat(shared, tenants[AnyTenant])),
		tenants: make(map[string]*list, len(tenants)),
	}
	k.every = slices.Clone(k.shared.entries)
	for _, tenant := range slices.Sorted(maps.Keys(tenants)) {
		if tenant != AnyTenant {
			own := newList(tenants[tenant])
			k.tenants[tenant] = own
			k.every = append(k.every, own.entries...)
		}
	}
	return k
}

// Empty reports whether k holds no secret at all, live or not.
func (k *Keyring) Empty() bool { return k == nil || len(k.every) == 0 }

// Checks reports whether a delivery with this signature header is held to it.
// Where unsigned deliveries are allowed, one without a signature is not; one that
// carries a signature must still be right, if k has any secret to check it with: a
// wrong one is no missing one. Without any secret nothing is checked then.
func (k *Keyring) Checks(header string, unsignedAllowed bool) bool {
	return !unsignedAllowed || header != "" && !k.Empty()
}

// Verify returns nil when header is the signature of body under a secret that
// is live at now for tenant, or, where the body's tenant is not known, under
// any live secret; otherwise one of the errors above.
func (k *Keyring) Verify(tenant string, known bool, header string, body []byte, now time.Time) error {
	sent, ok := decode(header)
	switch {
	case !ok:
		return ErrMalformed // which no wrong secret explains
	case k == nil:
		return ErrNoSecret
	case !known:
		_, err := k.verifyAny(sent, body, now)
		return err
	}
	asked := k.listOf(tenant)
	match, err := verify(asked.entries, sent, body, now)
	if err != nil {
		asked.refused.Refused(now)
		return err
	}
	match.note(now)
	asked.refused.Verified()
	return nil
}

// Vouchers are the tenants with a secret that gives a signature. The zero value is
// none.
type Vouchers struct {
	// Tenants are those with a secret of their own that does, and [AnyTenant] where one
	// of the others' does.
	Tenants []string
	// Except, of AnyTenant, are the tenants with secrets of their own. It is not nil if
	// and only if Tenants has AnyTenant.
	Except []string
}

// VerifyAny is [Keyring.Verify] for a body whose tenant is not known. It returns the
// tenants that the body may be of.
func (k *Keyring) VerifyAny(header string, body []byte, now time.Time) (Vouchers, error) {
	sent, ok := decode(header)
	switch {
	case !ok:
		return Vouchers{}, ErrMalformed
	case k == nil:
		return Vouchers{}, ErrNoSecret
	}
	match, err := k.verifyAny(sent, body, now)
	if err != nil {
		return Vouchers{}, err
	}
	return k.vouchers(match.Key, now), nil
}

// vouchers are the tenants for which key is live at now.
func (k *Keyring) vouchers(key string, now time.Time) (v Vouchers) {
	if k.shared.has(key, now) {
		v.Tenants = []string{AnyTenant}
		v.Except = slices.AppendSeq([]string{}, maps.Keys(k.tenants))
		slices.Sort(v.Except)
	}
	for _, tenant := range slices.Sorted(maps.Keys(k.tenants)) {
		if k.tenants[tenant].has(key, now) {
			v.Tenants = append(v.Tenants, tenant)
		}
	}
	return v
}

func (l *list) has(key string, now time.Time) bool {
	return slices.ContainsFunc(l.entries, func(e *entry) bool { return e.Key == key && e.live(now) })
}

// verifyAny returns the secret of any tenant that sent is made with.
func (k *Keyring) verifyAny(sent, body []byte, now time.Time) (*entry, error) {
	live := 0
	for _, s := range k.every {
		if s.live(now) {
			live++
		}
	}
	if live*len(body) >= maxUnknownWork {
		return nil, ErrUnverifiable
	}
	match, err := verify(k.every, sent, body, now)
	if err != nil {
		return nil, err
	}
	match.note(now)
	return match, nil
}

// verify returns the secret that sent is made with.
func verify(secrets []*entry, sent, body []byte, now time.Time) (*entry, error) {
	live, matched, place := 0, 0, 0
	for i, s := range secrets {
		if !s.live(now) {
			continue
		}
		live++
		// No early exit and no branch: the time must not tell which secret matched.
		equal := subtle.ConstantTimeCompare(mac(s.Key, body), sent)
		matched |= equal
		place = subtle.ConstantTimeSelect(equal, i, place)
	}
	switch {
	case matched == 1:
		return secrets[place], nil
	case live == 0:
		return nil, ErrNoSecret
	}
	return nil, ErrMismatch
}

// note keeps when e matched.
func (e *entry) note(now time.Time) { e.matched.Store(now.UnixMicro()) }

// listOf is the secrets that may vouch for a body of tenant.
func (k *Keyring) listOf(tenant string) *list {
	if own, ok := k.tenants[tenant]; ok {
		return own
	}
	return k.shared
}

// Use is how one secret is used. It tells the secret by its place, and holds
// nothing that is computed from it.
type Use struct {
	// Tenant is [AnyTenant] for a secret that serves every tenant without its own.
	Tenant string
	// Ordinal is the secret's place in the tenant's list, from 1. For AnyTenant
	// the shared ones come first.
	Ordinal             int
	NotBefore, NotAfter time.Time // zero is no bound
	// LastMatched is when it last verified a delivery; zero is never.
	LastMatched time.Time
	// RefusedSince is since when no well-formed signature of a delivery that names
	// a tenant of the list has matched; zero where the last one did. All secrets of
	// a list have the same.
	RefusedSince time.Time
}

// Uses tells how every secret has been used so far, by tenant and ordinal.
func (k *Keyring) Uses() []Use {
	if k == nil {
		return nil
	}
	uses := k.shared.uses(nil, AnyTenant)
	for _, tenant := range slices.Sorted(maps.Keys(k.tenants)) {
		uses = k.tenants[tenant].uses(uses, tenant)
	}
	return uses
}

func (l *list) uses(uses []Use, tenant string) []Use {
	since, _ := l.refused.Since()
	for i, e := range l.entries {
		u := Use{Tenant: tenant, Ordinal: i + 1, NotBefore: e.NotBefore, NotAfter: e.NotAfter, RefusedSince: since}
		if at := e.matched.Load(); at != 0 {
			u.LastMatched = time.UnixMicro(at).UTC()
		}
		uses = append(uses, u)
	}
	return uses
}

// strict knows one spelling of a signature only.
var strict = base64.StdEncoding.Strict()

// WellFormed reports whether header can be the signature of some body. Where it can't,
// [Keyring.Verify] fails with [ErrMalformed], and needs no body to do so.
func WellFormed(header string) bool {
	_, ok := decode(header)
	return ok
}

// decode returns the MAC that header spells.
func decode(header string) ([]byte, bool) {
	if len(header) != strict.EncodedLen(sha256.Size) {
		return nil, false
	}
	sent, err := strict.DecodeString(header)
	return sent, err == nil && len(sent) == sha256.Size
}
