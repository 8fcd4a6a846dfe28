package receive_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"testing"

	"contactmirror/internal/inbox"
	"contactmirror/internal/receive"
	"contactmirror/internal/signature"
)

// discard is a response of which only the status is kept.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

// The handler alone: verifying and parsing, without a network or an inbox.
func BenchmarkWebhook(b *testing.B) {
	c := config(&kept{})
	c.Put = func(context.Context, inbox.Delivery) (inbox.Result, error) { return inbox.Accepted, nil }
	r := receive.New(c)
	body := sample(b, "v11-changed.json")
	header := signed(secret, body)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req := &http.Request{
				Method: http.MethodPost, URL: &url.URL{Path: "/webhook"}, Header: header,
				Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
			}
			w := discard{header: http.Header{}}
			if r.ServeHTTP(&w, req); w.status != http.StatusOK {
				b.Errorf("got %d", w.status)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// What a refusal costs, for floods.
func BenchmarkRefusal(b *testing.B) {
	r := receive.New(config(&kept{}))
	body := sample(b, "v11-changed.json")
	for name, header := range map[string]http.Header{
		"missing": {}, "wrong": {http.CanonicalHeaderKey(signature.Header): {signature.Sign("guessed", body)}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				req := &http.Request{
					Method: http.MethodPost, URL: &url.URL{Path: "/webhook"}, Header: header,
					Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
				}
				w := discard{header: http.Header{}}
				if r.ServeHTTP(&w, req); w.status != http.StatusUnauthorized {
					b.Fatalf("got %d", w.status)
				}
			}
		})
	}
}
