package spool_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"contactmirror/internal/spool"
)

// hugeFile is far more than a spool file has, and takes no room on disk.
const hugeFile = 6 << 30

// huge makes a file of hugeFile bytes: a segment, zeros, and a few bytes at its end.
func huge(t testing.TB, path string, segment []byte) {
	t.Helper()
	write(t, path, segment)
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt([]byte("end"), hugeFile-3)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

// checkHuge checks that the file at path is still as [huge] made it.
func checkHuge(t testing.TB, path string, segment []byte) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // nothing was written
	begin, end := make([]byte, len(segment)), make([]byte, 3)
	_, err = file.ReadAt(begin, 0)
	_, endErr := file.ReadAt(end, hugeFile-3)
	if err := errors.Join(err, endErr); err != nil || string(begin) != string(segment) || string(end) != "end" {
		t.Errorf("%s was changed: %v", filepath.Base(path), err)
	}
}

// allocated runs f and returns how many bytes it allocated.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// A file that is larger than any segment is not read whole. What can be read of
// it drains, and all of it is kept: it is moved aside as it is.
func TestSpool_hugeSegment(t *testing.T) {
	good, _ := segmentOf(t, "first", "second")
	for name, content := range map[string][]byte{"records": good, "no record": nil} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			huge(t, filepath.Join(dir, oneSegment), content)
			var s *spool.Spool
			if n := allocated(func() { s = open(t, dir, roomy) }); n > 2<<30 {
				t.Errorf("the start allocated %d bytes", n)
			}
			s.Every(time.Millisecond)
			run(t, s)
			appendAll(t, s, "Cust1", "third")
			want := []string{"third"}
			if content != nil {
				want = []string{"first", "second", "third"}
			}
			if got := take(t, s, len(want)); !slices.Equal(got, want) {
				t.Errorf("took %q, want %q", got, want)
			}
			if state := s.State(); state.Records != 0 || state.MovedAside.Files != 1 || state.MovedAside.Bytes != hugeFile {
				t.Errorf("%+v, want one file moved aside", state)
			}
			all := files(t, dir)
			if len(all) != 1 || all[0].Bytes != hugeFile || !strings.Contains(all[0].Problem, "larger than") {
				t.Fatalf("%+v", all)
			}
			checkHuge(t, filepath.Join(dir, all[0].Name), content)
		})
	}
}

// A file that was moved aside and is larger than any spool file is read in part,
// and never written back in part.
func TestRewrite_hugeFile(t *testing.T) {
	good, _ := segmentOf(t, "first", "second")
	dir, name := t.TempDir(), oneSegment+".damaged"
	huge(t, filepath.Join(dir, name), good)
	var c spool.Contents
	if n := allocated(func() { c = read(t, dir, name) }); n > 2<<30 {
		t.Errorf("reading it allocated %d bytes", n)
	}
	if len(c.Readable) != 2 || c.Bytes != hugeFile {
		t.Errorf("%+v with %d records", c.File, len(c.Readable))
	}
	if err := spool.Rewrite(dir, &c, nil); !errors.Is(err, spool.ErrPartlyRead) {
		t.Errorf("rewritten: %v", err)
	}
	checkHuge(t, filepath.Join(dir, name), good)
}

// A running spool does not read the same huge file again and again.
func TestSpool_hugeFileReadOnce(t *testing.T) {
	dir := t.TempDir()
	huge(t, filepath.Join(dir, oneSegment+".damaged"), nil)
	s := open(t, dir, roomy)
	run(t, s)
	if n := allocated(func() {
		if err := s.Refresh(); err != nil {
			t.Error(err)
		}
	}); n > 16<<20 {
		t.Errorf("looking at it again allocated %d bytes", n)
	}
}

// The reasons that records are refused for do not make a file larger than what is
// read of it.
func TestSpool_longReasons(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, roomy)
	run(t, s)
	appendAll(t, s, "Cust1", "first", "second", "third")
	reason := strings.Repeat("x", 40<<20)
	for range 3 {
		if _, err := s.Peek(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Refused(reason)
	}
	all := files(t, dir)
	if len(all) != 1 || all[0].Problem != "" || all[0].Records != 3 {
		t.Fatalf("%+v", all)
	}
	c := read(t, dir, all[0].Name)
	for i := range c.Readable {
		c.Readable[i].Reason = reason
	}
	c.Readable = append(c.Readable, record("Cust1", "fourth"))
	if err := spool.Rewrite(dir, &c, c.Readable[:3]); err != nil {
		t.Fatal(err)
	}
	if c = read(t, dir, all[0].Name); c.Problem != "" || c.Records != 3 {
		t.Errorf("%+v", c.File)
	}
}

// What would make a segment larger than what is read of it is not appended, and
// the largest delivery is.
func TestSpool_largestRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 1<<30)
	stop := run(t, s)
	if err := s.Append(t.Context(), record("Cust1", strings.Repeat("x", spool.MaxPayload/4*5+1<<20))); !errors.Is(err, spool.ErrTooLarge) {
		t.Errorf("a record of twice the size: %v", err)
	}
	largest := strings.Repeat("cmr\x01", spool.MaxPayload/4) // grows by a quarter on disk
	appendAll(t, s, "Cust1", "first", largest)
	stop()
	s = open(t, dir, 1<<30)
	run(t, s)
	if got := take(t, s, 2); got[0] != "first" || got[1] != largest || s.State().MovedAside.Files != 0 {
		t.Errorf("took %d records, %+v", len(got), s.State())
	}
}
