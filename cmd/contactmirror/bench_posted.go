package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/bench"
)

// benchStart is when the first of a bench's events happens.
var benchStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func traffic(tenant string) bench.Traffic { return bench.Traffic{Tenant: tenant, Start: benchStart} }

func (b *benchRun) poster(url, tenant string, connections int) *bench.Poster {
	return &bench.Poster{Traffic: traffic(tenant), URL: url, Secret: benchSecret, Connections: connections, Contacts: b.Contacts}
}

// rounds is how often the two sides of a comparison take turns.
const rounds = 3

// acknowledge compares deliveries that are durable when they are answered with
// ones that are only verified and read.
func (b *benchRun) acknowledge(ctx context.Context) error {
	for _, connections := range []int{64, 256} {
		err := b.inSchema(ctx, func(url string, _ *pgxpool.Pool) error {
			keeping, err := b.start(ctx, url, "serve", "--roles", "receive,admin")
			if err != nil {
				return err
			}
			defer func() { _ = keeping.stop() }()
			bare, err := b.start(ctx, url, "bench-handler")
			if err != nil {
				return err
			}
			defer func() { _ = bare.stop() }()
			rates, err := b.inTurn(ctx, b.poster(keeping.webhook, "Cust1", connections), b.poster(bare.webhook, "Cust1", connections))
			if err != nil {
				return err
			}
			b.compared("acknowledge", fmt.Sprintf("acknowledged, durable, %d connections", connections), rates[0], "/s", "verified and read, nothing stored", rates[1])
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// inTurn floods from each poster in turn, and returns the rates.
func (b *benchRun) inTurn(ctx context.Context, posters ...*bench.Poster) ([]float64, error) {
	sums := make([]bench.Posted, len(posters))
	for round := range rounds + 1 {
		for i, p := range posters {
			d := b.Duration / rounds
			if round == 0 { // connects, and is not counted
				d /= 4
			}
			posted, err := p.Flood(ctx, d)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				sums[i].Answered += posted.Answered
				sums[i].Took += posted.Took
			}
		}
	}
	rates := make([]float64, len(posters))
	for i, p := range posters {
		p.Close()
		rates[i] = sums[i].Rate()
	}
	return rates, nil
}

// sustain is everything at once in one process: the time counts until the last
// event is applied.
func (b *benchRun) sustain(ctx context.Context) error {
	return b.inSchema(ctx, func(url string, pool *pgxpool.Pool) error {
		all, err := b.start(ctx, url, "serve", "--workers", strconv.Itoa(b.Workers))
		if err != nil {
			return err
		}
		defer func() { _ = all.stop() }()
		bare, err := b.start(ctx, url, "bench-handler")
		if err != nil {
			return err
		}
		defer func() { _ = bare.stop() }()
		compare := b.poster(bare.webhook, "Cust1", 64)
		defer compare.Close()
		before, err := compare.Flood(ctx, b.Duration/2)
		if err != nil {
			return err
		}
		p := b.poster(all.webhook, "Cust1", 64)
		defer p.Close()
		began := time.Now()
		posted, err := p.Flood(ctx, 2*b.Duration)
		if err != nil {
			return err
		}
		if err := untilDrained(ctx, pool); err != nil {
			return err
		}
		posted.Took = time.Since(began)
		after, err := compare.Flood(ctx, b.Duration/2)
		if err != nil {
			return err
		}
		nothing := bench.Posted{Answered: before.Answered + after.Answered, Took: before.Took + after.Took}
		b.compared("sustain", "acknowledged, applied and audited", posted.Rate(), "/s", "verified and read, nothing stored", nothing.Rate())
		return nil
	})
}

// untilDrained waits until nothing is queued.
func untilDrained(ctx context.Context, pool *pgxpool.Pool) error {
	for {
		var waiting bool
		if err := pool.QueryRow(ctx, "select exists (select from sync_queue)").Scan(&waiting); err != nil || !waiting {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

const (
	// steadyRate is the rate at which latencies are measured, in events a second.
	steadyRate = 500
	// quietRate is that of the tenant beside one with a backlog.
	quietRate = 100
)

// latency is how soon an event is visible after its answer.
func (b *benchRun) latency(ctx context.Context) error {
	return b.inSchema(ctx, func(url string, _ *pgxpool.Pool) error {
		all, err := b.start(ctx, url, "serve", "--workers", strconv.Itoa(b.Workers))
		if err != nil {
			return err
		}
		defer func() { _ = all.stop() }()
		p := b.poster(all.webhook, "Cust1", 64)
		defer p.Close()
		if _, err := bench.Latencies(ctx, url, p, steadyRate, b.Duration/4); err != nil { // warms up
			return err
		}
		took, err := bench.Latencies(ctx, url, p, steadyRate, b.Duration)
		if err != nil {
			return err
		}
		b.found("latency", fmt.Sprintf("visible after the answer, half, at %d/s", steadyRate), milliseconds(bench.Quantile(took, 0.5)), "ms")
		b.found("latency", fmt.Sprintf("visible after the answer, 99 %%, at %d/s", steadyRate), milliseconds(bench.Quantile(took, 0.99)), "ms")
		return nil
	})
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// fairness compares how soon a tenant's events are visible while another's
// backlog drains, with how soon they are alone.
func (b *benchRun) fairness(ctx context.Context) error {
	return b.inSchema(ctx, func(url string, pool *pgxpool.Pool) error {
		alone, err := b.quietLatencies(ctx, url, 0)
		if err != nil {
			return err
		}
		backlog := b.backlog(b.Events)
		if err := backlog.Queue(ctx, pool); err != nil {
			return err
		}
		checkpoint(ctx, pool)
		beside, err := b.quietLatencies(ctx, url, 1<<20)
		if err != nil {
			return err
		}
		var left int
		if err := pool.QueryRow(ctx, "select count(*) from sync_queue where context_identifier = 'Cust1'").Scan(&left); err != nil {
			return err
		}
		b.compared("fairness", "visible after the answer, 99 %, beside a backlog", milliseconds(bench.Quantile(beside, 0.99)), "ms",
			"alone", milliseconds(bench.Quantile(alone, 0.99)))
		b.compared("fairness", "visible after the answer, half, beside a backlog", milliseconds(bench.Quantile(beside, 0.5)), "ms",
			"alone", milliseconds(bench.Quantile(alone, 0.5)))
		b.found("fairness", "left of the backlog then", float64(left), "events")
		return nil
	})
}

// quietLatencies are those of a tenant without a backlog, whose contacts have ids
// above first.
func (b *benchRun) quietLatencies(ctx context.Context, url string, first int64) ([]time.Duration, error) {
	all, err := b.start(ctx, url, "serve", "--workers", strconv.Itoa(b.Workers))
	if err != nil {
		return nil, err
	}
	defer func() { _ = all.stop() }()
	p := b.poster(all.webhook, "Cust2", 64)
	p.First = first
	defer p.Close()
	if _, err := bench.Latencies(ctx, url, p, quietRate, b.Duration/4); err != nil { // warms up
		return nil, err
	}
	return bench.Latencies(ctx, url, p, quietRate, b.Duration)
}

// memory is the most that serve has resident, flooded with a backlog behind it.
func (b *benchRun) memory(ctx context.Context) error {
	return b.inSchema(ctx, func(url string, pool *pgxpool.Pool) error {
		backlog := b.backlog(b.Events)
		if err := backlog.Queue(ctx, pool); err != nil {
			return err
		}
		all, err := b.start(ctx, url, "serve", "--workers", strconv.Itoa(b.Workers))
		if err != nil {
			return err
		}
		defer func() { _ = all.stop() }()
		p := b.poster(all.webhook, "Cust2", 64)
		defer p.Close()
		if _, err := p.Flood(ctx, b.Duration); err != nil {
			return err
		}
		peak, err := bench.ProcessPeak(all.cmd.Process.Pid)
		if err != nil {
			return err
		}
		b.found("memory", "resident at most, flooded, with a backlog", float64(peak)/1e6, "MB")
		return nil
	})
}

// idle is what serve takes when nothing happens.
func (b *benchRun) idle(ctx context.Context) error {
	return b.inSchema(ctx, func(url string, _ *pgxpool.Pool) error {
		all, err := b.start(ctx, url, "serve", "--workers", strconv.Itoa(b.Workers))
		if err != nil {
			return err
		}
		defer func() { _ = all.stop() }()
		wait := func(d time.Duration) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(d):
				return nil
			}
		}
		if err := wait(min(b.Duration, 3*time.Second)); err != nil { // it has started
			return err
		}
		type state struct {
			cpu        time.Duration
			statements float64
		}
		look := func() (s state, err error) {
			if s.cpu, err = bench.ProcessCPU(all.cmd.Process.Pid); err != nil {
				return s, err
			}
			s.statements, err = statements(ctx, all.metrics)
			return s, err
		}
		before, err := look()
		if err != nil {
			return err
		}
		began := time.Now()
		if err := wait(3 * b.Duration); err != nil {
			return err
		}
		after, err := look()
		if err != nil {
			return err
		}
		took := time.Since(began).Seconds()
		b.found("idle", "of a core", 100*(after.cpu-before.cpu).Seconds()/took, "%")
		b.found("idle", "statements", (after.statements-before.statements)/took, "/s")
		return nil
	})
}

var acquired = regexp.MustCompile(`(?m)^contactmirror_pool_acquires_total (\S+)$`)

// statements is how often a process has taken a connection for a statement.
func statements(ctx context.Context, metrics string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, metrics, nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	match := acquired.FindSubmatch(text)
	if match == nil {
		return 0, errors.New("contactmirror_pool_acquires_total is not among the metrics")
	}
	return strconv.ParseFloat(string(match[1]), 64)
}
