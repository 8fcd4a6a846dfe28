package spool_test

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"contactmirror/internal/spool"
)

// oneSegment is the name of a segment that was begun in 2026.
const oneSegment = "00001793534400000000.spool"

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// segmentOf is a segment with these payloads, and where each record ends.
func segmentOf(t testing.TB, payloads ...string) (segment []byte, ends []int) {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir, roomy)
	stop := run(t, s)
	for _, p := range payloads {
		appendAll(t, s, "Cust1", p)
		ends = append(ends, int(s.State().Bytes))
	}
	stop()
	segment, err := os.ReadFile(segments(t, dir)[0])
	if err != nil || len(segment) != ends[len(ends)-1] {
		t.Fatalf("segment of %d bytes, %v, want %d", len(segment), err, ends[len(ends)-1])
	}
	return segment, ends
}

func files(t testing.TB, dir string) []spool.File {
	t.Helper()
	all, err := spool.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read(t testing.TB, dir, name string) spool.Contents {
	t.Helper()
	c, err := spool.Read(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// discard discards the file of that name, as it is now.
func discard(dir, name string) error {
	c, err := spool.Read(dir, name)
	if err != nil {
		return err
	}
	return spool.Discard(dir, &c.File)
}

// restOf is the unreadable bytes of all files that were moved aside.
func restOf(t testing.TB, dir string) (rest string) {
	t.Helper()
	for _, f := range files(t, dir) {
		rest += string(read(t, dir, f.Name).Rest)
	}
	return rest
}

func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// Of a segment in which any bit was flipped, every other record is handed out, and
// the one that it was in is kept.
func TestSpool_anyBitFlipped(t *testing.T) {
	t.Parallel()
	payloads := []string{"first", "second", "third"}
	whole, ends := segmentOf(t, payloads...)
	for bit := range len(whole) * 8 {
		flipped := slices.Clone(whole)
		flipped[bit/8] ^= 1 << (bit % 8)
		hit, _ := slices.BinarySearch(ends, bit/8+1)
		dir := t.TempDir()
		write(t, filepath.Join(dir, oneSegment), flipped)
		s := open(t, dir, roomy)
		if state := s.State(); !state.Oldest.Before(time.UnixMicro(1793534400000000)) { // it may be what was damaged
			t.Fatalf("bit %d: %+v", bit, state)
		}
		stop := run(t, s)
		want := slices.Delete(slices.Clone(payloads), hit, hit+1)
		if got := take(t, s, 2); !slices.Equal(got, want) {
			t.Fatalf("bit %d: took %q, want %q", bit, got, want)
		}
		begin := 0
		if hit > 0 {
			begin = ends[hit-1]
		}
		if got := restOf(t, dir); got != string(flipped[begin:ends[hit]]) {
			t.Fatalf("bit %d: kept %q", bit, got)
		}
		state := s.State().MovedAside
		if state.Files != 1 || state.Records != 0 || !state.Oldest.Before(time.UnixMicro(1793534400000000)) {
			t.Fatalf("bit %d: %+v", bit, state)
		}
		stop()
	}
}

// Whatever was done to a segment from outside, the rest drains.
func TestSpool_damagedSegment(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func([]byte) []byte{
		"zeros":     func(b []byte) []byte { clear(b[bytes.Index(b, []byte("second"))-22:][:22]); return b },
		"cut short": func(b []byte) []byte { i := bytes.Index(b, []byte("second")); return slices.Delete(b, i, i+1) },
		"more": func(b []byte) []byte {
			i := bytes.Index(b, []byte("second"))
			return slices.Insert(b, i, []byte("more")...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			segment, _ := segmentOf(t, "first", "second", "third")
			dir := t.TempDir()
			write(t, filepath.Join(dir, oneSegment), change(segment))
			s := open(t, dir, roomy)
			stop := run(t, s)
			appendAll(t, s, "", "fourth")
			if got := take(t, s, 3); !slices.Equal(got, []string{"first", "third", "fourth"}) {
				t.Errorf("took %q", got)
			}
			stop()
			if left := segments(t, dir); len(left) != 1 || !strings.HasSuffix(left[0], ".spool.damaged") {
				t.Errorf("left %q", left)
			}
			s = open(t, dir, roomy)
			run(t, s)
			if state := s.State(); state.Records != 0 || state.MovedAside.Files != 1 {
				t.Errorf("after another start: %+v", state)
			}
		})
	}
}

// spoilt is what can be where a segment is expected.
func spoilt() map[string]func(t *testing.T, path string) {
	replace := func(t *testing.T, path string, make func() error) {
		t.Helper()
		if err := errors.Join(os.Remove(path), make()); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]func(t *testing.T, path string){
		"gone": func(t *testing.T, path string) { replace(t, path, func() error { return nil }) },
		"emptied": func(t *testing.T, path string) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		},
		"directory": func(t *testing.T, path string) {
			replace(t, path, func() error { return os.MkdirAll(filepath.Join(path, "full"), 0o700) })
		},
		"link to nowhere": func(t *testing.T, path string) {
			replace(t, path, func() error { return os.Symlink("nowhere", path) })
		},
		"link to itself": func(t *testing.T, path string) {
			replace(t, path, func() error { return os.Symlink(filepath.Base(path), path) })
		},
		"named pipe": func(t *testing.T, path string) {
			replace(t, path, func() error { return syscall.Mkfifo(path, 0o600) })
		},
		"device": func(t *testing.T, path string) {
			if os.Geteuid() != 0 {
				untested(t, "only root makes devices")
			}
			replace(t, path, func() error { return syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|5) }) // /dev/zero: never ends
		},
		"no right to read": func(t *testing.T, path string) {
			if os.Geteuid() == 0 {
				t.Skip("THIS IS NOT TESTED: root may read everything")
			}
			if err := os.Chmod(path, 0); err != nil {
				t.Fatal(err)
			}
		},
		"input/output error, cannot be moved": func(t *testing.T, path string) { mount(t, "/proc/self/mem", path, "", syscall.MS_BIND) },
		"directory, cannot be moved": func(t *testing.T, path string) {
			replace(t, path, func() error { return os.Mkdir(path, 0o700) })
			mount(t, "tmpfs", path, "tmpfs", 0)
		},
	}
}

// untested skips a test that this machine can't run; where CI=true that fails it.
func untested(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("THIS IS NOT TESTED: " + why)
	}
	t.Skip("THIS IS NOT TESTED: " + why)
}

