package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"contactmirror/internal/inbox"
	"contactmirror/internal/receive"
	"contactmirror/internal/signature"
)

// benchSecret signs what a bench posts.
const benchSecret = "bench"

// child is a receiver that a bench has started, as a process of its own, so
// that what it takes can be told from what the bench does.
type child struct {
	cmd     *exec.Cmd
	stderr  *bytes.Buffer
	webhook string
	metrics string
}

// start runs this program with args, and waits until it is ready.
func (b *benchRun) start(ctx context.Context, url string, args ...string) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	public, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	admin, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "data-")
	if err != nil {
		return nil, err
	}
	p := &child{cmd: exec.CommandContext(ctx, program, args...), stderr: &bytes.Buffer{}, webhook: "http://" + public + "/webhook", metrics: "http://" + admin + "/metrics"}
	for _, entry := range b.call.environ {
		if name, _, _ := strings.Cut(entry, "="); !strings.HasPrefix(name, prefix) && !strings.HasPrefix(name, "DATABASE_URL") {
			p.cmd.Env = append(p.cmd.Env, entry)
		}
	}
	p.cmd.Env = append(p.cmd.Env, "DATABASE_URL="+url, "CONTACTMIRROR_SECRET="+benchSecret, "CONTACTMIRROR_DATA_DIR="+filepath.Join(dir, "data"),
		"CONTACTMIRROR_LISTEN="+public, "CONTACTMIRROR_ADMIN_LISTEN="+admin, "CONTACTMIRROR_LOG_LEVEL=warn")
	p.cmd.Stderr = p.stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if err := p.ready(ctx, "http://"+public+"/readyz"); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// freeAddress is an address on loopback that nobody listens on now.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// readyPatience is how long a process may take to be ready.
const readyPatience = 30 * time.Second

func (p *child) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if answer, err := http.DefaultClient.Do(request); err == nil {
			if _ = answer.Body.Close(); answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not get ready: %w\n%s", p.cmd.Args[1], ctx.Err(), p.stderr)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends the process at once: nothing waits that is worth an orderly end.
func (p *child) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	_ = p.cmd.Wait() // killed
	return nil
}

// benchHandlerCmd is what a bench compares acknowledging with.
type benchHandlerCmd struct {
	ReceiveFlags
	DatabaseFlags
	AdminFlags
	LogFlags
}

// Run answers deliveries that it has verified and read, and keeps none.
func (benchHandlerCmd) Run(ctx context.Context, call *invocation) error {
	config, err := call.config()
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", config.Listen)
	if err != nil {
		return err
	}
	r := receive.New(receive.Config{
		Keyring: signature.NewKeyring(config.Secrets, config.TenantSecrets),
		Put:     func(context.Context, inbox.Delivery) (inbox.Result, error) { return inbox.Accepted, nil },
		Ready:   func(context.Context) receive.Readiness { return receive.Readiness{Ready: true} },
		Log:     slog.New(slog.DiscardHandler),
	})
	return r.Serve(ctx, listener, 0, time.Second)
}
