package main

import (
	"bytes"
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

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"contactmirror": main})
}

// TestScript runs the acceptance scripts: the program as a user calls it.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUpScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"receiver": startReceiver,
		},
	})
}

// setUpScript gives scripts the sample deliveries and an address where nobody
// listens.
func setUpScript(env *testscript.Env) error {
	samples, err := filepath.Abs(filepath.Join("..", "..", "testdata", "deliveries"))
	if err != nil {
		return err
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	env.Setenv("DELIVERIES", samples)
	env.Setenv("NOBODY", nobody.Addr().String())
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