func mount(t *testing.T, source, path, kind string, flags uintptr, options ...string) (unmount func()) {
	t.Helper()
	if err := syscall.Mount(source, path, kind, flags, strings.Join(options, ",")); err != nil {
		untested(t, "nothing can be mounted here: "+err.Error())
	}
	unmount = sync.OnceFunc(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(unmount)
	return unmount
}

// A segment that can't be read, while the spool runs or at its start, is moved
// aside or left out, and counted; the others drain.
func TestSpool_unreadableSegment(t *testing.T) {
	t.Parallel()
	for name, spoil := range spoilt() {
		t.Run("running/"+name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir, roomy)
			s.KeepOpen(0)
			run(t, s)
			appendAll(t, s, "Cust1", "first")
			if _, err := s.Peek(t.Context()); err != nil { // closes the segment, and reads it
				t.Fatal(err)
			}
			appendAll(t, s, "Cust1", strings.Repeat("x", 9<<20)) // closes another one, for it is full
			spoil(t, segments(t, dir)[1])
			appendAll(t, s, "Cust1", "good")
			if got := take(t, s, 2); !slices.Equal(got, []string{"first", "good"}) {
				t.Errorf("took %.20q, want the good ones", got)
			}
			state := s.State()
			if state.Records != 0 || state.Bytes != 0 || state.MovedAside.Files != 1 || !state.MovedAside.Oldest.Before(time.Now()) {
				t.Errorf("%+v, want one file moved aside", state)
			}
		})
		t.Run("start/"+name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			good, _ := segmentOf(t, "good")
			write(t, filepath.Join(dir, oneSegment), good)
			write(t, filepath.Join(dir, "00001793534400000001.spool"), good)
			spoil(t, filepath.Join(dir, oneSegment))
			s := open(t, dir, roomy)
			run(t, s)
			if got := take(t, s, 1); !slices.Equal(got, []string{"good"}) {
				t.Errorf("took %q, want the good one", got)
			}
			want := 1
			if name == "gone" {
				want = 0
			}
			if state := s.State(); state.Records != 0 || state.MovedAside.Files != want {
				t.Errorf("%+v, want %d files moved aside", state, want)
			}
		})
	}
}

