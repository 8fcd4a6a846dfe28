package spool_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"contactmirror/internal/spool"
)

// A segment that can't be moved aside is listed, read and discarded by its own
// name, and is moved as soon as it can be.
func TestSpool_stuckSegment(t *testing.T) {
	t.Parallel()
	for when, running := range map[string]bool{"start": false, "running": true} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, oneSegment)
			spoil := func() (restore func()) {
				if err := errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o700)); err != nil {
					t.Fatal(err)
				}
				return mount(t, "tmpfs", path, "tmpfs", 0)
			}
			var unmount func()
			if !running {
				unmount = spoil()
			}
			s := open(t, dir, roomy)
			s.Every(time.Millisecond)
			s.KeepOpen(0)
			stop := run(t, s)
			appendAll(t, s, "Cust1", "first")
			if running {
				if _, err := s.Peek(t.Context()); err != nil { // closes the segment, and reads it
					t.Fatal(err)
				}
				appendAll(t, s, "Cust1", strings.Repeat("x", 9<<20)) // closes another one, for it is full
				path = segments(t, dir)[1]
				unmount = spoil()
			}
			name := filepath.Base(path)
			appendAll(t, s, "Cust1", "second")
			if got := take(t, s, 2); !slices.Equal(got, []string{"first", "second"}) {
				t.Errorf("took %.20q", got)
			}
			stuck := func() {
				t.Helper()
				all := files(t, dir)
				if len(all) != 1 || all[0].Name != name || all[0].Kind != spool.Stuck || !strings.Contains(all[0].Problem, "is a directory") {
					t.Fatalf("%+v, want the segment", all)
				}
			}
			stuck()
			c := read(t, dir, name)
			if err := discard(dir, name); !errors.Is(err, syscall.EBUSY) {
				t.Errorf("discarded: %v", err)
			}
			if err := spool.Rewrite(dir, &c, nil); !errors.Is(err, spool.ErrPartlyRead) {
				t.Errorf("rewritten: %v", err)
			}
			if state := s.State().MovedAside; state.Files != 1 {
				t.Errorf("%+v", state)
			}
			if running { // what it was is known after the end, too
				stop()
				stuck()
				s = open(t, dir, roomy)
				s.Every(time.Millisecond)
				run(t, s)
				stuck()
			}
			unmount()
			until(t, "it is moved aside", func() bool {
				if n := s.State().MovedAside.Files; n != 1 {
					t.Fatalf("%d files count, want 1 at any time", n)
				}
				_, err := os.Lstat(path + ".damaged")
				return err == nil
			})
			until(t, "it is listed by that name", func() bool {
				all := files(t, dir)
				return len(all) == 1 && all[0].Name == name+".damaged"
			})
			if err := discard(dir, name+".damaged"); err != nil {
				t.Fatal(err)
			}
			until(t, "it does not count any more", func() bool { return s.State().MovedAside.Files == 0 })
		})
	}
}

// One that an operator takes away counts no more.
func TestSpool_stuckSegmentTakenAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, oneSegment)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	unmount := mount(t, "tmpfs", path, "tmpfs", 0)
	s := open(t, dir, roomy)
	if n := s.State().MovedAside.Files; n != 1 {
		t.Fatalf("%d files, want 1", n)
	}
	unmount()
	if err := discard(dir, oneSegment); err != nil {
		t.Fatal(err)
	}
	if err := s.Refresh(); err != nil || s.State().MovedAside.Files != 0 || len(files(t, dir)) != 0 {
		t.Errorf("%v, %+v, %v", err, s.State().MovedAside, files(t, dir))
	}
	run(t, s)
}

// A segment that is missing, where not even a mark of it can be left, counts until
// one can be.
func TestSpool_missingSegmentWithoutMark(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, roomy)
	s.KeepOpen(0)
	run(t, s)
	appendAll(t, s, "Cust1", "first")
	if _, err := s.Peek(t.Context()); err != nil { // closes the segment
		t.Fatal(err)
	}
	appendAll(t, s, "Cust1", strings.Repeat("x", 9<<20)) // closes another one, for it is full
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	write(t, dir, nil)
	s.Taken(1)
	none, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Peek(none); !errors.Is(err, context.Canceled) { // there is nothing else to hand out
		t.Errorf("peeked: %v", err)
	}
	if state := s.State().MovedAside; state.Files != 1 {
		t.Errorf("%+v, want the segment", state)
	}
	_ = s.Refresh()
	if state := s.State().MovedAside; state.Files != 1 {
		t.Errorf("%+v after another look, want the segment", state)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Refresh(); err != nil || s.State().MovedAside.Files != 1 {
		t.Errorf("%v, %+v", err, s.State().MovedAside)
	}
	if all := files(t, dir); len(all) != 1 || all[0].Kind != spool.Damaged || all[0].Bytes != 0 {
		t.Errorf("%+v, want a mark of it", all)
	}
}
