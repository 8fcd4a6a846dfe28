package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/bench"
	"contactmirror/internal/mirror"
)

// backlog is the usual one, of events for every contact in turn.
func (b *benchRun) backlog(events int) bench.Backlog {
	return bench.Backlog{Traffic: traffic("Cust1"), Events: events, Contacts: min(b.Contacts, events)}
}

// apply queues backlog, and returns how many of its events a second the worker
// applies.
func (b *benchRun) apply(ctx context.Context, pool *pgxpool.Pool, backlog bench.Backlog, batch int) (float64, error) {
	if err := backlog.Queue(ctx, pool); err != nil {
		return 0, err
	}
	checkpoint(ctx, pool)
	worker := mirror.New(pool, slog.New(slog.DiscardHandler), b.Workers)
	worker.BatchSize = batch
	working, stop := context.WithCancelCause(ctx)
	var applied atomic.Int64
	worker.Observe = func(batch mirror.Batch) {
		switch {
		case batch.Err != nil || batch.Blamed > 0:
			stop(fmt.Errorf("a batch failed: %w, %d quarantined", batch.Err, batch.Blamed))
		case applied.Add(int64(len(batch.Applied))) >= int64(backlog.Events):
			stop(errDone)
		}
	}
	began := time.Now()
	if err := worker.Run(working); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if cause := context.Cause(working); !errors.Is(cause, errDone) {
		return 0, cause
	}
	return float64(backlog.Events) / took.Seconds(), nil
}

// checkpoint has the server write out what was made for a measure, which would
// otherwise be written in the midst of it, and a commit waits for the disk then. A
// role that may not do it gets the figures with that in them.
func checkpoint(ctx context.Context, pool *pgxpool.Pool) {
	_, _ = pool.Exec(ctx, "checkpoint")
}

var errDone = errors.New("all is applied")

// drain compares the worker with COPY, and with a transaction for each event.
func (b *benchRun) drain(ctx context.Context) error {
	return b.inSchema(ctx, func(url string, pool *pgxpool.Pool) error {
		before, err := size(ctx, pool)
		if err != nil {
			return err
		}
		rate, err := b.apply(ctx, pool, b.backlog(b.Events), 0)
		if err != nil {
			return err
		}
		after, err := size(ctx, pool)
		if err != nil {
			return err
		}
		checkpoint(ctx, pool)
		rows, took, err := bench.CopyLog(ctx, url)
		if err != nil {
			return err
		}
		b.compared("drain", "applied and audited", rate, "/s", "COPY of the audit rows, with their indexes", float64(rows)/took.Seconds())
		b.found("drain", "disk for a million events", float64(after-before)/float64(b.Events), "MB")
		one := b.backlog(min(b.Events, 2000))
		one.Tenant = "Cust2"
		single, err := b.apply(ctx, pool, one, 1)
		if err != nil {
			return err
		}
		b.compared("drain", "applied and audited", rate, "/s", "a transaction for each event", single)
		return nil
	})
}

// size is how many bytes the schema's tables and indexes take.
func size(ctx context.Context, pool *pgxpool.Pool) (n int64, err error) {
	const question = "select sum(pg_total_relation_size(oid)) from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p', 'm')"
	err = pool.QueryRow(ctx, question).Scan(&n)
	return n, err
}

// versus applies two backlogs, each in a schema of its own.
func (b *benchRun) versus(ctx context.Context, measure, what string, one bench.Backlog, against string, other bench.Backlog) error {
	rates := make([]float64, 2)
	for i, backlog := range []bench.Backlog{one, other} {
		err := b.inSchema(ctx, func(_ string, pool *pgxpool.Pool) (err error) {
			rates[i], err = b.apply(ctx, pool, backlog, 0)
			return err
		})
		if err != nil {
			return err
		}
	}
	b.compared(measure, what, rates[0], "/s", against, rates[1])
	return nil
}

// late compares traffic out of order with traffic in order.
func (b *benchRun) late(ctx context.Context) error {
	inOrder := b.backlog(max(b.Events/3, 1000))
	inOrder.Contacts = max(inOrder.Events/10, 1) // so that a contact has ten events
	late := inOrder
	late.Late = 0.3
	return b.versus(ctx, "late", "applied, 30 % late", late, "all in order", inOrder)
}

// hot compares events of one contact with events of many.
func (b *benchRun) hot(ctx context.Context) error {
	spread := b.backlog(max(b.Events/20, 1000))
	hot := spread
	hot.Contacts = 1
	return b.versus(ctx, "hot", "applied, all of one contact", hot, "of many contacts", spread)
}

// snapshot compares the worker while a report holds its snapshot, so that no
// dead row can be taken away, with the worker alone.
func (b *benchRun) snapshot(ctx context.Context) error {
	rates := make([]float64, 2)
	for i := range rates {
		err := b.inSchema(ctx, func(url string, pool *pgxpool.Pool) (err error) {
			if i == 0 {
				report, err := pgx.Connect(ctx, url)
				if err != nil {
					return err
				}
				defer func() { _ = report.Close(context.WithoutCancel(ctx)) }()
				if _, err := report.Exec(ctx, "begin isolation level repeatable read; select count(*) from contacts"); err != nil {
					return err
				}
			}
			rates[i], err = b.apply(ctx, pool, b.backlog(b.Events), 0)
			return err
		})
		if err != nil {
			return err
		}
	}
	b.compared("snapshot", "applied while a report holds its snapshot", rates[0], "/s", "without one", rates[1])
	return nil
}

// grown compares a drain into a database that has grown with one into a database
// of ten thousand contacts.
func (b *benchRun) grown(ctx context.Context) error {
	rates := make([]float64, 2)
	for i, n := range []int{b.Grown, 10_000} {
		err := b.inSchema(ctx, func(_ string, pool *pgxpool.Pool) (err error) {
			t := traffic("Cust1")
			if err := bench.Grow(ctx, pool, &t, n); err != nil {
				return err
			}
			backlog := bench.Backlog{Traffic: t, Events: max(b.Events/5, 1000), Contacts: min(n, max(b.Events/5, 1000)), From: 1}
			rates[i], err = b.apply(ctx, pool, backlog, 0)
			return err
		})
		if err != nil {
			return err
		}
	}
	b.compared("grown", fmt.Sprintf("applied, %d contacts and logged events", b.Grown), rates[0], "/s", "10000 of each", rates[1])
	return nil
}