// A segment that is empty at the start has lost its deliveries: it leaves a mark that
// is logged, listed and counted, as old as the segment, until it is discarded.
func TestSpool_emptySegment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, oneSegment), nil)
	var log bytes.Buffer
	for start := range 2 {
		s, err := spool.Open(dir, roomy, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		state := s.State()
		if state.Records != 0 || state.MovedAside.Files != 1 || !state.MovedAside.Oldest.Before(time.UnixMicro(1793534400000000)) {
			t.Errorf("start %d: %+v, want one file moved aside, as old as the segment", start, state)
		}
		run(t, s)()
	}
	if got := log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "it is empty") {
		t.Errorf("logged: %s", got)
	}
	if all := files(t, dir); len(all) != 1 || all[0].Name != oneSegment+".damaged" || all[0].Bytes != 0 {
		t.Errorf("%+v, want a mark of it", all)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.spool")); err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

// A segment's name appears with its first records in it, so that an empty one always
// means a loss.
func TestSpool_segmentIsNamedWithItsRecords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, roomy)
	stop := run(t, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 { // each in a segment of its own
			if err := s.Append(t.Context(), record("Cust1", "x")); err != nil {
				t.Error(err)
				return
			}
			take(t, s, 1)
		}
	}()
	for seen := 0; ; {
		for _, name := range segments(t, dir) {
			info, err := os.Stat(name)
			if err == nil && info.Size() == 0 {
				t.Fatalf("%s is empty", filepath.Base(name))
			}
			seen++
		}
		select {
		case <-done:
			if seen == 0 {
				t.Fatal("no segment was seen")
			}
			stop()
			if left := entries(t, dir); !slices.Equal(left, []string{"lock"}) {
				t.Errorf("left %q", left)
			}
			return
		default:
		}
	}
}

// What a kill, or a full disk, leaves of a segment that had no name yet was never
// answered for: it is removed, and is no loss.
func TestSpool_segmentThatWasNotNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, ".segment-1.tmp"), []byte("cut o"))
	s := open(t, dir, roomy)
	run(t, s)
	if state := s.State(); state.Records != 0 || state.MovedAside.Files != 0 {
		t.Errorf("%+v, want nothing", state)
	}
	if left := entries(t, dir); !slices.Equal(left, []string{"lock"}) {
		t.Errorf("left %q", left)
	}

	full := t.TempDir()
	mount(t, "tmpfs", full, "tmpfs", 0, "size=64k")
	s = open(t, full, roomy)
	run(t, s)
	if err := s.Append(t.Context(), record("Cust1", strings.Repeat("x", 1<<20))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("appended to a full disk: %v", err)
	}
	if left := entries(t, full); !slices.Equal(left, []string{"lock"}) {
		t.Errorf("a full disk left %q", left)
	}
	appendAll(t, s, "Cust1", "fits")
	if got := take(t, s, 1); !slices.Equal(got, []string{"fits"}) {
		t.Errorf("took %q", got)
	}
}

func entries(t testing.TB, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range all {
		names = append(names, entry.Name())
	}
	return names
}

