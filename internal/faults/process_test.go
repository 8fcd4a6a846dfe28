//go:build linux

package faults

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that a test runs. It ends with the test at the latest,
// and with the test binary in whatever way that ends.
type process struct {
	lab   *lab
	name  string
	cmd   *exec.Cmd
	log   string // the file with its output
	ended chan struct{}
	took  time.Duration // from start to end; to be read once ended is closed
}

// launch starts cmd. Where the test binary dies first, the kernel sends cmd the
// signal orphaned.
func (l *lab) launch(name string, cmd *exec.Cmd, orphaned syscall.Signal) *process {
	l.Helper()
	p := &process{lab: l, name: name, cmd: cmd, log: filepath.Join(l.dir, name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		l.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = orphaned
	started := make(chan error)
	go func() {
		// The kernel takes the end of the thread that forked for the end of the parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		defer log.Close() //nolint:errcheck // the child has its own descriptor
		start := time.Now()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in ProcessState
			p.took = time.Since(start)
		}
	}()
	if err := <-started; err != nil {
		l.Fatalf("start %s: %v", name, err)
	}
	l.Cleanup(func() {
		p.end(syscall.SIGKILL)
		if l.Failed() {
			l.Logf("%s ended with %v; the end of its output:\n%s", p.name, p.cmd.ProcessState, p.tail())
		}
	})
	return p
}

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// signal fails silently where the process has ended.
func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// end sends sig and waits for the end.
func (p *process) end(sig syscall.Signal) {
	p.lab.Helper()
	p.signal(sig)
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.signal(syscall.SIGKILL)
		p.lab.Errorf("%s did not end within %s of %s", p.name, patience, sig)
		<-p.ended
	}
}

// wait returns the exit code, once the process has ended by itself.
func (p *process) wait(within time.Duration) int {
	p.lab.Helper()
	p.lab.await(p.name+" ends", within, func() bool { return !p.alive() })
	return p.cmd.ProcessState.ExitCode()
}

// output is all that the process, and those of its name before it, have printed.
func (p *process) output() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (p *process) tail() string {
	text := p.output()
	return text[max(0, len(text)-6000):]
}

// family is the process and all that it has started, by their ids.
func (p *process) family() []int {
	pids := []int{p.cmd.Process.Pid}
	for i := 0; i < len(pids); i++ {
		pid := strconv.Itoa(pids[i])
		children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
		if err != nil {
			continue // it has just ended
		}
		for field := range strings.FieldsSeq(string(children)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// signalAll sends sig to the whole family.
func (p *process) signalAll(sig syscall.Signal) {
	for _, pid := range p.family() {
		_ = syscall.Kill(pid, sig) // one that has just ended needs none
	}
}

// run runs a program to its end, which must be a good one.
func (l *lab) run(cmd *exec.Cmd) {
	l.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		l.Fatalf("%s: %v\n%s", cmd.Args, err, out)
	}
}

// command prepares a program that a test runs, with nothing of our environment
// that could change what it does.
func command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.Dir = "/"
	return cmd
}

// exitLine is the last line that a program printed, for messages.
func exitLine(out []byte) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return fmt.Sprintf("%q", lines[len(lines)-1])
}
