package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/pg"
	"contactmirror/internal/simulator"
)

// drainPause is between two looks whether everything is applied.
const drainPause = 50 * time.Millisecond

// readyURL is where the receiver at webhook says whether it is ready.
func readyURL(webhook string) string {
	u, err := url.Parse(webhook)
	if err != nil {
		return ""
	}
	u.Path, u.RawQuery = path.Join("/", path.Dir(u.Path), "readyz"), ""
	return u.String()
}

// drainMirror waits until nothing of tenants is left in the spool behind ready
// or in the queue in pool, and returns how long that took. A receiver that
// shows nobody its spool is taken to have an empty one.
func drainMirror(ctx context.Context, limit time.Duration, ready string, pool *pgxpool.Pool, tenants []string) (time.Duration, error) {
	start := time.Now()
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var left error
	for {
		waits, err := waiting(bounded, ready, pool, tenants)
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case err == nil && waits == "":
			return time.Since(start), nil
		case err == nil:
			left = errors.New(waits)
		case bounded.Err() == nil && !pg.Transient(err):
			return 0, err
		case left == nil || bounded.Err() == nil:
			left = err
		}
		select {
		case <-bounded.Done():
			return 0, fmt.Errorf("not applied within %v: %w; is a sync worker running? see contactmirror status", limit, left)
		case <-time.After(drainPause):
		}
	}
}

// waiting says what is still to be applied, "" if nothing is.
func waiting(ctx context.Context, ready string, pool *pgxpool.Pool, tenants []string) (string, error) {
	if spool := spooled(ctx, ready); spool != "" {
		return "the spool holds " + spool, nil
	}
	queued, err := simulator.Queued(ctx, pool, tenants)
	if err != nil || queued == 0 {
		return "", err
	}
	return count(queued, "event is queued", "events are queued"), nil
}

// spooled is what the receiver says that its spool holds, "" for nothing.
func spooled(ctx context.Context, ready string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, ready, nil)
	if err != nil {
		return ""
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var state struct{ Spool string }
	if json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&state) != nil || state.Spool == "empty" {
		return ""
	}
	return state.Spool
}