// What was cut off between two records leaves nothing to read, but is missed.
func TestSpool_segmentCutWhileRunning(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	segment, ends := segmentOf(t, "first", "second")
	write(t, filepath.Join(dir, oneSegment), segment)
	s := open(t, dir, roomy)
	run(t, s)
	if err := os.Truncate(filepath.Join(dir, oneSegment), int64(ends[0])); err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, "", "third")
	if got := take(t, s, 2); !slices.Equal(got, []string{"first", "third"}) {
		t.Errorf("took %q", got)
	}
	if state := s.State().MovedAside; state.Files != 1 || state.Bytes != 0 {
		t.Errorf("%+v", state)
	}
}

// No append returns for a file that the next start would not find, and what was
// appended before is written again.
func TestSpool_directoryRemoved(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(dir string) error{
		"directory":       os.RemoveAll,
		"parent":          func(dir string) error { return os.RemoveAll(filepath.Dir(dir)) },
		"file":            func(dir string) error { return os.Remove(segmentIn(dir)) },
		"lock":            func(dir string) error { return os.Remove(filepath.Join(dir, "lock")) },
		"directory moved": func(dir string) error { return os.Rename(dir, dir+".old") },
		"file moved":      func(dir string) error { return os.Rename(segmentIn(dir), dir+".old") },
		"file replaced": func(dir string) error {
			name := segmentIn(dir)
			return errors.Join(os.Rename(name, dir+".old"), os.WriteFile(name, nil, 0o600))
		},
		"nothing, for now": func(string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data", "spool")
			s := open(t, dir, roomy)
			stop := run(t, s)
			appendAll(t, s, "Cust1", "first", "second")
			if err := remove(dir); err != nil {
				t.Fatal(err)
			}
			appendAll(t, s, "Cust1", "third")
			killed := t.TempDir() // what a kill would leave at this moment
			if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			stop()
			for _, left := range []string{killed, dir} {
				s = open(t, left, roomy)
				run(t, s)
				if got := take(t, s, 3); !slices.Equal(got, []string{"first", "second", "third"}) {
					t.Errorf("took %q", got)
				}
				if state := s.State(); state.MovedAside.Files != 0 {
					t.Errorf("%+v", state)
				}
			}
		})
	}
}

func segmentIn(dir string) string {
	names, _ := filepath.Glob(filepath.Join(dir, "*.spool"))
	return strings.Join(names, "")
}

// Segments that wait to be drained are written again too, and those that are
// being drained.
func TestSpool_directoryRemovedWhileDraining(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, roomy)
	stop := run(t, s)
	large := strings.Repeat("x", 5<<20)
	appendAll(t, s, "Cust1", "first")
	if _, err := s.Peek(t.Context()); err != nil { // closes the segment, and reads it
		t.Fatal(err)
	}
	appendAll(t, s, "Cust1", large, large) // closed, for it is full
	appendAll(t, s, "Cust1", "second")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, "Cust1", "third")
	if n := len(segments(t, dir)); n != 3 { // where a kill may find them
		t.Errorf("%d segments, want 3", n)
	}
	stop()
	s = open(t, dir, roomy)
	stop = run(t, s)
	if got := take(t, s, 5); !slices.Equal(got, []string{"first", large, large, "second", "third"}) {
		t.Errorf("took %.20q", got)
	}

	// Without another append they drain, and are there after a stop.
	appendAll(t, s, "Cust1", "fourth")
	if _, err := s.Peek(t.Context()); err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, "Cust1", large, large)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got := take(t, s, 2); got[0] != "fourth" || got[1] != large || s.State().MovedAside.Files != 0 {
		t.Errorf("took %.20q", got)
	}
	stop()
	s = open(t, dir, roomy)
	run(t, s)
	if got := take(t, s, 2); !slices.Equal(got, []string{large, large}) { // of which one again
		t.Errorf("took %.20q", got)
	}
}

// A closed segment that was removed is written again with the next append, and
// without one: a kill must find it.
func TestSpool_closedSegmentRemoved(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, roomy)
	run(t, s)
	appendAll(t, s, "Cust1", "first")
	if _, err := s.Peek(t.Context()); err != nil { // closes the segment
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, "Cust1", "second")
	if n := len(segments(t, dir)); n != 2 {
		t.Errorf("%d segments after the next append, want 2", n)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		if names, _ := filepath.Glob(filepath.Join(dir, "*.spool")); len(names) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the segments were not written again")
		}
	}
}

