package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// server ends what it does with ctx: a profile is not waited for.
func (a *Admin) server(ctx context.Context) *http.Server {
	return &http.Server{
		Handler:           a,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		// pprof adds the length of the profile that is asked for.
		WriteTimeout: 30 * time.Second,
		// Longer than the usual interval between two scrapes.
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 32 << 10,
		// "OPTIONS *" would get net/http's own 200.
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ErrorLog:                     slog.NewLogLogger(a.config.Log.Handler(), slog.LevelWarn),
	}
}

// Serve answers connections from listener until ctx ends; then it waits up to
// grace for requests under way, and cuts off the rest. It always closes listener.
// One that other machines reach needs a token.
func (a *Admin) Serve(ctx context.Context, listener net.Listener, grace time.Duration) error {
	if a.config.Token == "" && !loopbackName(listener.Addr().String()) {
		return errors.Join(fmt.Errorf("admin: %s is reachable from other machines, so there must be a token", listener.Addr()),
			listener.Close())
	}
	server := a.server(ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("admin: serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		// Nothing is lost with a scrape or a profile.
		_ = server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: serve %s: %w", listener.Addr(), err)
	}
	return nil
}
