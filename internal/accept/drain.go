package accept

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"contactmirror/internal/inbox"
	"contactmirror/internal/pg"
	"contactmirror/internal/spool"
)

// Run drains the spool into the inbox whenever there is something in it, and
// finds out when an inbox that went away is back, until ctx ends.
func (g *Gate) Run(ctx context.Context) error {
	var both errgroup.Group
	both.Go(func() error { return g.drain(ctx) })
	both.Go(func() error { g.probe(ctx); return nil })
	return both.Wait()
}

// drain puts what is in the spool into the inbox. What fails is put again: the
// inbox knows what it has.
func (g *Gate) drain(ctx context.Context) error {
	pause := newPause()
	drained := 0
	for {
		payloads, err := g.spool.Peek(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, spool.ErrClosed):
			return nil
		case err != nil:
			return err // the disk does not give back what it was given
		}
		if err := g.putAll(ctx, payloads); err != nil {
			g.lose(err)
			wait(ctx, pause.NextBackOff())
			continue
		}
		pause.Reset()
		g.find()
		if err := g.spool.Taken(); err != nil {
			return err
		}
		drained += len(payloads)
		if g.spool.State().Records == 0 {
			g.log.Info("the spool is drained", "deliveries", drained)
			drained = 0
		}
	}
}

// putAll puts payloads into the inbox, all at once, so that they share commits.
func (g *Gate) putAll(ctx context.Context, payloads [][]byte) error {
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
		for pause := newPause(); g.away.Load() && ctx.Err() == nil; {
			wait(ctx, pause.NextBackOff())
			if g.spool.State().Records > 0 {
				continue
			}
			asking, cancel := context.WithTimeout(ctx, inbox.Timeout)
			err := g.inbox.Probe(asking)
			cancel()
			if err == nil {
				g.find()
			} else {
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
