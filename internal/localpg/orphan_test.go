//go:build unix

package localpg

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestAdoptsOrphan(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	child := startChild(t, o.Dir)
	keep(t, child.url)
	child.kill(t)
	s := startServer(t, o)
	if !s.Adopted() {
		t.Error("the server that ran on was not adopted")
	}
	if s.URL() != child.url {
		t.Errorf("URL %s, want that of the orphan, %s", s.URL(), child.url)
	}
	wantKept(t, s.URL())
	stop(t, s)
	if url, ok := Running(t.Context(), o.Dir); ok {
		t.Errorf("after Stop the orphan %s runs", url)
	}
}

func TestRestartsAfterCrash(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	child := startChild(t, o.Dir)
	keep(t, child.url)
	pid := postmasterOf(t, filepath.Join(o.Dir, clusterName))
	child.kill(t)
	signalPID(t, pid, syscall.SIGKILL)
	s := startServer(t, o)
	if s.Adopted() {
		t.Error("a dead server was adopted")
	}
	wantKept(t, s.URL())
}

// As a kill during a shutdown leaves it.
func TestRestartsOrphanThatEnds(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	child := startChild(t, o.Dir)
	keep(t, child.url)
	pid := postmasterOf(t, filepath.Join(o.Dir, clusterName))
	child.kill(t)
	signalPID(t, pid, syscall.SIGINT)
	wantKept(t, startServer(t, o).URL())
}

func TestRestartsOrphanThatHangs(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	child := startChild(t, o.Dir)
	keep(t, child.url)
	pid := postmasterOf(t, filepath.Join(o.Dir, clusterName))
	child.kill(t)
	signalPID(t, pid, syscall.SIGSTOP)
	s := startServer(t, o)
	if s.Adopted() {
		t.Error("a server that does not answer was adopted")
	}
	wantKept(t, s.URL())
}

// After the restart of a container the number of the old postmaster is likely to
// be that of another program, which must come to no harm.
func TestStalePIDFile(t *testing.T) {
	t.Parallel()
	bystander := exec.CommandContext(t.Context(), "/bin/sh", "-c", "read line")
	stdin, err := bystander.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	o := options(newDir(t))
	s := startServer(t, o)
	keep(t, s.URL())
	stop(t, s)
	path := filepath.Join(s.cluster.data(), "postmaster.pid")
	stale := fmt.Sprintf("%d\n%s\n1700000000\n%d\n\n127.0.0.1\n  123456     1\nready   \n", bystander.Process.Pid, s.cluster.data(), keptPort(o.Dir))
	if err := os.WriteFile(path, []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.cluster.account.own(path); err != nil {
		t.Fatal(err)
	}
	again := startServer(t, o)
	if again.Adopted() {
		t.Error("a program that is no server was adopted")
	}
	wantKept(t, again.URL())
	_ = stdin.Close()
	if err := bystander.Wait(); err == nil || strings.Contains(err.Error(), "signal") {
		t.Errorf("the bystander ended with %v, want the exit code of a read at the end of input", err)
	}
}

// On Linux a killed test binary leaves no server behind.
func TestDieWithParent(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	child := startChild(t, o.Dir, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "LOCALPG_TEST_CHILD_DIES=1") })
	pid := postmasterOf(t, filepath.Join(o.Dir, clusterName))
	child.kill(t)
	if runtime.GOOS == "linux" {
		eventually(t, "the server's end", func() bool { return commandLine(pid) == "" })
	}
	stop(t, startServer(t, o))
}