// What is written again keeps its number, the earliest time of what it holds.
func TestSpool_relocatedSegmentKeepsItsAge(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, roomy)
	run(t, s)
	appendAll(t, s, "Cust1", "first")
	name := segmentIn(dir)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, "Cust1", "second")
	if got := segmentIn(dir); got != name {
		t.Errorf("written again as %s, want %s", got, name)
	}
}

// Removed between the last append and the end, it is written again too.
func TestSpool_removedBeforeTheEnd(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, roomy)
	stop := run(t, s)
	appendAll(t, s, "Cust1", "first")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	stop()
	s = open(t, dir, roomy)
	run(t, s)
	if got := take(t, s, 1); !slices.Equal(got, []string{"first"}) {
		t.Errorf("took %q", got)
	}
}

// Where the directory can't be made again, appends fail, and nothing that was
// appended before is lost.
func TestSpool_directoryCannotBeMade(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, roomy)
	stop := run(t, s)
	appendAll(t, s, "Cust1", "first")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	write(t, dir, nil)
	for range 2 {
		if err := s.Append(t.Context(), record("Cust1", "refused")); err == nil {
			t.Error("an append returned though nothing can be kept")
		}
	}
	if state := s.State(); state.Failed.IsZero() || state.Records != 1 {
		t.Errorf("%+v", state)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, "Cust1", "second")
	stop()
	s = open(t, dir, roomy)
	run(t, s)
	if got := take(t, s, 2); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("took %q", got)
	}
}

// Refused records are moved aside with what they were refused for, and are not
// handed out again.
func TestSpool_refused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, roomy)
	s.Every(time.Millisecond)
	stop := run(t, s)
	appendAll(t, s, "Cust1", "first", "bad", "third", "worse")
	for range 4 {
		batch, err := s.Peek(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if payload := string(batch[0].Payload); payload == "bad" || payload == "worse" {
			s.Refused("is " + payload)
		} else {
			s.Taken(1)
		}
	}
	if state := s.State(); state.Records != 0 || state.MovedAside.Records != 2 {
		t.Errorf("%+v", state)
	}
	all := files(t, dir)
	if len(all) != 1 || all[0].Kind != spool.Refused || all[0].Records != 2 || all[0].UnreadableBytes != 0 || time.Since(all[0].OldestAt) > time.Minute {
		t.Fatalf("%+v", all)
	}
	c := read(t, dir, all[0].Name)
	if r := c.Readable[1]; *r.Tenant != "Cust1" || r.Reason != "is worse" || string(r.Payload) != "worse" {
		t.Errorf("%+v", r)
	}
	if err := spool.Rewrite(dir, &c, c.Readable[1:]); err != nil {
		t.Fatal(err)
	}
	until(t, "one is left", func() bool { return s.State().MovedAside.Records == 1 })
	c = read(t, dir, all[0].Name)
	if err := spool.Rewrite(dir, &c, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "none is left", func() bool { return s.State().MovedAside == spool.MovedAside{} })
	stop()
	s = open(t, dir, roomy)
	if state := s.State(); state.Records != 0 || state.MovedAside.Files != 0 {
		t.Errorf("%+v", state)
	}
	run(t, s)
}

