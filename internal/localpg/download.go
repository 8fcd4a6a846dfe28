//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// downloads are the versions that the library offers and this program works with.
// 0 is the one for a new cluster.
var downloads = map[int]embeddedpostgres.PostgresVersion{
	0:  embeddedpostgres.V18,
	15: embeddedpostgres.V15,
	16: embeddedpostgres.V16,
	17: embeddedpostgres.V17,
	18: embeddedpostgres.V18,
}

// download returns binaries of version major from the cache, after having
// downloaded them if they are not there.
func download(ctx context.Context, a account, major int, o Options) (binaries, error) {
	wanted := fmt.Sprintf("PostgreSQL %d or later", oldest)
	if major != 0 {
		wanted = fmt.Sprintf("PostgreSQL %d, which made the cluster,", major)
	}
	b, err := cached(ctx, a, major, o)
	if err != nil {
		return binaries{}, fmt.Errorf("%s is not installed (not in PATH, nor where pg_config or packages put it), and %w; install it, or set DATABASE_URL to use another server", wanted, err)
	}
	return b, nil
}

func cached(ctx context.Context, a account, major int, o Options) (binaries, error) {
	version, ok := downloads[major]
	if !ok {
		return binaries{}, fmt.Errorf("there is no download of version %d", major)
	}
	cache, err := makeCache(o.CacheDir)
	if err != nil {
		return binaries{}, err
	}
	lock, err := acquireSoon(ctx, filepath.Join(cache, "lock"))
	if err != nil {
		return binaries{}, fmt.Errorf("wait for another download: %w", err)
	}
	defer func() { _ = lock.Close() }() // nothing was written to it
	dir := filepath.Join(cache, fmt.Sprintf("postgresql-%s-%s-%s", version, runtime.GOOS, runtime.GOARCH))
	if _, err := os.Stat(dir); err != nil {
		if err := fetchInto(ctx, dir, version, o); err != nil {
			return binaries{}, fmt.Errorf("the download of version %s went wrong: %w", version, err)
		}
	}
	bin := filepath.Join(dir, "bin")
	found, err := a.version(ctx, bin)
	return binaries{bin, found}, err
}

// makeCache makes the directory that keeps downloaded binaries and returns it.
func makeCache(dir string) (string, error) {
	if dir == "" {
		dir = "/var/cache/contactmirror"
		if os.Geteuid() != 0 {
			user, err := os.UserCacheDir()
			if err != nil {
				return "", fmt.Errorf("find a directory for the download: %w", err)
			}
			dir = filepath.Join(user, "contactmirror")
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, makeDirIfMissing(dir)
}

// fetchInto puts the binaries into dir, all of them or nothing.
func fetchInto(ctx context.Context, dir string, version embeddedpostgres.PostgresVersion, o Options) (err error) {
	staging := dir + ".making"
	if err := os.RemoveAll(staging); err != nil {
		return err
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(staging) }() // or the next download does
	log := o.Log
	if isTerminal(o.Progress) {
		log = slog.New(slog.DiscardHandler) // the bar tells
	}
	log.InfoContext(ctx, "downloading PostgreSQL, this once", "version", string(version), "into", dir)
	begin := time.Now()
	bytes, err := watch(ctx, string(version), o.Progress, func() error { return extract(staging, version, o.Repository) })
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "downloaded PostgreSQL", "version", string(version), "bytes", bytes, "seconds", int(time.Since(begin).Seconds()))
	extracted := filepath.Join(staging, "binaries")
	if _, err := os.Stat(filepath.Join(extracted, "bin", "postgres")); err != nil {
		return errors.New("there is no bin/postgres in the archive")
	}
	if err := openTree(extracted); err != nil {
		return err
	}
	return os.Rename(extracted, dir)
}

// extract has the library fetch the binaries and extract them below staging. It
// has no call for that alone, and its start refuses root; so the start is stopped
// at its next step, which clears a data directory that can't be one: its parent
// is a file.
func extract(staging string, version embeddedpostgres.PostgresVersion, repository string) error {
	file := filepath.Join(staging, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	config := embeddedpostgres.DefaultConfig().
		Version(version).
		Port(0). // it wants a free one
		Logger(io.Discard).
		CachePath(filepath.Join(staging, "archive")).
		RuntimePath(filepath.Join(staging, "runtime")).
		BinariesPath(filepath.Join(staging, "binaries")).
		DataPath(filepath.Join(file, "data"))
	if repository != "" {
		config = config.BinaryRepositoryURL(strings.TrimSuffix(repository, "/"))
	}
	err := embeddedpostgres.NewDatabase(config).Start()
	if err != nil && strings.HasPrefix(err.Error(), "unable to clean up data directory ") {
		return nil
	}
	return err
}

// openTree lets everybody read what is below dir and run what its owner can,
// whatever the umask was.
func openTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if entry.IsDir() || mode&0o100 != 0 {
			mode |= 0o111
		}
		return os.Chmod(path, mode)
	})
}
