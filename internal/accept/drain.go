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
// A delivery that fails alone with an error that is no outage, such as a missing
// right or a mistake in this program, is put again after the others, which may pass.
// It was answered 200, so it stays in the spool until somebody has acted; the log
// says so every minute.
func (g *Gate) drain(ctx context.Context) {
	pause := newPause()
	var troubled, postponed pg.RetryLog
	size, drained := math.MaxInt, 0
	for ctx.Err() == nil {
		n, err := g.drainSome(ctx, size)
		switch {
		case ctx.Err() != nil || errors.Is(err, spool.ErrClosed):
			return
		case err != nil:
			if n == 1 && !pg.Transient(err) {
				if postponed.Due(err) {
					g.log.Error("can't drain a delivery; it stays in the spool, and is tried again after the others", "error", pg.Explain(err))
				}
			} else if troubled.Due(err) {
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
	records, err := g.spool.Peek(ctx)
	if err != nil {
		return size, err
	}
	records = records[:min(size, len(records))]
	g.putting.Store(true)
	err = putAll(ctx, g.inbox.Put, records)
	refused := len(records) == 1 && isRefused(err)
	switch {
	case err == nil || refused:
	case pg.Transient(err):
		g.lose(err)
		return len(records), err
	default: // it fails at once, so new deliveries find out for themselves
		if len(records) == 1 && ctx.Err() == nil {
			g.spool.Postpone()
		}
		return len(records), err
	}
	g.putting.Store(false)
	g.find()
	if refused {
		g.spool.Refused(pg.Explain(err))
	} else {
		g.spool.Taken(len(records))
	}
	return len(records), nil
}

// isRefused reports whether err is the delivery's fault: only that moves it aside.
func isRefused(err error) bool {
	_, refused := errors.AsType[*inbox.RefusedError](err)
	return refused
}

type put func(context.Context, inbox.Delivery) (inbox.Result, error)

// putAll puts records into the inbox, all at once, so that they share commits.
func putAll(ctx context.Context, put put, records []spool.Record) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	var puts errgroup.Group
	for _, r := range records {
		d := Decode(r)
		puts.Go(func() error {
			_, err := put(ctx, d)
			return err
		})
	}
	return puts.Wait()
}

// probe asks an inbox that is away whether it is back. Draining finds that out
// too, and better; but a spool that could take nothing has nothing to drain, and
// one on a bad disk may take its time.
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
			if g.putting.Load() {
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
