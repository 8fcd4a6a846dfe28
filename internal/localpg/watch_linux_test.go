package localpg

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns the two ends of a new one: what programs write into the second
// comes out of the first.
func terminal(t *testing.T) (outside, inside *os.File) {
	t.Helper()
	outside, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(outside.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(outside.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	inside, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(inside.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}); err != nil {
		t.Fatal(err)
	}
	return outside, inside
}

func TestBarOnTerminal(t *testing.T) {
	t.Parallel()
	o := downloading(t, newRepository(t, packed(t, machine(t)), nil).url)
	outside, inside := terminal(t)
	defer func() { _ = outside.Close() }()
	var drawn bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&drawn, outside) // ends with an error when the inside is closed
	}()
	o.Progress = inside
	startServer(t, o)
	if err := inside.Close(); err != nil {
		t.Fatal(err)
	}
	<-read
	for _, want := range []string{"PostgreSQL 1", "100 %", "KiB"} {
		if !strings.Contains(drawn.String(), want) {
			t.Errorf("the terminal shows %q, want a bar with %q", drawn.String(), want)
		}
	}
}

func TestNoBarElsewhere(t *testing.T) {
	t.Parallel()
	o := downloading(t, newRepository(t, packed(t, machine(t)), nil).url)
	var lines bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&lines, nil))
	file, err := os.Create(filepath.Join(t.TempDir(), "progress"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	o.Progress = file
	stop(t, startServer(t, o))
	if info, err := file.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("%d bytes of progress in a file (%v), want none", info.Size(), err)
	}
	if n := strings.Count(lines.String(), "\n"); n != 2 || !strings.Contains(lines.String(), "downloading") || !strings.Contains(lines.String(), "downloaded") {
		t.Errorf("log of a download:\n%swant a line at its start and one at its end", &lines)
	}
}
