package receive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// maxConnections bounds the connections at a time; more wait in the kernel's
// queue until one ends. Each may cost some ten KiB, and SuperOffice needs a few
// dozen at most.
const maxConnections = 1024

// server is how long strangers may keep a connection, and with how much.
func (r *Receiver) server() *http.Server {
	return &http.Server{
		Handler: r,
		// A sender has its headers ready; only an attacker writes them slowly.
		ReadHeaderTimeout: 5 * time.Second,
		// Headers and body. The sender's own patience is about five seconds, and
		// most bodies are a single packet.
		ReadTimeout: 10 * time.Second,
		// From the end of the headers, so it must outlast the reading, the wait for
		// memory and Put with its deadline: it only ends clients that don't read.
		WriteTimeout: 2*time.Second + 10*time.Second + memoryWait + r.config.PutTimeout,
		// Longer than the pauses within a burst, and than the usual minute after
		// which a proxy in front drops idle connections itself: it must be the one
		// that closes, or it may send a delivery into a closing connection.
		IdleTimeout: 2 * time.Minute,
		// SuperOffice's headers take half a KiB; a webhook may add some.
		MaxHeaderBytes: 32 << 10,
		// "OPTIONS *" would get net/http's own 200.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(r.config.Log.Handler(), slog.LevelWarn),
	}
}

// Serve answers connections from listener until ctx ends. Then it goes on for
// leave, with readyz at 503 and each answer the last on its connection, so that
// a load balancer sends its deliveries elsewhere; closes the listener; waits up
// to grace for requests under way; and cuts off the rest, which is an error. It
// always closes listener.
func (r *Receiver) Serve(ctx context.Context, listener net.Listener, leave, grace time.Duration) error {
	server := r.server()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(listener, maxConnections)) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	r.leaving.Store(true)
	time.Sleep(leave)
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(stopping)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("stop serving %s within %s: %w", listener.Addr(), grace, errors.Join(err, server.Close()))
	}
	return nil
}
