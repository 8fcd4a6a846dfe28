package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"contactmirror/internal/signature"
)

// patience bounds what a script waits for.
const patience = time.Minute

// serving is a serve process in the background of a script.
type serving struct {
	command  *exec.Cmd
	webhook  chan string   // gets the address once it receives
	stopping chan struct{} // closed when it logs that it stops
	drained  chan struct{} // closed when its standard error has ended
}

type servingsKey struct{}

// servings are the script's processes, by name.
func servings(ts *testscript.TestScript) map[string]*serving {
	return ts.Value(servingsKey{}).(map[string]*serving)
}

// serve NAME ARG… starts `contactmirror serve ARG…`, waits until it receives,
// and sets CONTACTMIRROR_LISTEN to its address, so that send and healthcheck
// find it. Its log is the file NAME.
func startServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: serve NAME ARG…")
	}
	name := args[0]
	logged, err := os.Create(ts.MkAbs(name))
	ts.Check(err)
	args = append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args[1:]...)
	command := exec.CommandContext(context.Background(), filepath.Join(ts.Getenv("BIN"), "contactmirror"), args...)
	command.Dir, command.Env = ts.MkAbs("."), scriptEnv(ts)
	pipe, err := command.StderrPipe()
	ts.Check(err)
	ts.Check(command.Start())
	s := &serving{command, make(chan string, 1), make(chan struct{}), make(chan struct{})}
	servings(ts)[name] = s
	ts.Defer(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		<-s.drained
		_ = command.Wait()
	})
	go s.drain(pipe, logged)
	select {
	case found := <-s.webhook:
		u, err := url.Parse(found)
		ts.Check(err)
		ts.Setenv("CONTACTMIRROR_LISTEN", u.Host)
	case <-s.drained:
		ts.Fatalf("serve ended: %s", ts.ReadFile(name))
	case <-time.After(patience):
		ts.Fatalf("serve does not receive: %s", ts.ReadFile(name))
	}
}

// drain copies the process's log to a file, and heeds two lines of it.
func (s *serving) drain(from io.Reader, to io.WriteCloser) {
	defer close(s.drained)
	defer func() { _ = to.Close() }()
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		fmt.Fprintln(to, lines.Text())
		var line struct{ Msg, Webhook string }
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		switch line.Msg {
		case "receiving":
			s.webhook <- line.Webhook
		case "stopping":
			close(s.stopping)
		}
	}
}

// scriptEnv is the script's environment as far as the program looks at it.
func scriptEnv(ts *testscript.TestScript) []string {
	names := []string{"HOME", "PATH", "TMPDIR", "TZ"}
	for _, s := range settings {
		if s.name != "CONTACTMIRROR_LISTEN" {
			names = append(names, s.name, s.name+"_FILE")
		}
	}
	var env []string
	for _, name := range names {
		if value := ts.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// end NAME [TERM|INT|KILL|TWICE] ends a serve process, by TERM unless told
// otherwise. After TERM or INT it must exit 0 within ten seconds. TWICE sends a
// second TERM while the first is being heeded: it must exit 143 well before the
// time that requests under way are given.
func endServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: end NAME [TERM|INT|KILL|TWICE]")
	}
	s, how := servings(ts)[args[0]], append(args, "TERM")[1]
	signal := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "TWICE": syscall.SIGTERM}[how]
	ts.Check(s.command.Process.Signal(signal))
	begin, code, limit := time.Now(), 0, 10*time.Second
	switch how {
	case "KILL":
		code = -1
	case "TWICE":
		<-s.stopping
		ts.Check(s.command.Process.Signal(signal))
		code, limit = 128+int(signal), drainTime-time.Second
	}
	<-s.drained
	_ = s.command.Wait() // the exit code says more
	if got, took := s.command.ProcessState.ExitCode(), time.Since(begin); got != code || took > limit {
		ts.Fatalf("serve ended after %v with %d, want %d: %s", took, got, code, ts.ReadFile(args[0]))
	}
}

// hold begins a request that it never ends.
func holdRequest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: hold")
	}
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", ts.Getenv("CONTACTMIRROR_LISTEN"))
	ts.Check(err)
	ts.Defer(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "POST /webhook HTTP/1.1\r\nHost: here\r\nX-SuperOffice-Signature: %s\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n", signature.Sign("", nil))
	ts.Check(err)
	// The server asks for the body, so the request is under way.
	line, err := bufio.NewReader(conn).ReadString('\n')
	ts.Check(err)
	if line != "HTTP/1.1 100 Continue\r\n" {
		ts.Fatalf("got %q, want to be asked for the body", line)
	}
}

// applied waits until nothing is queued. The database has no way to tell of
// that, so it asks again and again.
func waitApplied(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: applied")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	database := ts.Getenv("DATABASE_URL")
	if database == "" {
		content, err := os.ReadFile(ts.MkAbs("contactmirror-data/database-url"))
		ts.Check(err)
		database = string(content[:len(content)-1])
	}
	conn, err := pgx.Connect(ctx, database)
	ts.Check(err)
	defer func() { _ = conn.Close(ctx) }()
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		var waiting int
		ts.Check(conn.QueryRow(ctx, "select count(*) from sync_queue").Scan(&waiting))
		if waiting == 0 {
			tick.Stop()
			return
		}
	}
}
