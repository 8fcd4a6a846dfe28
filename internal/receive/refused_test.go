package receive_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"contactmirror/internal/receive"
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
	if since := check(true, 3); !since.Equal(first) {
		t.Errorf("refused since %v, want %v", since, first)
	}
	post(signed(secret, body), http.StatusOK)
	check(false, 0)
	if want := now.Add(time.Duration(seconds.Load()) * time.Second).Truncate(time.Microsecond); !r.LastAccepted().Equal(want) {
		t.Errorf("last accepted at %v, want %v", r.LastAccepted(), want)
	}
	post(nil, http.StatusUnauthorized)
	check(true, 1)
}

// Where unsigned deliveries are taken, not every delivery is refused.
func TestUnsignedEndsRefusals(t *testing.T) {
	t.Parallel()
	c := config(&kept{})
	c.AllowUnsigned = true
	address, r := serve(t, c)
	body := changed("Cust1")
	do(t, address, http.MethodPost, "/webhook", signed("wrong", body), body)
	if _, n := r.Refused(); n != 1 {
		t.Errorf("%d refused, want 1", n)
	}
	do(t, address, http.MethodPost, "/webhook", nil, body)
	if _, n := r.Refused(); n != 0 || r.Counts()[receive.Unsigned] != 1 {
		t.Errorf("%d refused, %v", n, r.Counts())
	}
}
