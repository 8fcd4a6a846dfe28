//go:build unix

package localpg

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

func TestStartFindsEverythingAgain(t *testing.T) {
	t.Parallel()
	o := options(filepath.Join(newDir(t), "data directory")) // made, blank and all
	first := startServer(t, o)
	keep(t, first.URL())
	stop(t, first)
	second := startServer(t, o)
	if second.URL() != first.URL() {
		t.Errorf("URL of the second start %s, want that of the first, %s", second.URL(), first.URL())
	}
	if second.Adopted() {
		t.Error("the second server claims to have run already")
	}
	wantKept(t, second.URL())
}

func TestURLFile(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	s := startServer(t, o)
	path := filepath.Join(o.Dir, "database-url")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(text)); got != s.URL() {
		t.Errorf("database-url holds %s, want %s", got, s.URL())
	}
	for _, path := range []string{path, s.cluster.passwordFile(), s.cluster.log()} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("mode of %s is %v, want -rw-------", path, info.Mode())
		}
	}
}

// The settings that others rely on, on a server that is given none.
func TestSettings(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Dir: newDir(t), DieWithParent: true})
	got := map[string]string{}
	for statement := range settings {
		got[statement] = query[string](t, s.URL(), statement)
	}
	if diff := cmp.Diff(settings, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

var settings = map[string]string{
	"show fsync":                   "on",
	"show synchronous_commit":      "on",
	"show full_page_writes":        "on",
	"show data_checksums":          "on",
	"show wal_level":               "logical",
	"show listen_addresses":        "127.0.0.1",
	"show unix_socket_directories": "",
	"show password_encryption":     "scram-sha-256",
	"show timezone":                "UTC",
	"select string_agg(distinct auth_method, ' ') from pg_hba_file_rules": "scram-sha-256",
	"select current_user || ' ' || usesuper from pg_user":                 "contactmirror true",
	"select current_database() || ' ' || datcollate || ' ' || datctype || ' ' || pg_encoding_to_char(encoding) from pg_database where datname = current_database()": "contactmirror C C UTF8",
}

func TestNobodyEntersWithoutPassword(t *testing.T) {
	t.Parallel()
	s := startServer(t, options(newDir(t)))
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []*url.Userinfo{url.User(roleName), url.UserPassword(roleName, "guess"), url.User("postgres")} {
		u.User = user
		if conn, err := pgx.Connect(t.Context(), u.String()); err == nil {
			t.Errorf("%s was let in", user)
			_ = conn.Close(t.Context())
		}
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	first := startServer(t, o)
	keep(t, first.URL())
	stop(t, first)
	l, err := listen(keptPort(o.Dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	second := startServer(t, o)
	if second.URL() == first.URL() {
		t.Errorf("the second server claims the port that another program has: %s", second.URL())
	}
	wantKept(t, second.URL())
}

func TestInUse(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	startServer(t, o)
	_, err := Start(t.Context(), o)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), o.Dir) {
		t.Errorf("a second Start returns %v, want ErrInUse naming %s", err, o.Dir)
	}
}

func TestOneOfManyStarts(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var servers []*Server
	for range 8 {
		wg.Go(func() {
			s, err := Start(t.Context(), o)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				servers = append(servers, s)
			} else if !errors.Is(err, ErrInUse) {
				t.Errorf("Start: %v, want ErrInUse", err)
			}
		})
	}
	wg.Wait()
	if len(servers) != 1 {
		t.Errorf("%d of 8 starts at once got a server, want 1", len(servers))
	}
	for _, s := range servers {
		stop(t, s)
	}
}

func TestRunning(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	if url, ok := Running(t.Context(), o.Dir); ok {
		t.Errorf("before the first start %s is running", url)
	}
	s := startServer(t, o)
	if url, ok := Running(t.Context(), o.Dir); !ok || url != s.URL() {
		t.Errorf("Running gives %q, %v beside a server, want %q", url, ok, s.URL())
	}
	stop(t, s)
	if url, ok := Running(t.Context(), o.Dir); ok {
		t.Errorf("after its stop %s is running", url)
	}
}

func TestBadSettingFailsAtOnce(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	bad := o
	bad.Parameters = map[string]string{"no_such_setting": "1"}
	_, err := Start(t.Context(), bad)
	if err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "no_such_setting"`) {
		t.Errorf("Start returns %v, want the server's own complaint", err)
	}
	startServer(t, o) // nothing is held or broken
}

// Only waiting for a server that is on its way makes sense.
func TestWrongPasswordFailsAtOnce(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	s := startServer(t, o)
	stop(t, s)
	if err := os.WriteFile(s.cluster.passwordFile(), []byte("guess\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "password authentication failed") {
		t.Errorf("Start returns %v, want that the password is wrong", err)
	}
}

func TestStopGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	s := startServer(t, o)
	keep(t, s.URL())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop returns %v, want context.Canceled", err)
	}
	wantKept(t, startServer(t, o).URL())
}

// A terminal's Ctrl-C is for us, not for the server.
func TestOwnProcessGroup(t *testing.T) {
	t.Parallel()
	s := startServer(t, options(newDir(t)))
	group, err := syscall.Getpgid(postmasterOf(t, s.Dir()))
	if err != nil {
		t.Fatal(err)
	}
	if group == syscall.Getpgrp() {
		t.Error("the server is in our process group")
	}
}
