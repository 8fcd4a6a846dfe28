package receive_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"contactmirror/internal/receive"
)

func TestMethods(t *testing.T) {
	t.Parallel()
	k := &kept{}
	address, _ := serve(t, config(k))
	allow := map[string]string{"/webhook": "POST", "/healthz": "GET, HEAD", "/readyz": "GET, HEAD"}
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "QUERY", "post"}
	for path, allowed := range allow {
		for _, method := range methods {
			if strings.Contains(allowed, method) {
				continue
			}
			got := do(t, address, method, path, http.Header{}, nil)
			if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != allowed || len(got.header.Values("Allow")) != 1 {
				t.Errorf("%s %s: got %d, Allow %q, want 405, %q", method, path, got.status, got.header.Values("Allow"), allowed)
			}
			if method != "HEAD" {
				checkProblem(t, got, http.StatusMethodNotAllowed)
			}
		}
	}
	// A method of which Echo has no list either, with a body.
	body := changed("Cust1")
	checkProblem(t, do(t, address, "PUT", "/webhook", signed(secret, body), body), http.StatusMethodNotAllowed)
	if len(k.all()) != 0 {
		t.Error("something is kept")
	}
}

func TestOtherPaths(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, config(&kept{}))
	for _, path := range []string{
		"/", "/webhook/", "//webhook", "/Webhook", "/webhook/x", "/webhook;x", "/%77ebhook", "/a/../webhook", "/healthz/", "/metrics", "/changes",
	} {
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			body := changed("Cust1")
			checkProblem(t, do(t, address, method, path, signed(secret, body), body), http.StatusNotFound)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	c := config(&kept{})
	c.Ready = func(context.Context) receive.Readiness { return receive.Readiness{Database: "away"} }
	address, _ := serve(t, c)
	for _, method := range []string{"GET", "HEAD"} {
		got := do(t, address, method, "/healthz", nil, nil)
		want := map[string]string{"GET": `{"status":"ok"}`}[method]
		if got.status != 200 || got.body != want {
			t.Errorf("%s: got %d %q, want 200 %q", method, got.status, got.body, want)
		}
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	tests := []struct {
		state  receive.Readiness
		status int
		body   string
	}{
		{receive.Readiness{Ready: true, Database: "up", Worker: "running"}, 200, `{"ready":true,"database":"up","worker":"running"}`},
		{receive.Readiness{Ready: false, Database: "away"}, 503, `{"ready":false,"database":"away"}`},
	}
	for _, test := range tests {
		c := config(&kept{})
		c.Ready = func(ctx context.Context) receive.Readiness {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("the probe may take for ever")
			}
			return test.state
		}
		address, _ := serve(t, c)
		got := do(t, address, "GET", "/readyz", nil, nil)
		if got.status != test.status || strings.TrimSpace(got.body) != test.body {
			t.Errorf("got %d %s, want %d %s", got.status, got.body, test.status, test.body)
		}
		if got := do(t, address, "HEAD", "/readyz", nil, nil); got.status != test.status || got.body != "" {
			t.Errorf("HEAD: got %d %q, want %d", got.status, got.body, test.status)
		}
	}
}
