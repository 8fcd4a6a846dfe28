//go:build unix

package localpg

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"contactmirror/internal/smallfile"
)

// grace is how long an orphan that is of no use gets for each way of ending it.
const grace = 5 * time.Second

// orphan is a postmaster that a killed process of ours left running.
type orphan struct {
	process *os.Process
	data    string
	port    int
}

// alive tells whether the process is still this cluster's postmaster: its number
// may have passed on to another program.
func (o *orphan) alive() bool {
	command := commandLine(o.process.Pid)
	program, _, _ := strings.Cut(command, " -D ")
	return strings.Contains(filepath.Base(program), "postgres") && strings.Contains(command, " -D "+o.data+" ")
}

func (o *orphan) signal(sig syscall.Signal) {
	if o.alive() {
		_ = o.process.Signal(sig) // fails when the process has ended
	}
}

func (o *orphan) wait(ctx context.Context) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if o.alive() {
			return struct{}{}, errRuns
		}
		return struct{}{}, nil
	}, untilDone()...)
	return err
}

var errRuns = errors.New("it still runs")

// adopt returns the postmaster that runs on the cluster already, and nil where
// none does or it doesn't answer: then it is out of the way.
func (c cluster) adopt(ctx context.Context, log *slog.Logger) (*orphan, error) {
	pid, port := c.pidFile()
	if pid <= 0 {
		return nil, nil
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil, err
	}
	o := &orphan{process, c.data(), port}
	if !o.alive() {
		return nil, c.forget(process)
	}
	if err = c.awaitOrphan(ctx, o); err == nil {
		log.InfoContext(ctx, "PostgreSQL was running already", "pid", pid, "port", port)
		return o, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	log.WarnContext(ctx, "the PostgreSQL that runs already is of no use: it is restarted", "pid", pid, "port", port, "reason", err)
	if err := o.end(ctx); err != nil {
		return nil, err
	}
	return nil, c.forget(process)
}

// awaitOrphan returns nil when o answers. It waits while o recovers or shuts
// down, but no longer than o lives.
func (c cluster) awaitOrphan(ctx context.Context, o *orphan) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if !o.alive() {
			return struct{}{}, backoff.Permanent(errors.New("it has ended"))
		}
		return struct{}{}, c.ask(ctx, o.process.Pid, o.port)
	}, untilDone()...)
	return err
}

// end makes o end, in the gentlest way that works.
func (o *orphan) end(ctx context.Context) error {
	var err error
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		o.signal(sig)
		patient, cancel := context.WithTimeout(ctx, grace)
		err = o.wait(patient)
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

// noProcess is a number that no process has.
const noProcess = math.MaxInt32

// forget gives the postmaster.pid of a server that is gone another number where
// its own is still taken: by another program, as after the restart of a container
// or machine, or by the server's corpse, for which nobody has waited. PostgreSQL
// takes any living process for a postmaster, and would not start. The rest of the
// file stays: by it PostgreSQL finds processes that outlived their postmaster.
func (c cluster) forget(process *os.Process) error {
	if err := process.Signal(syscall.Signal(0)); err != nil && !errors.Is(err, os.ErrPermission) {
		return nil // PostgreSQL itself sees that it is gone
	}
	lines := c.pidLines()
	if len(lines) == 0 || lines[0] != strconv.Itoa(process.Pid) {
		return nil
	}
	lines[0] = strconv.Itoa(noProcess)
	if err := replaceFile(c.pidPath(), strings.Join(lines, "\n")); err != nil {
		return err
	}
	return c.account.own(c.pidPath())
}

// pidFile is what postmaster.pid says of process and port; 0 where it says
// nothing, or speaks of another directory.
func (c cluster) pidFile() (pid, port int) {
	lines := c.pidLines()
	if len(lines) < 4 || lines[1] != c.data() {
		return 0, 0
	}
	pid, _ = strconv.Atoi(lines[0])
	port, _ = strconv.Atoi(lines[3])
	return pid, port
}

// ready tells whether the postmaster pid says of itself that it takes
// connections. One that was killed says so for ever.
func (c cluster) ready(pid int) bool {
	lines := c.pidLines()
	return len(lines) >= 8 && lines[0] == strconv.Itoa(pid) && strings.TrimSpace(lines[7]) == "ready"
}

func (c cluster) pidLines() []string {
	text, err := smallfile.Read(c.pidPath())
	if err != nil {
		return nil
	}
	return strings.Split(string(text), "\n")
}

func (c cluster) pidPath() string { return filepath.Join(c.data(), "postmaster.pid") }
