// Package accept makes a delivery durable: in the inbox, or while that can't be
// had, in the spool.
//
// It stands between the receiver and those two. The first delivery that the
// inbox fails in its time goes to the spool, and so do all that follow, at once:
// only the background asks whether the inbox is back, and then drains the spool
// into it. So no delivery waits longer than the inbox's time and the spool's
// together, in any state of the database. A delivery may come to stand in both,
// where a commit succeeded and its answer was lost; the inbox knows it again.
// What neither can take is an error, and nothing was promised.
package accept

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"contactmirror/internal/inbox"
	"contactmirror/internal/pg"
	"contactmirror/internal/spool"
)

// Spooled is the result of a delivery that the spool has taken.
const Spooled inbox.Result = "spooled"

// MaxBody is the largest body of a delivery, in bytes: with what else is kept of
// the delivery, it fits into a record of the spool.
const MaxBody = spool.MaxPayload - 1<<20

const (
	// spoolTimeout bounds the wait for the disk. With [inbox.Timeout] it stays
	// under the two seconds after which an answer is as bad as none.
	spoolTimeout = 800 * time.Millisecond
	// The pauses between two looks whether the inbox is back.
	minPause, maxPause = 100 * time.Millisecond, time.Second
)

// Inbox is where deliveries belong. Both functions are called by many at once.
type Inbox struct {
	// Put makes a delivery durable before its context ends, or fails.
	Put func(context.Context, inbox.Delivery) (inbox.Result, error)
	// Probe reports whether Put has a chance.
	Probe func(context.Context) error
}

// Gate accepts deliveries. Make one with [New], and [Gate.Run] it.
type Gate struct {
	inbox Inbox
	spool *spool.Spool
	log   *slog.Logger

	away atomic.Bool
	lost chan struct{} // tells Run that the inbox went away
	// putting is set from when the drain puts something until the inbox takes it.
	putting atomic.Bool

	mu    sync.Mutex
	since time.Time
}

// New makes a gate that begins with what the spool holds from before.
func New(in Inbox, s *spool.Spool, log *slog.Logger) *Gate {
	return &Gate{inbox: in, spool: s, log: log, lost: make(chan struct{}, 1)}
}

// AwaySince reports since when the inbox is away; ok is false while it is not.
func (g *Gate) AwaySince() (since time.Time, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.since, !g.since.IsZero()
}

// Accept makes d durable and reports where.
func (g *Gate) Accept(ctx context.Context, d inbox.Delivery) (inbox.Result, error) {
	var inboxErr error
	if !g.away.Load() {
		bounded, cancel := context.WithTimeout(ctx, inbox.Timeout)
		result, err := g.inbox.Put(bounded, d)
		cancel()
		if err == nil {
			return result, nil
		}
		g.lose(err)
		inboxErr = err
	}
	payload, err := encode(&d)
	if err == nil {
		bounded, cancel := context.WithTimeout(ctx, spoolTimeout)
		err = g.spool.Append(bounded, spool.Record{Tenant: tenantOf(&d), At: d.ReceivedAt, Payload: payload})
		cancel()
	}
	if err != nil {
		return "", errors.Join(inboxErr, fmt.Errorf("accept: %w", err))
	}
	return Spooled, nil
}

// lose notes that the inbox is away.
func (g *Gate) lose(err error) {
	g.mu.Lock()
	first := g.away.CompareAndSwap(false, true)
	if first {
		g.since = time.Now()
	}
	g.mu.Unlock()
	if !first {
		return
	}
	g.log.Error("the inbox is away; deliveries go to the spool", "error", pg.Explain(err))
	select {
	case g.lost <- struct{}{}:
	default:
	}
}

// find notes that the inbox is back.
func (g *Gate) find() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away.CompareAndSwap(true, false) {
		g.log.Info("the inbox is back", "after", time.Since(g.since).Round(time.Millisecond))
		g.since = time.Time{}
	}
}
