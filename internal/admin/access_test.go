package admin_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/trace"
	"strings"
	"testing"
	"time"

	"contactmirror/internal/admin"
)

const token = "a token, with blanks"

func TestAccess(t *testing.T) {
	t.Parallel()
	bearer := func(s string) http.Header { return http.Header{"Authorization": {s}} }
	tests := map[string]struct {
		token  string
		host   string
		header http.Header
		want   int
	}{
		"localhost":              {"", "localhost:8081", nil, 200},
		"localhost, no port":     {"", "localhost", nil, 200},
		"Localhost":              {"", "LocalHost:8081", nil, 200},
		"127.0.0.1":              {"", "127.0.0.1:8081", nil, 200},
		"127.1.2.3":              {"", "127.1.2.3", nil, 200},
		"::1":                    {"", "[::1]:8081", nil, 200},
		"::1, no port":           {"", "[::1]", nil, 200},
		"mapped":                 {"", "[::ffff:127.0.0.1]:8081", nil, 200},
		"rebound name":           {"", "attacker.example:8081", nil, 403},
		"name like localhost":    {"", "localhost.attacker.example", nil, 403},
		"name like 127.0.0.1":    {"", "127.0.0.1.attacker.example:8081", nil, 403},
		"private address":        {"", "192.168.1.7:8081", nil, 403},
		"every address":          {"", "0.0.0.0:8081", nil, 403},
		"no name":                {"", "", nil, 403},
		"token of no use":        {"", "attacker.example", bearer("Bearer " + token), 403},
		"typed into a browser":   {"", "localhost:8081", http.Header{"Sec-Fetch-Site": {"none"}}, 200},
		"own page":               {"", "localhost:8081", http.Header{"Sec-Fetch-Site": {"same-origin"}}, 200},
		"other site's page":      {"", "localhost:8081", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		"other port's page":      {"", "localhost:8081", http.Header{"Sec-Fetch-Site": {"same-site"}}, 403},
		"own origin":             {"", "localhost:8081", http.Header{"Origin": {"http://localhost:8081"}}, 200},
		"other origin":           {"", "localhost:8081", http.Header{"Origin": {"http://attacker.example"}}, 403},
		"opaque origin":          {"", "localhost:8081", http.Header{"Origin": {"null"}}, 403},
		"token":                  {token, "mirror.example:8081", bearer("Bearer " + token), 200},
		"token, scheme in lower": {token, "mirror.example", bearer("bearer " + token), 200},
		"token on loopback":      {token, "localhost", bearer("Bearer " + token), 200},
		"no token":               {token, "mirror.example", nil, 401},
		"no token on loopback":   {token, "localhost:8081", nil, 401},
		"wrong token":            {token, "mirror.example", bearer("Bearer guessed"), 401},
		"beginning of the token": {token, "mirror.example", bearer("Bearer " + token[:5]), 401},
		"empty token":            {token, "mirror.example", bearer("Bearer "), 401},
		"other scheme":           {token, "mirror.example", bearer("Basic " + token), 401},
		"token in the query":     {token, "mirror.example", http.Header{}, 401},
	}
	handlers := map[string]*admin.Admin{}
	for _, s := range []string{"", token} {
		handlers[s] = admin.New(admin.Config{Token: s, Metrics: admin.NewMetrics(admin.Sources{})})
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for path, want := range map[string]int{
				"/metrics": test.want, "/debug/pprof/goroutine": test.want, "/debug/pprof/": test.want,
				"/nothing": max(test.want, 404), "/healthz": 200,
			} {
				if test.want != 200 && path == "/nothing" {
					want = test.want // who is not let in does not hear what there is
				}
				req := httptest.NewRequestWithContext(t.Context(), "GET", path+"?token="+strings.ReplaceAll(token, " ", "+"), nil)
				req.Host = test.host
				if test.header != nil {
					req.Header = test.header.Clone()
				}
				w := httptest.NewRecorder()
				handlers[test.token].ServeHTTP(w, req)
				if w.Code != want {
					t.Errorf("%s: got %d %s, want %d", path, w.Code, w.Body, want)
				}
				if challenge := w.Header().Get("WWW-Authenticate"); (w.Code == 401) != (challenge == "Bearer") {
					t.Errorf("%s: got %d with the challenge %q", path, w.Code, challenge)
				}
				if strings.Contains(w.Body.String(), token) {
					t.Errorf("%s: the answer holds the token: %s", path, w.Body)
				}
			}
		})
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	a := admin.New(admin.Config{Metrics: admin.NewMetrics(admin.Sources{})})
	for path, methods := range map[string]string{
		"/metrics": "GET, HEAD", "/healthz": "GET, HEAD",
		"/debug/pprof/": "GET", "/debug/pprof/heap": "GET", "/debug/pprof/symbol": "GET",
		"/": "", "/webhook": "", "/metrics/": "", "/debug": "", "/debug/pprof": "", "/debug/pprof/heap/x": "",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "QUERY"} {
			want := http.StatusOK
			switch {
			case methods == "":
				want = http.StatusNotFound
			case !strings.Contains(methods, method):
				want = http.StatusMethodNotAllowed
			}
			req := httptest.NewRequestWithContext(t.Context(), method, path, nil)
			req.Host = "localhost"
			w := httptest.NewRecorder()
			a.ServeHTTP(w, req)
			if w.Code != want {
				t.Errorf("%s %s: got %d, want %d", method, path, w.Code, want)
			}
			if allow := strings.Join(w.Header().Values("Allow"), "|"); w.Code == http.StatusMethodNotAllowed && allow != methods {
				t.Errorf("%s %s: Allow is %q, want %q", method, path, allow, methods)
			}
		}
	}
	for _, path := range []string{"/debug/pprof/cmdline", "/debug/pprof/nothing"} {
		req := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
		req.Host = "localhost"
		w := httptest.NewRecorder()
		if a.ServeHTTP(w, req); w.Code != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, w.Code)
		}
	}
}

// A listener that others reach is refused without a token, whatever the caller
// has checked.
func TestServeNeedsToken(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	a := admin.New(admin.Config{Metrics: admin.NewMetrics(admin.Sources{})})
	if err := a.Serve(t.Context(), listener, time.Second); err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("got %v", err)
	}
	if _, err := listener.Accept(); err == nil {
		t.Error("the listener is still open")
	}
}

// Serving ends with its context, and a profile under way does not hold it up.
func TestServeEnds(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := admin.New(admin.Config{Metrics: admin.NewMetrics(admin.Sources{})})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(ctx, listener, 5*time.Second) }()
	url := "http://" + listener.Addr().String()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	get(t, client, url+"/healthz")
	go func() {
		for !trace.IsEnabled() {
			runtime.Gosched()
		}
		cancel()
	}()
	get(t, client, url+"/debug/pprof/trace?seconds=600")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func get(t *testing.T, client *http.Client, url string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("%s: got %s", url, res.Status)
	}
}
