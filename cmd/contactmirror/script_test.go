package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"contactmirror/internal/pgtest"
)

// TestMain is the program where the test binary is called like it, and the
// tests otherwise. testscript.Main would do that too, but leaves no place for
// pgtest to stop its server.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "contactmirror" {
		main()
	}
	pgtest.Main(m)
}

// TestScript runs the acceptance scripts: the program as a user calls it.
func TestScript(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	// PostgreSQL's user has to enter what lies below, when root runs the tests.
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	bin := installProgram(t)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		WorkdirRoot:         root,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[servingsKey{}] = map[string]*serving{}
			env.Values[elsewhereKey{}] = new(*pgx.Conn)
			env.Setenv("BIN", bin)
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			return setUpScript(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"applied":  waitApplied,
			"scrape":   scrapeMetrics,
			"follow":   followChanges,
			"database": func(ts *testscript.TestScript, _ bool, _ []string) { ts.Setenv("DATABASE_URL", pgtest.New(t).URL) },
			"execute":  executeSQL,
			"change":   changeSchema,
			"transact": transact,
			"exits":    exits,
			"hold":     holdRequest,
			"receiver": startReceiver,
			"serve":    startServe,
			"end":      endServe,

			"roles":      nameRoles,
			"eventually": eventually,
		},
	})
}

// installProgram returns a directory that holds the test binary as
// contactmirror. It is a link that the kernel does not resolve, for the program
// asks for its own path.
func installProgram(t *testing.T) string {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	program := filepath.Join(bin, "contactmirror")
	if os.Link(self, program) == nil {
		return bin
	}
	content, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(program, content, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// setUpScript gives scripts the sample deliveries and an address where nobody
// listens.
func setUpScript(env *testscript.Env) error {
	samples, err := filepath.Abs(filepath.Join("..", "..", "testdata", "deliveries"))
	if err != nil {
		return err
	}
	nobody, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	env.Setenv("DELIVERIES", samples)
	env.Setenv("NOBODY", nobody.Addr().String())
	env.Setenv("TZ", "UTC")
	return nobody.Close()
}

// exits N PROGRAM ARG… runs the program and checks its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N PROGRAM ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code: got %d, want %d", got, want)
	}
}

// receiver STATUS… listens as $RECEIVER, answers with the statuses in turn, the
// last one from then on, and keeps each request in the file received/N. It
// stands for receivers that behave worse than ours.
func startReceiver(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: receiver STATUS…")
	}
	dir := ts.MkAbs("received")
	ts.Check(os.MkdirAll(dir, 0o755))
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(requests.Add(1))
		status, err := strconv.Atoi(args[min(n, len(args))-1])
		var kept bytes.Buffer
		err = errors.Join(err, r.Write(&kept), os.WriteFile(filepath.Join(dir, strconv.Itoa(n)), kept.Bytes(), 0o644))
		if err != nil {
			status = http.StatusNotImplemented
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"result":"said %d"}`, status)
	}))
	ts.Defer(server.Close)
	ts.Setenv("RECEIVER", server.Listener.Addr().String())
}