// A file keeps what can't be read until it is discarded, and one that can't be
// read to its end keeps everything.
func TestRewrite_keepsWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	segment, _ := segmentOf(t, "first", "second")
	const name = oneSegment + ".damaged"
	dir := t.TempDir()
	write(t, filepath.Join(dir, name), append(segment, "left over"...))
	c := read(t, dir, name)
	if c.Records != 2 || c.UnreadableBytes != 9 {
		t.Errorf("%+v", c.File)
	}
	if err := spool.Rewrite(dir, &c, c.Readable[:1]); err != nil {
		t.Fatal(err)
	}
	if c = read(t, dir, name); c.Records != 1 || string(c.Rest) != "left over" {
		t.Errorf("%+v", c)
	}
	if err := spool.Rewrite(dir, &c, nil); err != nil {
		t.Fatal(err)
	}
	if c = read(t, dir, name); c.Records != 0 || string(c.Rest) != "left over" {
		t.Errorf("%+v", c)
	}
	if err := discard(dir, name); err != nil || len(files(t, dir)) != 0 {
		t.Errorf("%v, left %v", err, files(t, dir))
	}
	for _, foreign := range []string{name, "lock", "../lock", oneSegment, ""} {
		if err := discard(dir, foreign); !errors.Is(err, spool.ErrNotMovedAside) {
			t.Errorf("discard %q: %v", foreign, err)
		}
	}

	write(t, filepath.Join(dir, name), nil) // a segment that was found missing
	if c = read(t, dir, name); spool.Rewrite(dir, &c, nil) != nil || len(files(t, dir)) != 1 {
		t.Errorf("an empty file is not kept: %v", files(t, dir))
	}
	if err := errors.Join(discard(dir, name), os.Mkdir(filepath.Join(dir, name), 0o700)); err != nil {
		t.Fatal(err)
	}
	c = read(t, dir, name)
	if err := spool.Rewrite(dir, &c, nil); !errors.Is(err, spool.ErrPartlyRead) || !strings.Contains(c.Problem, "is a directory") {
		t.Errorf("%+v, %v", c.File, err)
	}
}

// A sender can't have a record of another tenant found in the body of a delivery
// of its own, whatever becomes of the header before it.
func TestSpool_recordInsideARecord(t *testing.T) {
	t.Parallel()
	forged, _ := segmentOf(t, "forged")
	segment, _ := segmentOf(t, string(forged), "good")
	segment[0] ^= 1
	dir := t.TempDir()
	write(t, filepath.Join(dir, oneSegment), segment)
	s := open(t, dir, roomy)
	run(t, s)
	if got := take(t, s, 1); !slices.Equal(got, []string{"good"}) || s.State().Records != 0 {
		t.Errorf("took %q", got)
	}
}

// What is written comes back, and contains no mark, wherever the content does.
func TestEscaped_holdsNoMark(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(rapid.SampledFrom([]string{"cmr", "\x01", "\x02", "c", "m", "r", "x"})).Draw(t, "parts")
		content := []byte(strings.Join(parts, ""))
		on := spool.Escaped(content)
		if bytes.Contains(on, spool.Mark) {
			t.Fatalf("%q contains a mark", on)
		}
		if got := spool.Unescaped(on); !bytes.Equal(got, content) {
			t.Fatalf("%q became %q", content, got)
		}
	})
}

// The names of files are times, and those of any digits are no reason to fail.
func TestFiles_anyName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, digits := range []string{"0", "00000000000000000007", "09223372036854775807", "99999999999999999999"} {
		write(t, filepath.Join(dir, digits+".spool.damaged"), []byte("x"))
	}
	for _, f := range files(t, dir) {
		if f.OldestAt.Year() < 1970 || f.OldestAt.After(time.Now()) {
			t.Errorf("%s: oldest at %v", f.Name, f.OldestAt)
		}
	}
	if n := len(files(t, dir)); n != 4 {
		t.Errorf("%d files, want 4", n)
	}
}

// Files that are resolved while others are moved aside leave no gap: whenever the
// state is asked for, a delivery is in one place or the other.
func TestSpool_movedAsideWithoutGap(t *testing.T) {
	t.Parallel()
	segment, ends := segmentOf(t, "good", "bad")
	segment[ends[0]] ^= 1
	for range 20 {
		dir := t.TempDir()
		write(t, filepath.Join(dir, oneSegment), segment)
		s := open(t, dir, roomy)
		s.Every(time.Duration(1 + rand.Int64N(int64(time.Millisecond))))
		run(t, s)
		done := make(chan struct{})
		go func() {
			defer close(done)
			take(t, s, 1)
		}()
		for taken := false; !taken; {
			select {
			case <-done:
				taken = true
			default:
			}
			if state := s.State(); state.Records == 0 && state.MovedAside.Files == 0 {
				t.Error("the segment is nowhere")
				break
			}
		}
	}
}

