package pgtest

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"contactmirror/internal/localpg"
)

// The servers of this test binary, each started when first asked for.
var (
	quick   = sync.OnceValues(func() (template, error) { return findTemplate(unsafe, memoryDir()) })
	durable = sync.OnceValues(func() (template, error) { return findTemplate(roomy, "") })
)

// roomy lets many tests connect at once.
var roomy = map[string]string{"max_connections": "300"}

// unsafe makes commits cheap; see [New].
var unsafe = with(roomy, map[string]string{
	"fsync":              "off",
	"synchronous_commit": "off",
	"full_page_writes":   "off",
	"shared_buffers":     "64MB",
	"max_wal_size":       "256MB", // it may lie in memory
})

func with(a, b map[string]string) map[string]string {
	c := maps.Clone(a)
	maps.Copy(c, b)
	return c
}

// started are the private servers to be stopped by Main, with their directories.
var started struct {
	sync.Mutex
	servers map[string]*localpg.Server
}

// findTemplate returns the migrated template on the server of TEST_DATABASE_URL,
// or on a private one with these settings below dir; empty is the temporary
// directory.
func findTemplate(settings map[string]string, dir string) (template, error) {
	server := os.Getenv("TEST_DATABASE_URL")
	if server == "" {
		var err error
		if server, err = startServer(settings, dir); err != nil {
			return template{}, err
		}
	}
	if u, err := url.Parse(server); err != nil || u.Host == "" && u.RawQuery == "" {
		return template{}, errors.New("TEST_DATABASE_URL is not of the form postgres://user:password@host/database")
	}
	return makeTemplate(server)
}

const dirPrefix = "contactmirror-pgtest-"

func startServer(settings map[string]string, parent string) (string, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	sweep(parent)
	dir, err := os.MkdirTemp(parent, dirPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return "", err
	}
	// As root, the server runs as a user that has to get in.
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience) // a download is slow
	defer cancel()
	server, err := localpg.Start(ctx, localpg.Options{Dir: dir, Parameters: settings, DieWithParent: true, Progress: os.Stderr})
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	started.Lock()
	defer started.Unlock()
	if started.servers == nil {
		started.servers = map[string]*localpg.Server{}
	}
	started.servers[dir] = server
	return server.URL(), nil
}

func stopServers() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	started.Lock()
	defer started.Unlock()
	var errs []error
	for dir, server := range started.servers {
		errs = append(errs, server.Stop(ctx), os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// sweep removes what test binaries that were killed have left in parent. Their
// servers have gone with them.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, dirPrefix+"*")) // the pattern is well formed
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err == nil && time.Since(info.ModTime()) > time.Hour && !alive(ownerOf(dir)) {
			_ = os.RemoveAll(dir) // or the next one does
		}
	}
}

// ownerOf is the process that made dir.
func ownerOf(dir string) int {
	pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
	n, _ := strconv.Atoi(pid)
	return n
}

func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	err = p.Signal(syscall.Signal(0))
	return err == nil || errors.Is(err, os.ErrPermission)
}
