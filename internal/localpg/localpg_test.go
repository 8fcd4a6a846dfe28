//go:build unix

package localpg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// childDir makes the test binary the process that [startChild] wants.
const childDir = "LOCALPG_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := serveChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// What the library leaves in the temporary directory goes with it.
	temp, err := os.MkdirTemp("", "localpg-test-")
	if err == nil {
		err = errors.Join(os.Chmod(temp, 0o711), os.Setenv("TMPDIR", temp))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(temp); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}))
}

// serveChild runs the server of dir until standard input ends.
func serveChild(dir string) error {
	o := options(dir)
	o.DieWithParent = os.Getenv("LOCALPG_TEST_CHILD_DIES") != ""
	s, err := Start(context.Background(), o)
	if err != nil {
		return err
	}
	fmt.Println(s.URL())
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return s.Stop(context.Background())
}

// process is another process that runs the server of a data directory.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	url   string
}

// startChild starts the server of dir in another process, changed by with.
func startChild(t *testing.T, dir string, with ...func(*exec.Cmd)) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), executable(t))
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	for _, change := range with {
		change(cmd)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		t.Fatalf("the other process did not start a server: %v", err)
	}
	return &process{cmd, stdin, strings.TrimSpace(line)}
}

// executable is the test binary, where every user can run it.
func executable(t *testing.T) string {
	t.Helper()
	path, err := copied()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var copied = sync.OnceValues(func() (string, error) {
	source, err := os.Executable()
	if err != nil {
		return "", err
	}
	binary, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	path := filepath.Join(os.TempDir(), "child") // of this test binary alone
	return path, os.WriteFile(path, binary, 0o755)
})

// kill ends the process as a kill -9 does.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // returns that it was killed
}

// options start a server quickly.
func options(dir string) Options {
	return Options{
		Dir:           dir,
		Log:           slog.New(slog.DiscardHandler),
		DieWithParent: true,
		Parameters:    map[string]string{"fsync": "off", "shared_buffers": "16MB"},
	}
}

// newDir is an empty directory that every user can enter.
func newDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// startServer starts a server that is stopped after the test.
func startServer(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.Background()) }) // the test may have done so
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

// query returns the only value that statement gives.
func query[T any](t *testing.T, url, statement string) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	rows, _ := conn.Query(t.Context(), statement) // CollectExactlyOneRow returns its error
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return value
}

const (
	remember = "create table memory as select 42 as answer; "
	recall   = "select answer from memory"
)

func keep(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), remember); err != nil {
		t.Fatal(err)
	}
}

func wantKept(t *testing.T, url string) {
	t.Helper()
	if got := query[int](t, url, recall); got != 42 {
		t.Errorf("the database holds %d, want the 42 of before", got)
	}
}

// postmasterOf is the process number in the cluster's postmaster.pid.
func postmasterOf(t *testing.T, home string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(home, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// eventually waits until done.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	_, err := backoff.Retry(t.Context(), func() (struct{}, error) {
		if done() {
			return struct{}{}, nil
		}
		return struct{}{}, errRuns
	}, append(untilDone(), backoff.WithMaxElapsedTime(grace*6))...)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func signalPID(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}
