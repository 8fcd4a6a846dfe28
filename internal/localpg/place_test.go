//go:build unix

package localpg

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func isRoot() bool { return os.Geteuid() == 0 }

func TestHalfMadeCluster(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	for path, text := range map[string]string{
		"postgres/password":               "old",
		"postgres/data.making/PG_VERSION": "15\n",
		"postgres/data.making/base/1/112": "\x00",
	} {
		path = filepath.Join(o.Dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	startServer(t, o)
}

// A start that ends while initdb runs takes initdb with it.
func TestCancelledInit(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	a, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	c := cluster{home: filepath.Join(o.Dir, clusterName), account: a, binaries: binaries{dir: newDir(t)}}
	begun := filepath.Join(c.binaries.dir, "begun")
	if err := errors.Join(syscall.Mkfifo(begun, 0o600), a.own(begun)); err != nil {
		t.Fatal(err)
	}
	initdb := "#!/bin/sh\necho 15 >'" + c.data() + ".making/PG_VERSION'\necho >'" + begun + "'\nsleep 1000 & wait\n"
	if err := os.WriteFile(filepath.Join(c.binaries.dir, "initdb"), []byte(initdb), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.init(ctx, o) }()
	if _, err := os.ReadFile(begun); err != nil { // waits for initdb to write it
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("init returns %v, want context.Canceled", err)
	}
	if whole(c.home) {
		t.Error("a half-made cluster was put in place")
	}
	startServer(t, o)
}

// Root's home can't be entered by PostgreSQL's user: the cluster lies elsewhere.
// Other users are PostgreSQL's user themselves.
func TestDirectoryOfRootOnly(t *testing.T) {
	t.Parallel()
	private := newDir(t)
	if err := os.Chmod(private, 0o700); err != nil {
		t.Fatal(err)
	}
	o := options(filepath.Join(private, "mirror, data"))
	first := startServer(t, o)
	keep(t, first.URL())
	if isRoot() {
		t.Cleanup(func() { // before the temporary directory, after the servers
			if err := os.RemoveAll(first.Dir()); err != nil {
				t.Error(err)
			}
		})
		if !strings.HasPrefix(first.Dir(), "/var/lib/contactmirror/mirror-data-") {
			t.Errorf("the cluster lies in %s, want a directory named for the data directory in /var/lib/contactmirror", first.Dir())
		}
	} else if want := filepath.Join(o.Dir, clusterName); first.Dir() != want {
		t.Errorf("the cluster lies in %s, want %s", first.Dir(), want)
	}
	if text, err := readURL(o.Dir); err != nil || text != first.URL() {
		t.Errorf("database-url in the data directory holds %q (%v), want %q", text, err, first.URL())
	}
	stop(t, first)

	// It stays where it is, even when its user can enter the data directory.
	if err := os.Chmod(private, 0o711); err != nil {
		t.Fatal(err)
	}
	second, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if second.Dir() != first.Dir() {
		t.Errorf("the second start looks in %s, the first one in %s", second.Dir(), first.Dir())
	}
	wantKept(t, second.URL())
	stop(t, second)
}

func TestClusterOutOfReach(t *testing.T) {
	t.Parallel()
	parent := newDir(t)
	o := options(filepath.Join(parent, "data"))
	s := startServer(t, o)
	keep(t, s.URL())
	stop(t, s)
	if err := os.Chmod(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	if isRoot() {
		if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "can't enter "+s.Dir()) {
			t.Errorf("Start returns %v, want that %s can't be entered", err, s.Dir())
		}
		if err := os.Chmod(parent, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	wantKept(t, startServer(t, o).URL())
}

// A user postgres may appear after nobody has made the cluster.
func TestClusterKeepsItsUser(t *testing.T) {
	t.Parallel()
	o := options(newDir(t))
	s := startServer(t, o)
	keep(t, s.URL())
	stop(t, s)
	const somebody = 12345
	if isRoot() {
		err := filepath.Walk(s.cluster.data(), func(path string, _ os.FileInfo, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, somebody, somebody)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	again := startServer(t, o)
	wantKept(t, again.URL())
	if credential := again.cluster.account.credential; isRoot() && credential.Uid != somebody {
		t.Errorf("the server runs as user %d, want %d, who owns the cluster", credential.Uid, somebody)
	}
}

// What every test does as root, an ordinary user must be able to do too: in a
// directory of its own, from a working directory that it can't read.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	child := startChild(t, dir, func(cmd *exec.Cmd) {
		if !isRoot() {
			return
		}
		nobody, err := serverAccount() // initdb wants a user with a name
		if err != nil {
			t.Fatal(err)
		}
		if err := nobody.own(dir); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: nobody.credential}
	})
	keep(t, child.url)
	wantKept(t, child.url)
	_ = child.stdin.Close()
	if err := child.cmd.Wait(); err != nil {
		t.Errorf("the other process ended with %v", err)
	}
	if !whole(filepath.Join(dir, clusterName)) {
		t.Error("the cluster is not below the data directory")
	}
}
