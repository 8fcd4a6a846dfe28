//go:build linux

package faults

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"
)

// balancer is one address for several services: each request goes to the next
// one whose readyz says 200. Like nginx it tries another one where it could not
// connect, and does not repeat what it has sent.
type balancer struct {
	*httptest.Server
	lab *lab

	mu    sync.Mutex
	ready []*service
	turn  int
}

// probeInterval is how often the balancer asks for readyz; proxies take seconds,
// which would only make the test longer.
const probeInterval = 100 * time.Millisecond

func (l *lab) balancer(services ...*service) *balancer {
	l.Helper()
	b := &balancer{lab: l}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "service"}) // dial knows better
		},
		Transport: &http.Transport{DialContext: b.dial, DisableKeepAlives: true},
	}
	b.Server = httptest.NewServer(proxy)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.probe(ctx, services)
	}()
	l.Cleanup(func() {
		cancel()
		<-ended
		b.Close()
	})
	l.await("the balancer has found the services", patience, func() bool { return b.has(services...) })
	return b
}

func (b *balancer) probe(ctx context.Context, services []*service) {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		ready := slices.DeleteFunc(slices.Clone(services), func(s *service) bool { return !s.isReady() })
		b.mu.Lock()
		b.ready = ready
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// has reports whether all of services are ready, as the balancer knows it.
func (b *balancer) has(services ...*service) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !slices.ContainsFunc(services, func(s *service) bool { return !slices.Contains(b.ready, s) })
}

var errNobodyReady = errors.New("no service is ready")

// dial connects to the next service that is ready and can be reached.
func (b *balancer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	b.mu.Lock()
	b.turn++
	turn, ready := b.turn, slices.Clone(b.ready)
	b.mu.Unlock()
	err := errNobodyReady
	for i := range ready {
		var conn net.Conn
		if conn, err = new(net.Dialer).DialContext(ctx, network, ready[(turn+i)%len(ready)].address); err == nil {
			return conn, nil
		}
	}
	return nil, err
}
