package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"contactmirror/internal/spool"
)

const roomy = 64 << 20

func open(t testing.TB, dir string, limit int64) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir, limit, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs s until the returned function is called, or the test ends.
func run(t testing.TB, s *spool.Spool) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func record(tenant, payload string) spool.Record {
	return spool.Record{Tenant: &tenant, At: time.Now(), Payload: []byte(payload)}
}

func appendAll(t testing.TB, s *spool.Spool, tenant string, payloads ...string) {
	t.Helper()
	for _, p := range payloads {
		if err := s.Append(t.Context(), record(tenant, p)); err != nil {
			t.Fatal(err)
		}
	}
}

// take takes n records out, within 20 seconds.
func take(t testing.TB, s *spool.Spool, n int) (payloads []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for len(payloads) < n {
		batch, err := s.Peek(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range batch {
			payloads = append(payloads, string(r.Payload))
		}
		s.Taken(len(batch))
	}
	return payloads
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.spool*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestAppendAndTake(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, roomy)
	stop := run(t, s)
	want := []string{"one", "", "three", strings.Repeat("x", 1<<20)}
	appendAll(t, s, "Cust1", want...)
	if state := s.State(); state.Records != 4 || state.Bytes < 1<<20 || state.Oldest.IsZero() {
		t.Errorf("state %+v", state)
	}
	first, err := s.Peek(t.Context())
	if err != nil || len(first) != 4 {
		t.Fatalf("peeked %d records, %v", len(first), err)
	}
	stop() // nothing was taken, so all of it is there at the next start

	s = open(t, dir, roomy)
	run(t, s)
	appendAll(t, s, "Cust1", "five")
	if got := take(t, s, 5); !slices.Equal(got, append(want, "five")) {
		t.Errorf("took %.40q", got)
	}
	if state := s.State(); state.Records != 0 || state.Bytes != 0 || !state.Oldest.IsZero() {
		t.Errorf("state of an empty spool: %+v", state)
	}
	if left := segments(t, dir); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), roomy)
	run(t, s)
	const n = 3000
	var appends sync.WaitGroup
	for i := range n {
		appends.Go(func() {
			if err := s.Append(t.Context(), record("Cust1", fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	got := take(t, s, n) // while they are appended
	appends.Wait()
	slices.Sort(got)
	if len(slices.Compact(got)) != n {
		t.Errorf("took %d different records, want %d", len(slices.Compact(got)), n)
	}
}

// Whatever byte the last write ended at, what was written before it comes back,
// and what is left over is kept: it may be a delivery that was accepted.
func TestSpool_tornAtAnyByte(t *testing.T) {
	t.Parallel()
	payloads := []string{"first", "second record", "", "fourth"}
	whole, ends := segmentOf(t, payloads...)
	for cut := range len(whole) + 1 {
		for _, tail := range []string{"", strings.Repeat("\x00", 30)} {
			torn := append(slices.Clone(whole[:cut]), tail...)
			complete, begin := 0, 0
			for complete < len(payloads) && bytes.HasPrefix(torn, whole[:ends[complete]]) {
				begin = ends[complete]
				complete++
			}
			kept := string(torn[begin:])
			dir := t.TempDir()
			write(t, filepath.Join(dir, oneSegment), torn)
			s := open(t, dir, roomy)
			stop := run(t, s)
			if state := s.State(); state.Records != complete {
				t.Fatalf("cut at %d: %+v, want %d records", cut, state, complete)
			}
			appendAll(t, s, "Cust1", "afterwards")
			want := append(slices.Clone(payloads[:complete]), "afterwards")
			if got := take(t, s, complete+1); !slices.Equal(got, want) {
				t.Fatalf("cut at %d: took %q, want %q", cut, got, want)
			}
			stop()
			if got := restOf(t, dir); got != kept {
				t.Fatalf("cut at %d: kept %q, want %q", cut, got, kept)
			}
		}
	}
}

func TestStrangeFilesAreLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"notes.spool~", "00000000000000000001.spool.bak"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir, roomy)
	run(t, s)
	appendAll(t, s, "", "one")
	if got := take(t, s, 1); got[0] != "one" || len(segments(t, dir)) != 2 {
		t.Errorf("took %q, left %q", got, segments(t, dir))
	}
}

func TestFull(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), 1000)
	run(t, s)
	payload := strings.Repeat("x", 150)
	fill := func(tenant string) (n int) {
		for s.Append(t.Context(), record(tenant, payload)) == nil {
			n++
		}
		return n
	}
	if err := s.Append(t.Context(), record("Burst", strings.Repeat("x", 2000))); !errors.Is(err, spool.ErrFull) {
		t.Errorf("a record larger than the spool: %v", err)
	}
	burst, quiet := fill("Burst"), fill("Quiet")
	if burst != 4 || quiet != 1 {
		t.Errorf("one tenant's burst took %d records and left %d to another, want 4 and 1", burst, quiet)
	}
	take(t, s, burst+quiet)
	if n := fill("Burst"); n != burst {
		t.Errorf("%d records fit after everything was taken, want %d", n, burst)
	}
}

