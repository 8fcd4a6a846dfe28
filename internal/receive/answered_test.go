package receive_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"contactmirror/internal/inbox"
	"contactmirror/internal/receive"
)

// Whoever watches is told of each delivery's answer, whatever it was, and of
// nothing else.
func TestAnswered(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var told []int
	failing := false
	c := config(&kept{})
	c.Put = func(context.Context, inbox.Delivery) (inbox.Result, error) {
		if failing {
			return "", errAway
		}
		return inbox.Accepted, nil
	}
	c.Answered = func(status int, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, status)
		if took <= 0 || took > time.Minute {
			t.Errorf("%d took %v", status, took)
		}
	}
	r := receive.New(c)
	body := changed("Cust1")
	answer := func(method, path string, header http.Header, body []byte) {
		req := httptest.NewRequestWithContext(t.Context(), method, path, bytes.NewReader(body))
		req.Header = header
		r.ServeHTTP(httptest.NewRecorder(), req)
	}
	answer("POST", "/webhook", signed(secret, body), body)
	answer("POST", "/webhook", signed("guessed", body), body)
	answer("POST", "/webhook", signed(secret, body), make([]byte, maxBody+1))
	failing = true
	answer("POST", "/webhook", signed(secret, body), body)
	answer("GET", "/webhook", nil, nil)
	answer("GET", "/readyz", nil, nil)
	if want := []int{200, 401, 413, 503}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
}