// Each file that vanishes is logged once, with what it held, whatever removed it.
func TestSpool_vanishedFileIsLogged(t *testing.T) {
	t.Parallel()
	segment, _ := segmentOf(t, "first", "second")
	const discarded, removed = oneSegment + ".damaged", "00001793534400000001.spool.refused"
	dir := t.TempDir()
	write(t, filepath.Join(dir, discarded), segment[:len(segment)-1])
	write(t, filepath.Join(dir, removed), segment)
	var log bytes.Buffer
	s, err := spool.Open(dir, roomy, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	refresh := func() string {
		t.Helper()
		log.Reset()
		if err := s.Refresh(); err != nil {
			t.Fatal(err)
		}
		return log.String()
	}
	if got := refresh(); got != "" {
		t.Errorf("nothing vanished, and the log says %s", got)
	}
	if err := discard(dir, discarded); err != nil {
		t.Fatal(err)
	}
	if got := refresh(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, discarded) ||
		!strings.Contains(got, "deliveries=1 unreadable_bytes=") || !strings.Contains(got, "oldest=") {
		t.Errorf("after one was discarded: %s", got)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got := refresh(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, removed) || !strings.Contains(got, "deliveries=2 ") {
		t.Errorf("after all was removed: %s", got)
	}
	if got := refresh() + refresh(); got != "" {
		t.Errorf("logged again: %s", got)
	}
	run(t, s)
}

// What was not read is neither removed nor replaced, even where it has the name of
// what was.
func TestRewrite_changedFile(t *testing.T) {
	t.Parallel()
	segment, _ := segmentOf(t, "first", "second")
	other, _ := segmentOf(t, "other")
	const name = oneSegment + ".damaged"
	for how, change := range map[string]func(path string) error{
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", other, 0o600), os.Rename(path+".new", path))
		},
		"replaced by one of its size and time": func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return errors.Join(os.WriteFile(path+".new", bytes.Repeat([]byte("x"), int(info.Size())), 0o600),
				os.Chtimes(path+".new", info.ModTime(), info.ModTime()), os.Rename(path+".new", path))
		},
		"appended to": func(path string) error {
			file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = file.Write(other)
			return errors.Join(err, file.Close())
		},
		"replaced by a directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			write(t, path, segment)
			c := read(t, dir, name)
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			want, _ := os.ReadFile(path)
			for what, err := range map[string]error{
				"rewritten to nothing": spool.Rewrite(dir, &c, nil),
				"rewritten":            spool.Rewrite(dir, &c, c.Readable[1:]),
				"discarded":            spool.Discard(dir, &c.File),
			} {
				if !errors.Is(err, spool.ErrChanged) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if got, _ := os.ReadFile(path); !bytes.Equal(got, want) || len(files(t, dir)) != 1 {
				t.Errorf("left %q, want %q", got, want)
			}
			if err := discard(dir, name); err != nil {
				t.Errorf("after another look: %v", err)
			}
		})
	}
}

// A segment that somebody changes while it is drained is moved aside, not removed.
func TestSpool_segmentChangedWhileDrained(t *testing.T) {
	t.Parallel()
	segment, _ := segmentOf(t, "first")
	more, _ := segmentOf(t, "more")
	dir := t.TempDir()
	path := filepath.Join(dir, oneSegment)
	write(t, path, segment)
	s := open(t, dir, roomy)
	run(t, s)
	if _, err := s.Peek(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, path+".new", append(slices.Clone(segment), more...))
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	s.Taken(1)
	all := files(t, dir)
	if len(all) != 1 || all[0].Records != 2 || s.State().MovedAside.Records != 2 {
		t.Errorf("moved aside: %+v", all)
	}
}
