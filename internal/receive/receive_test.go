package receive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"contactmirror/internal/inbox"
	"contactmirror/internal/receive"
	"contactmirror/internal/signature"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret      = "Something Super Secret"
	ownSecret   = "hemmelighet-æøå"
	otherSecret = "of another tenant"
	maxBody     = 64 << 10
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC)

// keyring has a shared secret, two tenants with their own, and one whose only
// secret has expired.
func keyring() *signature.Keyring {
	return signature.NewKeyring([]signature.Secret{{Key: secret}}, map[string][]signature.Secret{
		"Own":   {{Key: ownSecret}},
		"Other": {{Key: otherSecret}},
		"Over":  {{Key: "expired", NotAfter: now.Add(-time.Hour)}},
	})
}

// kept records what a receiver made durable, as the inbox would.
type kept struct {
	mu         sync.Mutex
	deliveries []inbox.Delivery
}

func (k *kept) put(_ context.Context, d inbox.Delivery) (inbox.Result, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deliveries = append(k.deliveries, d)
	switch {
	case d.Event == nil:
		return inbox.Quarantined, nil
	case d.Event.Ignored():
		return inbox.Ignored, nil
	}
	return inbox.Accepted, nil
}

func (k *kept) all() []inbox.Delivery {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.deliveries)
}

// config is a working receiver's, recording into k.
func config(k *kept) receive.Config {
	return receive.Config{
		Keyring: keyring(),
		MaxBody: maxBody,
		Put:     k.put,
		Ready:   func(context.Context) receive.Readiness { return receive.Readiness{Ready: true, Database: "up"} },
		Now:     func() time.Time { return now },
	}
}

// serve runs a receiver on a real socket until the test ends.
func serve(t *testing.T, c receive.Config) (address string, r *receive.Receiver) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r = receive.New(c)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx, listener, 0, 5*time.Second) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String(), r
}

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// do sends one request on a connection of its own.
func do(t *testing.T, address, method, path string, header http.Header, body []byte) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header.Clone()
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, res)
}

func read(t *testing.T, res *http.Response) reply {
	t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(body)}
}

// checkProblem checks that a reply is a problem document of status that helps
// and holds no secret.
func checkProblem(t *testing.T, got reply, status int) {
	t.Helper()
	var document struct {
		Type, Title, Detail string
		Status              int
	}
	if err := json.Unmarshal([]byte(got.body), &document); err != nil {
		t.Fatalf("status %d with %q: %v", got.status, got.body, err)
	}
	if got.status != status || document.Status != status {
		t.Errorf("status is %d and in the document %d, want %d", got.status, document.Status, status)
	}
	if document.Type != "about:blank" || document.Title != http.StatusText(status) || document.Detail == "" {
		t.Errorf("problem document is %s", got.body)
	}
	if mime := got.header.Get("Content-Type"); mime != "application/problem+json" {
		t.Errorf("Content-Type is %q", mime)
	}
	if len(got.body) > 4000 {
		t.Errorf("the answer has %d bytes, SuperOffice keeps 4000", len(got.body))
	}
	for _, s := range []string{secret, ownSecret, otherSecret, "expired"} {
		if strings.Contains(got.body, s) {
			t.Errorf("the answer holds a secret: %s", got.body)
		}
	}
	if want := map[bool]string{true: "1"}[status == http.StatusServiceUnavailable]; got.header.Get("Retry-After") != want {
		t.Errorf("Retry-After is %q, want %q", got.header.Get("Retry-After"), want)
	}
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "deliveries", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// signed is the header of a delivery of body signed with key.
func signed(key string, body []byte) http.Header {
	h := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	h.Set(signature.Header, signature.Sign(key, body))
	return h
}

// changed is a contact.changed of tenant.
func changed(tenant string) []byte {
	body, err := json.Marshal(map[string]any{
		"EventId": "8337ae4a-1dd6-40fd-8dc7-a050664a0af7", "Timestamp": "2026-11-24T11:59:59.1234567Z",
		"Event": "contact.changed", "Entity": "contact", "PrimaryKey": 994863, "Changes": []string{"contact_id", "name"},
		"ContextIdentifier": tenant,
	})
	if err != nil {
		panic(err)
	}
	return body
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(strings.Split(l.text.String(), "\n"), func(s string) bool { return s == "" })
}

func (l *lines) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
}

var errAway = errors.New("connect: connection refused")
