//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
)

// postmaster is the server's main process, be it our child or not.
type postmaster interface {
	// signal sends sig, unless the process has ended.
	signal(sig syscall.Signal)
	// wait returns nil when the process has ended, or the context's error.
	wait(ctx context.Context) error
}

// child is a postmaster that we started.
type child struct {
	process *os.Process
	ended   chan struct{}
	told    atomic.Bool // to end
}

func (c *child) signal(sig syscall.Signal) {
	c.told.Store(true)
	_ = c.process.Signal(sig) // fails when the process has ended
}

func (c *child) wait(ctx context.Context) error {
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// launch starts the server at port and returns when it answers. Where it ends
// instead, the error holds what it had to say.
func (c cluster) launch(ctx context.Context, port int, o Options) (*child, error) {
	log, err := os.OpenFile(c.log(), os.O_CREATE|os.O_APPEND|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the server has its own
	start, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	// Not ctx: the server outlives the start.
	cmd := c.account.command(context.Background(), filepath.Join(c.binaries.dir, "postgres"), c.arguments(port, o)...)
	cmd.Stdout, cmd.Stderr = log, log
	if o.DieWithParent {
		dieWithParent(cmd.SysProcAttr)
	}
	p, err := own(cmd, o.Log)
	if err != nil {
		return nil, err
	}
	if err := c.await(ctx, p, port); err != nil {
		p.signal(syscall.SIGQUIT)
		<-p.ended
		text := tail(log, start)
		if strings.Contains(text, "pre-existing shared memory block") {
			err = errRemains
		}
		return nil, fmt.Errorf("%w; its log %s ends:\n%s", err, c.log(), text)
	}
	return p, nil
}

// arguments are the server's. Durability is left to PostgreSQL's own defaults,
// unless o.Parameters say otherwise.
func (c cluster) arguments(port int, o Options) []string {
	args := []string{
		"-D", c.data(),
		"-c", "listen_addresses=127.0.0.1",
		"-c", "port=" + strconv.Itoa(port),
		"-c", "unix_socket_directories=",
		"-c", "wal_level=logical",
		"-c", "logging_collector=off",
		"-c", "log_destination=stderr",
		"-c", "cluster_name=contactmirror",
	}
	for _, name := range slices.Sorted(maps.Keys(o.Parameters)) {
		args = append(args, "-c", name+"="+o.Parameters[name])
	}
	return args
}

// own starts cmd and waits for its end on one thread of its own: the kernel takes
// the end of the thread that forked for the end of the parent.
func own(cmd *exec.Cmd, log *slog.Logger) (*child, error) {
	c := &child{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.ended)
		err := cmd.Start()
		c.process = cmd.Process
		started <- err
		if err != nil {
			return
		}
		if err := cmd.Wait(); !c.told.Load() {
			log.Error("PostgreSQL has ended by itself", "state", cmd.ProcessState.String(), "error", err)
		}
	}()
	return c, <-started
}

var (
	errEnded   = errors.New("PostgreSQL ended at once")
	errRemains = errors.New("processes of an earlier PostgreSQL are still at work in the cluster")
)

// await returns nil when the server of p answers at port. It takes as long as a
// recovery takes, but ends with the process.
func (c cluster) await(ctx context.Context, p *child, port int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.ended:
			cancel(errEnded)
		case <-ctx.Done():
		}
	}()
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		return struct{}{}, c.ask(ctx, p.process.Pid, port)
	}, untilDone()...)
	return err
}

// ask logs in at port. The error is permanent where the postmaster pid had said
// that it is ready before it was asked: if it still refuses us, waiting is no
// help.
func (c cluster) ask(ctx context.Context, pid, port int) error {
	ready := c.ready(pid)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url(port, "postgres"))
	if err == nil {
		return conn.Close(ctx)
	}
	if ready {
		return backoff.Permanent(err)
	}
	return err
}

// untilDone makes a retry soon at first, then four times a second, for as long
// as its context lives.
func untilDone() []backoff.RetryOption {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = 10*time.Millisecond, 250*time.Millisecond
	return []backoff.RetryOption{backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(0)}
}

// tail is the end of the log from start on.
func tail(log *os.File, start int64) string {
	const most = 4 << 10 // bytes
	if info, err := log.Stat(); err == nil {
		start = max(start, info.Size()-most)
	}
	text, err := io.ReadAll(io.NewSectionReader(log, start, most))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}
