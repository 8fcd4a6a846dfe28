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

const (
	// drainTimeout bounds what the drain puts at a time, with a second more for each
	// drainRate bytes. Only the shutdown of the process waits for it, which has ten
	// seconds: it waits for a commit under way even where the server hangs.
	drainTimeout = 5 * time.Second
	drainRate    = 1 << 20
)

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
// A delivery that fails alone while the inbox takes others is put again after them,
// whatever its error: a lock that somebody holds on the same event, a timeout that only
// it exceeds, a missing right, a mistake in this program. It was answered 200, so it
// stays in the spool until the cause is gone; the log says so every minute.
func (g *Gate) drain(ctx context.Context) {
	pause := newPause()
	var troubled, postponed pg.RetryLog
	size, drained := math.MaxInt, 0
	for ctx.Err() == nil {
		n, away, err := g.drainSome(ctx, size)
		switch {
		case ctx.Err() != nil || errors.Is(err, spool.ErrClosed):
			return
		case err != nil:
			if n == 1 && !away {
				if postponed.Due(err) {
					g.log.Error("can't drain a delivery; it stays in the spool, and is tried again after the others", "error", pg.Explain(err))
				}
			} else if troubled.Due(err) {
				g.log.Error("can't drain the spool; trying again", "error", pg.Explain(err))
			}
			if away {
				size = max(1, min(n, size)/2)
			} else {
				size = 1 // some of them fail, which may take its time: none must wait for another attempt
			}
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

// drainSome drains up to size records, and returns how many it tried. Where that fails,
// away is false if the inbox takes others; a single record is then postponed.
func (g *Gate) drainSome(ctx context.Context, size int) (n int, away bool, err error) {
	records, err := g.spool.Peek(ctx)
	if err != nil {
		return size, true, err
	}
	records = records[:min(size, len(records))]
	g.putting.Store(true)
	err = putAll(ctx, g.inbox.Put, records)
	refused := len(records) == 1 && isRefused(err)
	switch {
	case err == nil || refused:
	case pg.Transient(err) && g.ask(ctx) != nil:
		g.lose(err)
		return len(records), true, err
	default:
		if len(records) == 1 && ctx.Err() == nil {
			g.spool.Postpone()
		}
		return len(records), false, err
	}
	g.putting.Store(false)
	g.find()
	if refused {
		g.spool.Refused(pg.Explain(err))
	} else {
		g.spool.Taken(len(records))
	}
	return len(records), false, nil
}

// isRefused reports whether err is the delivery's fault: only that moves it aside.
func isRefused(err error) bool {
	_, refused := errors.AsType[*inbox.RefusedError](err)
	return refused
}

type put func(context.Context, inbox.Delivery) (inbox.Result, error)

// putAll puts records into the inbox, all at once, so that they share commits.
func putAll(ctx context.Context, put put, records []spool.Record) error {
	size := 0
	for _, r := range records {
		size += len(r.Payload)
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout+time.Second*time.Duration(size/drainRate))
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
			err := g.ask(ctx)
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

// ask returns nil if the inbox takes deliveries.
func (g *Gate) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, inbox.Timeout)
	defer cancel()
	return g.inbox.Probe(ctx)
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
