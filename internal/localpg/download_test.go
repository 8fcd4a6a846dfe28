//go:build unix

package localpg

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// machine are this machine's own binaries.
func machine(t *testing.T) binaries {
	t.Helper()
	a, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	b, err := findBinaries(t.Context(), a, 0, Options{Repository: "http://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// downloading are options for a machine without PostgreSQL, near repository.
func downloading(t *testing.T, url string) Options {
	t.Helper()
	o := options(newDir(t))
	o.CacheDir = filepath.Join(newDir(t), "cache")
	o.Repository = url
	o.download = machine(t).major
	return o
}

func TestDownloadsOnce(t *testing.T) {
	t.Parallel()
	repo := newRepository(t, packed(t, machine(t)), nil)
	o := downloading(t, repo.url)
	s := startServer(t, o)
	keep(t, s.URL())
	if !strings.HasPrefix(s.cluster.binaries.dir, o.CacheDir) {
		t.Errorf("the server runs from %s, want the downloaded binaries in %s", s.cluster.binaries.dir, o.CacheDir)
	}
	stop(t, s)
	wantKept(t, startServer(t, o).URL())

	other := o
	other.Dir = newDir(t)
	startServer(t, other)
	if n := repo.jars.Load(); n != 1 {
		t.Errorf("%d downloads for three starts, want 1", n)
	}
	left, err := os.ReadDir(o.CacheDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 2 { // the binaries and the lock
		t.Errorf("the cache holds %v, want nothing but the binaries and a lock", left)
	}
}

func TestDownloadsOnceForTwo(t *testing.T) {
	t.Parallel()
	repo := newRepository(t, packed(t, machine(t)), nil)
	a := downloading(t, repo.url)
	b := a
	b.Dir = newDir(t)
	var wg sync.WaitGroup
	for _, o := range []Options{a, b} {
		wg.Go(func() {
			s, err := Start(t.Context(), o)
			if err != nil {
				t.Error(err)
				return
			}
			stop(t, s)
		})
	}
	wg.Wait()
	if n := repo.jars.Load(); n != 1 {
		t.Errorf("%d downloads for two starts at once, want 1", n)
	}
}

// onChecksum changes the answer to the request for the checksum.
func onChecksum(answer func(http.ResponseWriter)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		asked := strings.HasSuffix(r.URL.Path, ".sha256")
		if asked {
			answer(w)
		}
		return asked
	}
}

func TestDownloadFails(t *testing.T) {
	t.Parallel()
	good := packed(t, machine(t))
	tests := map[string]struct {
		jar    []byte
		change func(http.ResponseWriter, *http.Request) bool
		want   string
	}{
		"wrong checksum": {
			good,
			onChecksum(func(w http.ResponseWriter) { _, _ = w.Write([]byte(strings.Repeat("0", 64))) }),
			"checksums do not match",
		},
		"no checksum":  {good, onChecksum(func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }), "no checksum: 404"},
		"cut checksum": {good, onChecksum(func(w http.ResponseWriter) { w.Header().Set("Content-Length", "64"); _, _ = w.Write([]byte("00")) }), "unexpected EOF"},
		"not there":    {good, func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true }, "answers 404 Not Found"},
		"truncated": {
			good,
			func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, ".jar") {
					w.Header().Set("Content-Length", "400000")
					_, _ = w.Write(good[:200_000])
					return true
				}
				return false
			},
			"unexpected EOF",
		},
		"no archive":      {[]byte("<html>captive portal</html>"), nil, "not a valid zip file"},
		"damaged archive": {jar(t, xz([]byte("no tar"))), nil, "extract"},
		"empty archive":   {jar(t, xz(make([]byte, 1024))), nil, "no bin/postgres in the archive"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := downloading(t, newRepository(t, test.jar, test.change).url)
			_, err := Start(t.Context(), o)
			if err == nil {
				t.Fatal("Start returns no error")
			}
			for _, want := range []string{test.want, "install it, or set DATABASE_URL"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Start returns %q, want it to contain %q", err, want)
				}
			}
			// Nothing of it stands in the way of a download that works.
			o.Repository = newRepository(t, good, nil).url
			if _, err := findBinaries(t.Context(), account{}, 0, o); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRepositoryAway(t *testing.T) {
	t.Parallel()
	o := downloading(t, "http://"+address(1))
	_, err := Start(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Start returns %v, want that the connection was refused", err)
	}
}

func TestCancelledDownload(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	repo := newRepository(t, nil, func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("PK"))
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
		return true
	})
	if _, err := Start(ctx, downloading(t, repo.url)); !errors.Is(err, context.Canceled) {
		t.Errorf("Start returns %v, want context.Canceled", err)
	}
}
