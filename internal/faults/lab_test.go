//go:build linux

package faults

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	long      = flag.Bool("faults.long", false, "run the long version: more deliveries and at least 50 kills")
	tableFile = flag.String("faults.table", "", "write the table of all faults to this `file`")
	binary    = flag.String("faults.binary", "", "test this `file` rather than build the binary")
	seed      = flag.Uint64("faults.seed", 1, "of the contact lives and of the kill instants")
)

// patience bounds every wait for something that should come soon.
const patience = 60 * time.Second

// pick is the quick version's number, or the long one's.
func pick(quick, thorough int) int {
	if *long {
		return thorough
	}
	return quick
}

// TestMain prints the table when all faults are through.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if err := errors.Join(report(), suite.clear()); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// suite is what all faults share: a directory, the binary under test and a
// migrated cluster to copy, each made when first needed.
var suite workshop

type workshop struct {
	once sync.Once
	dir  string
	err  error
}

func (w *workshop) clear() error { return os.RemoveAll(w.dir) }

// open makes what is shared. PostgreSQL's user must be able to pass.
func (w *workshop) open(l *lab) {
	l.Helper()
	w.once.Do(func() { w.err = w.make(l) })
	if w.err != nil {
		l.Fatalf("prepare the suite: %v", w.err)
	}
}

func (w *workshop) make(l *lab) error {
	var err error
	if w.dir, err = os.MkdirTemp("", "contactmirror-faults-"); err != nil {
		return err
	}
	if err := os.Chmod(w.dir, 0o711); err != nil {
		return err
	}
	if *binary != "" {
		return nil
	}
	build := exec.CommandContext(l.Context(), "go", "build", "-o", w.binary(), "contactmirror/cmd/contactmirror")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return nil
}

func (w *workshop) binary() string {
	if *binary != "" {
		return *binary
	}
	return filepath.Join(w.dir, "contactmirror")
}

// lab is where one fault happens: the test, and a directory for all it starts.
type lab struct {
	*testing.T
	dir     string
	account *syscall.Credential // of PostgreSQL's user; nil where that is ourselves

	row         *row
	lossAllowed bool // by the database itself
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{T: t}
	suite.open(l)
	var err error
	if l.dir, err = os.MkdirTemp(suite.dir, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(l.dir, 0o711); err != nil {
		t.Fatal(err)
	}
	// The first Cleanup is the last to run: everything has ended then.
	t.Cleanup(func() { _ = os.RemoveAll(l.dir) }) // or TestMain does
	if l.account, err = unprivileged(); err != nil {
		t.Fatal(err)
	}
	return l
}

// unprivileged is the user as which PostgreSQL and PgBouncer run, for both
// refuse root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // no other user is needed
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uidErr, gidErr)
}

// asServer prepares a program of PostgreSQL's or PgBouncer's.
func (l *lab) asServer(name string, args ...string) *exec.Cmd {
	cmd := command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: l.account}
	return cmd
}

// mkdir makes a directory of PostgreSQL's user.
func (l *lab) mkdir(name string) string {
	l.Helper()
	dir := filepath.Join(l.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		l.Fatal(err)
	}
	l.give(dir)
	return dir
}

// give makes PostgreSQL's user the owner of path.
func (l *lab) give(path string) {
	l.Helper()
	if l.account == nil {
		return
	}
	if err := os.Lchown(path, int(l.account.Uid), int(l.account.Gid)); err != nil {
		l.Fatal(err)
	}
}

// await polls until condition holds, or fails the test.
func (l *lab) await(what string, within time.Duration, condition func() bool) time.Duration {
	l.Helper()
	start := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Since(start) > within {
			l.Fatalf("waited %s in vain until %s", within, what)
		}
		<-tick.C
	}
	return time.Since(start)
}

// needs skips the test where a tool is missing, loudly; on CI it fails.
func needs(t *testing.T, tool, debian string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin", "/usr/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, tool)); err == nil {
			return path
		}
	}
	path, err := exec.LookPath(tool)
	if err != nil {
		missing(t, fmt.Sprintf("there is no %s on this machine: apt-get install %s", tool, debian))
	}
	return path
}

// missing skips the test for want of something, or fails it on CI.
func missing(t *testing.T, what string) {
	t.Helper()
	what = "THIS FAULT IS NOT TESTED: " + what
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	fmt.Fprintln(os.Stderr, t.Name()+": "+what)
	t.Skip(what)
}

// freePort is a port that nobody listens on at this moment.
func (l *lab) freePort() int {
	l.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		l.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nobody was listening yet
	return listener.Addr().(*net.TCPAddr).Port
}

func at(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
