package signature_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/signature"
)

// A rotation as an operator follows it: the old secret falls silent, the new
// one matches, and a tenant that was given a wrong one stands out.
func TestUses(t *testing.T) {
	t.Parallel()
	later := now.Add(time.Hour)
	ring := signature.NewKeyring(
		[]signature.Secret{{Key: "shared"}},
		map[string][]signature.Secret{
			"Own": {{Key: "old", NotAfter: later}, {Key: "new", NotBefore: now}},
			"*":   {{Key: "star"}},
		})
	body := []byte("{}")
	verify := func(tenant string, known bool, key string, after time.Duration) {
		t.Helper()
		_ = ring.Verify(tenant, known, signature.Sign(key, body), body, now.Add(after))
	}
	check := func(name string, want ...signature.Use) {
		t.Helper()
		if diff := cmp.Diff(want, ring.Uses()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	shared := signature.Use{Tenant: "*", Ordinal: 1}
	star := signature.Use{Tenant: "*", Ordinal: 2}
	before := signature.Use{Tenant: "Own", Ordinal: 1, NotAfter: later}
	after := signature.Use{Tenant: "Own", Ordinal: 2, NotBefore: now}
	check("at first", shared, star, before, after)

	verify("Own", true, "old", 1*time.Second)
	before.LastMatched = now.Add(1 * time.Second)
	verify("Own", true, "new", 2*time.Second)
	after.LastMatched = now.Add(2 * time.Second)
	check("while both are live", shared, star, before, after)

	verify("Own", true, "wrong", 3*time.Second)
	verify("Own", true, "shared", 4*time.Second)
	verify("Other", true, "star", 5*time.Second)
	before.RefusedSince, after.RefusedSince = now.Add(3*time.Second), now.Add(3*time.Second)
	star.LastMatched = now.Add(5 * time.Second)
	check("while one tenant is refused and others are not", shared, star, before, after)

	verify("Own", true, "new", 6*time.Second)
	after.LastMatched = now.Add(6 * time.Second)
	before.RefusedSince, after.RefusedSince = time.Time{}, time.Time{}
	check("verified again", shared, star, before, after)

	verify("", false, "new", 7*time.Second)
	verify("", false, "wrong", 8*time.Second) // nobody's in particular
	after.LastMatched = now.Add(7 * time.Second)
	check("by bodies that name no tenant", shared, star, before, after)

	_ = ring.Verify("Other", true, "malformed", body, now)
	check("a header that is no signature, which tells nothing of the secret", shared, star, before, after)
}

func TestUsesOfNothing(t *testing.T) {
	t.Parallel()
	var none *signature.Keyring
	if uses := none.Uses(); len(uses) != 0 {
		t.Errorf("a nil keyring uses %v", uses)
	}
}

func TestStreak(t *testing.T) {
	t.Parallel()
	var s signature.Streak
	check := func(wantSince time.Time, wantN int64) {
		t.Helper()
		if since, n := s.Since(); !since.Equal(wantSince) || n != wantN {
			t.Errorf("since %v, %d; want %v, %d", since, n, wantSince, wantN)
		}
	}
	s.Verified()
	check(time.Time{}, 0)
	s.Refused(now)
	s.Refused(now.Add(time.Second))
	check(now, 2)
	s.Verified()
	check(time.Time{}, 0)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() { s.Refused(now.Add(time.Minute)) })
	}
	all.Wait()
	check(now.Add(time.Minute), 100)
}
