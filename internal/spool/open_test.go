package spool_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"contactmirror/internal/spool"
)

// A directory that can't be opened at the start, whatever the reason, keeps nobody
// from starting. Until it can be opened, appends fail and the state says why and how
// old the deliveries in it may be; then what it holds drains.
func TestOpen_unusableDirectory(t *testing.T) {
	t.Parallel()
	segment, _ := segmentOf(t, "first")
	lock := func(make func(path string) error) func(t *testing.T, dir string) func() error {
		return func(_ *testing.T, dir string) func() error {
			path := filepath.Join(dir, "lock")
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			return func() error { return os.Remove(path) }
		}
	}
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, dir string) (repair func() error)
		error string
		dated bool // the segments' names can be read
	}{
		"read-only": {func(t *testing.T, dir string) func() error {
			mount(t, "tmpfs", dir, "tmpfs", 0)
			write(t, filepath.Join(dir, oneSegment), segment)
			write(t, filepath.Join(dir, "lock"), nil)
			if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			return func() error { return syscall.Mount("", dir, "", syscall.MS_REMOUNT, "") }
		}, "read-only file system", true},
		"file": {func(t *testing.T, dir string) func() error {
			if err := os.Rename(dir, dir+".away"); err != nil {
				t.Fatal(err)
			}
			write(t, dir, nil)
			return func() error { return errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)) }
		}, "not a directory", false},
		"parent is a file": {func(t *testing.T, dir string) func() error {
			parent := filepath.Dir(dir)
			if err := os.Rename(parent, parent+".away"); err != nil {
				t.Fatal(err)
			}
			write(t, parent, nil)
			return func() error { return errors.Join(os.Remove(parent), os.Rename(parent+".away", parent)) }
		}, "not a directory", false},
		"link to nowhere": {func(t *testing.T, dir string) func() error {
			if err := errors.Join(os.Rename(dir, dir+".away"), os.Symlink("nowhere/at/all", dir)); err != nil {
				t.Fatal(err)
			}
			return func() error { return errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)) }
		}, "file exists", false},
		"lock is a link":       {lock(func(path string) error { return os.Symlink("elsewhere", path) }), "symbolic link", true},
		"lock is a directory":  {lock(func(path string) error { return os.Mkdir(path, 0o700) }), "is a directory", true},
		"lock is a named pipe": {lock(func(path string) error { return syscall.Mkfifo(path, 0o600) }), "is a named pipe", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data", "spool")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, oneSegment), segment)
			repair := tt.spoil(t, dir)
			var log bytes.Buffer
			s, err := spool.Open(dir, roomy, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			if got := log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, tt.error) || !strings.Contains(got, dir) {
				t.Errorf("logged: %s", got)
			}
			stop := run(t, s)
			if err := s.Append(t.Context(), record("Cust1", "refused")); err == nil || !strings.Contains(err.Error(), tt.error) {
				t.Errorf("appended: %v", err)
			}
			state := s.State()
			if state.Unavailable == nil || time.Since(state.UnavailableSince) > time.Minute || state.Oldest.IsZero() == tt.dated {
				t.Errorf("%+v", state)
			}
			if tt.dated && !state.Oldest.Before(time.UnixMicro(1793534400000000)) {
				t.Errorf("%+v, want the segment's age", state)
			}
			none, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if _, err := s.Peek(none); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("peeked: %v", err)
			}
			if err := repair(); err != nil {
				t.Fatal(err)
			}
			if got := take(t, s, 1); !slices.Equal(got, []string{"first"}) {
				t.Errorf("took %q", got)
			}
			appendAll(t, s, "Cust1", "second")
			if got := take(t, s, 1); !slices.Equal(got, []string{"second"}) {
				t.Errorf("took %q", got)
			}
			if state := s.State(); state.Unavailable != nil || !state.UnavailableSince.IsZero() || !state.Oldest.IsZero() {
				t.Errorf("%+v, want one that is open", state)
			}
			stop()
			if got := log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "the spool is open now") {
				t.Errorf("logged: %s", got)
			}
		})
	}
}

// A spool that could not be opened ends when another process takes its directory:
// both would report what it holds under one identity.
func TestSpool_takenWhileUnavailable(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	write(t, dir, nil)
	s := open(t, dir, roomy)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	run(t, open(t, dir, roomy))
	if err := s.Run(t.Context()); !errors.Is(err, spool.ErrInUse) {
		t.Errorf("ended with %v, want ErrInUse", err)
	}
	if err := s.Append(t.Context(), record("Cust1", "x")); !errors.Is(err, spool.ErrClosed) {
		t.Errorf("appended: %v", err)
	}
}

// One that never became available stops in order.
func TestSpool_stopWhileUnavailable(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	write(t, dir, nil)
	run(t, open(t, dir, roomy))()
	if err := open(t, dir, roomy).Close(); err != nil {
		t.Error(err)
	}
}
