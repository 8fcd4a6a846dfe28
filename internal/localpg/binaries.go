//go:build unix

package localpg

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// places hold the binaries of installed versions, beside PATH.
var places = []string{
	"/usr/lib/postgresql/*/bin",                       // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                // Red Hat, from postgresql.org
	"/usr/libexec/postgresql*",                        // Alpine
	"/opt/homebrew/opt/postgresql@*/bin",              // Homebrew on Apple silicon
	"/usr/local/opt/postgresql@*/bin",                 // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin", // Homebrew on Linux
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// binaries is a directory with initdb and postgres of one version.
type binaries struct {
	dir   string
	major int
}

// findBinaries returns binaries of version major, or any that will do where that
// is 0: installed ones, else downloaded ones.
func findBinaries(ctx context.Context, a account, major int, o Options) (binaries, error) {
	if o.download != 0 {
		return download(ctx, a, o.download, o)
	}
	for _, dir := range candidates(ctx) {
		found, err := a.version(ctx, dir)
		if err == nil && found >= oldest && (major == 0 || found == major) {
			return binaries{dir, found}, nil
		}
	}
	return download(ctx, a, major, o)
}

// candidates are the directories that may hold binaries, the likeliest first.
func candidates(ctx context.Context) []string {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, resolvedDir(path), filepath.Dir(path))
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, pattern := range places {
		matches, _ := filepath.Glob(pattern) // the patterns are well formed
		slices.SortFunc(matches, newestFirst)
		dirs = append(dirs, matches...)
	}
	return dirs
}

func resolvedDir(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	return filepath.Dir(path)
}

var number = regexp.MustCompile(`\d+`)

// newestFirst orders paths by the first number in them.
func newestFirst(a, b string) int {
	m, _ := strconv.Atoi(number.FindString(a))
	n, _ := strconv.Atoi(number.FindString(b))
	return n - m
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// version is the major version of the binaries in dir, as the account runs them.
func (a account) version(ctx context.Context, dir string) (int, error) {
	major := 0
	for _, name := range []string{"initdb", "postgres"} {
		path := filepath.Join(dir, name)
		out, err := a.command(ctx, path, "--version").CombinedOutput()
		if err != nil {
			return 0, fmt.Errorf("run %s%s: %w %s", path, a.as(), err, out)
		}
		line := versionLine.FindSubmatch(out)
		if line == nil {
			return 0, fmt.Errorf("run %s: it calls itself %q", path, out)
		}
		n, err := strconv.Atoi(string(line[1]))
		if err != nil || major != 0 && n != major {
			return 0, fmt.Errorf("run %s: version %d beside %d", path, n, major)
		}
		major = n
	}
	return major, nil
}
