package simulator

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	secret = "Something Super Secret"
	body   = `{"EventId":"8337ae4a-1dd6-40fd-8dc7-a050664a0af7","Event":"contact.changed","PrimaryKey":994863,"Entity":"contact"}`
	signed = "pAkpJfsK3FC5gK5e1Bi5upwGQOspNnOq9QXESOFIFag="
)

// received is one request as the receiver saw it.
type received struct {
	At     time.Duration // since the receiver started
	Header http.Header
	Body   string
}

// receiver answers with the statuses in turn, within the bubble of a synctest:
// its connections are pipes, so that waiting for one lets the clock move.
type receiver struct {
	client   *http.Client
	requests []received
}

func newReceiver(t *testing.T, statuses ...int) *receiver {
	r := &receiver{client: NewClient(10 * time.Second)}
	pipes := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	start := time.Now()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		content, err := io.ReadAll(q.Body)
		if err != nil {
			t.Errorf("read the request: %v", err)
		}
		r.requests = append(r.requests, received{time.Since(start), q.Header, string(content)})
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(statuses[min(len(r.requests), len(statuses))-1])
		_, _ = io.WriteString(w, "said")
	})}
	transport := &http.Transport{DialContext: pipes.dial}
	r.client.Transport = transport
	go func() { _ = server.Serve(pipes) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
	})
	return r
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestSendHeaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, http.StatusOK)
		s := Sender{URL: "http://receiver/webhook", Secret: secret, Client: r.client}
		attempts, err := s.Send(t.Context(), []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if len(attempts) != 1 || !attempts[0].Delivered() || string(attempts[0].Body) != "said" {
			t.Errorf("got attempts %+v, want one delivered and its answer", attempts)
		}
		want := []received{{Header: http.Header{
			"Accept-Encoding":         {"gzip"},
			"Content-Length":          {"115"},
			"Content-Type":            {"application/json; charset=utf-8"},
			"User-Agent":              {"NetServer-Webhook/8.8.6684.1719"},
			"X-Superoffice-Event":     {"contact.changed"},
			"X-Superoffice-Eventid":   {"8337ae4a-1dd6-40fd-8dc7-a050664a0af7"},
			"X-Superoffice-Signature": {signed},
		}, Body: body}}
		if diff := cmp.Diff(want, r.requests); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}

func TestSendRetries(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		statuses  []int
		limit     int
		at        []time.Duration
		retries   []string
		delivered bool
	}{
		"until given up":   {[]int{503}, 0, []time.Duration{0, time.Second, 5 * time.Second}, []string{"", "1", "2"}, false},
		"until delivered":  {[]int{503, 200}, 0, []time.Duration{0, time.Second}, []string{"", "1"}, true},
		"created is none":  {[]int{201, 202, 200}, 0, []time.Duration{0, time.Second, 5 * time.Second}, []string{"", "1", "2"}, true},
		"redirect is none": {[]int{307}, 1, []time.Duration{0}, []string{""}, false},
		"one attempt":      {[]int{503}, 1, []time.Duration{0}, []string{""}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newReceiver(t, c.statuses...)
				failures := 0
				s := Sender{
					URL: "http://receiver/webhook", Attempts: c.limit, Client: r.client,
					OnFailure: func(Attempt, time.Duration) { failures++ },
				}
				attempts, err := s.Send(t.Context(), []byte(body))
				if err != nil {
					t.Fatal(err)
				}
				var at []time.Duration
				var retries []string
				for _, q := range r.requests {
					at = append(at, q.At)
					retries = append(retries, q.Header.Get("X-SuperOffice-Retry"))
					if q.Header.Values("X-SuperOffice-Signature") != nil {
						t.Error("got a signature without a secret")
					}
				}
				if diff := cmp.Diff(c.at, at); diff != "" {
					t.Errorf("times (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(c.retries, retries); diff != "" {
					t.Errorf("retry headers (-want +got):\n%s", diff)
				}
				if got := attempts[len(attempts)-1].Delivered(); got != c.delivered || len(attempts) != len(at) {
					t.Errorf("got %d attempts, delivered %v; want %d, %v", len(attempts), got, len(at), c.delivered)
				}
				if failures != len(at)-1 {
					t.Errorf("got %d failures told, want %d", failures, len(at)-1)
				}
			})
		})
	}
}

func TestSendStopsWhenCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stopped := errors.New("stopped")
		ctx, cancel := context.WithCancelCause(t.Context())
		r := newReceiver(t, http.StatusServiceUnavailable)
		s := Sender{URL: "http://receiver/webhook", Client: r.client, OnFailure: func(Attempt, time.Duration) { cancel(stopped) }}
		attempts, err := s.Send(ctx, []byte(body))
		if !errors.Is(err, stopped) || len(attempts) != 1 {
			t.Errorf("got %d attempts and %v, want one and %v", len(attempts), err, stopped)
		}
	})
}

func TestSendTellsOfNoAnswer(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, refused }}}
	s := Sender{URL: "http://receiver/webhook", Attempts: 1, Client: client}
	attempts, err := s.Send(t.Context(), []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if a := attempts[0]; a.Status != 0 || !errors.Is(a.Err, refused) || a.Delivered() {
		t.Errorf("got %+v, want no status and %v", a, refused)
	}
}

func TestHeaderTakesWhatTheBodySays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ body, event, id string }{
		"not JSON":         {`{"Event":"contact.changed",`, "", ""},
		"not an object":    {`["Event"]`, "", ""},
		"other case":       {`{"event":"contact.changed","eventid":"1"}`, "", ""},
		"not text":         {`{"Event":5,"EventId":null}`, "", ""},
		"no header's text": {`{"Event":"a\r\nX-Hook: 1","EventId":"é"}`, "", ""},
		"both":             {`{"Event":"test","EventId":"F0A4"}`, "test", "F0A4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := new(Sender).header([]byte(c.body))
			if got := [2]string{h.Get("X-SuperOffice-Event"), h.Get("X-SuperOffice-EventId")}; got != [2]string{c.event, c.id} {
				t.Errorf("got %q, want %q and %q", got, c.event, c.id)
			}
		})
	}
}