// Records without a tenant have a small part of their own: it is not the empty
// tenant's, and whoever sends them, with or without records of a tenant, leaves room to
// the others. That holds for what an earlier process has left, too.
func TestSpool_recordsWithoutATenant(t *testing.T) {
	t.Parallel()
	const (
		limit = 100_000
		size  = 1000
	)
	payload := strings.Repeat("x", size-100)
	tenant := func(name string) *string { return &name }
	for name, senders := range map[string][]*string{
		"alone":               {nil},
		"then a tenant":       {nil, tenant("Burst")},
		"after a tenant":      {tenant("Burst"), nil},
		"among a tenant's":    {tenant("Burst"), nil, tenant("Burst"), nil},
		"then the empty one":  {nil, tenant("")},
		"after the empty one": {tenant(""), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir, limit)
			stop := run(t, s)
			fill := func(of *string, most int) (n int) {
				for n < most {
					err := s.Append(t.Context(), spool.Record{Tenant: of, At: time.Now(), Payload: []byte(payload)})
					if errors.Is(err, spool.ErrFull) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					n++
				}
				return n
			}
			const many = 2 * limit / size
			without := 0
			for i, of := range senders {
				n := fill(of, many)
				if of == nil {
					without += n
				}
				if n == 0 && i < 2 {
					t.Errorf("%d: there is no room", i)
				}
			}
			if at := without * size; at < limit/16 || at > limit/8+limit/16 {
				t.Errorf("records without a tenant took %d bytes of %d", at, limit)
			}
			stop()
			s = open(t, dir, limit)
			run(t, s)
			if n := fill(nil, 1); n != 0 {
				t.Error("after a restart there is room for more without a tenant")
			}
			for _, other := range []string{"", "Other", "=", "unknown"} {
				if !slices.ContainsFunc(senders, func(of *string) bool { return of != nil && *of == other }) && fill(&other, 3) != 3 {
					t.Errorf("there is no room for tenant %q", other)
				}
			}
			take(t, s, s.State().Records)
			if n := fill(nil, many); n != without {
				t.Errorf("%d records without a tenant fit after everything was taken, want %d", n, without)
			}
		})
	}
}

func TestOneProcessADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, roomy)
	if _, err := spool.Open(dir, roomy, slog.New(slog.DiscardHandler)); !errors.Is(err, spool.ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	run(t, s)()
	if err := s.Append(t.Context(), record("", "")); !errors.Is(err, spool.ErrClosed) {
		t.Errorf("append after the end: %v", err)
	}
	run(t, open(t, dir, roomy))
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, roomy)
	run(t, s)
	appendAll(t, s, "Cust1", "x")
	for name, want := range map[string]os.FileMode{dir: 0o700, segments(t, dir)[0]: 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	s := open(b, b.TempDir(), 1<<40)
	run(b, s)
	payload := strings.Repeat("x", 1000)
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := s.Append(context.Background(), record("Cust1", payload)); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
