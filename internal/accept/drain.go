package accept

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"contactmirror/internal/inbox"
	"contactmirror/internal/pg"
	"contactmirror/internal/spool"
)

// drainTimeout bounds what the drain puts at a time. Nobody waits for it but the
// end of the process, which has ten seconds: a commit under way is waited for
// even where the server hangs.
const drainTimeout = 5 * time.Second

// Run drains the spool into the inbox whenever there is something in it, and
// finds out when an inbox that went away is back, until ctx ends.
func (g *Gate) Run(ctx context.Context) error {
	var both errgroup.Group
	both.Go(func() error { g.drain(ctx); return nil })
	both.Go(func() error { g.probe(ctx); return nil })
	return both.Wait()
}

// drain puts what is in the spool into the inbox. What fails is put again, in
// smaller parts down to one: the inbox knows what it has.
//
// That holds for an error that is no outage too, such as a missing right or a
// mistake in this program. The deliveries were answered 200, so they stay in the
// spool, and new ones join them, until somebody has acted; the log says so every
// minute.
func (g *Gate) drain(ctx context.Context) {
	pause := newPause()
	var troubled pg.RetryLog
	size, drained := math.MaxInt, 0
	for ctx.Err() == nil {
		n, err := g.drainSome(ctx, size)
		switch {
		case ctx.Err() != nil || errors.Is(err, spool.ErrClosed):
			return
		case err != nil:
			if troubled.Due(err) {
				g.log.Error("can't drain the spool; trying again", "error", pg.Explain(err))
			}
			size = max(1, min(n, size)/2)
			wait(ctx, pause.NextBackOff())
			continue
		}
		pause.Reset()
		troubled.Due(nil)
		if size <= math.MaxInt/2 {
			size *= 2
		}
		if drained += n; g.spool.State().Records == 0 {
			g.log.Info("the spool is drained", "deliveries", drained)
			drained = 0
		}
	}
}

// drainSome drains up to size records, and returns how many it tried.
func (g *Gate) drainSome(ctx context.Context, size int) (n int, err error) {
	payloads, err := g.spool.Peek(ctx)
	if err != nil {
		return size, err
	}
	payloads = payloads[:min(size, len(payloads))]
	err = g.putAll(ctx, payloads)
	switch {
	case err != nil && len(payloads) == 1 && pg.DataFault(err):
		name, asideErr := g.spool.SetAside(payloads[0])
		if asideErr != nil {
			return 1, asideErr
		}
		g.log.Error("the inbox refuses a spooled delivery for what is in it; it is set aside", "file", name, "error", pg.Explain(err))
	case err != nil:
		g.lose(err)
		return len(payloads), err
	default:
		g.find()
	}
	return len(payloads), g.spool.Taken(len(payloads))
}

// putAll puts payloads into the inbox, all at once, so that they share commits.
func (g *Gate) putAll(ctx context.Context, payloads [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	var puts errgroup.Group
	for _, payload := range payloads {
		d := decode(payload)
		puts.Go(func() error {
			_, err := g.inbox.Put(ctx, d)
			return err
		})
	}
	return puts.Wait()
}

// probe asks an inbox that is away whether it is back. Draining finds that out
// too, and better; but a spool that could take nothing has nothing to drain.
func (g *Gate) probe(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.lost:
		}
		var troubled pg.RetryLog
		for pause := newPause(); g.away.Load() && ctx.Err() == nil; {
			wait(ctx, pause.NextBackOff())
			if g.spool.State().Records > 0 {
				continue
			}
			asking, cancel := context.WithTimeout(ctx, inbox.Timeout)
			err := g.inbox.Probe(asking)
			cancel()
			switch {
			case err == nil:
				g.find()
			case !pg.Transient(err) && troubled.Due(err):
				g.log.Error("can't ask whether the inbox is back", "error", pg.Explain(err))
			default:
				g.log.Debug("the inbox is still away", "error", pg.Explain(err))
			}
		}
	}
}

func newPause() *backoff.ExponentialBackOff {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = minPause, maxPause
	return pause
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
