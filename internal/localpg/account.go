//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// account is the user that PostgreSQL runs as.
type account struct {
	name string
	// credential is nil where that is our own user.
	credential *syscall.Credential
}

// serverAccount is our own user. Where that is root it is the owner of the
// cluster, if there is one in any of homes, else a user without rights.
func serverAccount(homes ...string) (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, home := range homes {
		info, err := os.Stat(filepath.Join(home, "data"))
		if err != nil {
			continue
		}
		if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 0 {
			return account{userName(owner.Uid), &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return account{}, fmt.Errorf("user %s: %w", name, err)
		}
		return account{name, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// as words the account, where it is not ourselves.
func (a account) as() string {
	if a.credential == nil {
		return ""
	}
	return " as user " + a.name
}

// own gives path to the account.
func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	return os.Lchown(path, int(a.credential.Uid), int(a.credential.Gid))
}

// enters tells whether the account can enter dir. The kernel decides: a child
// gets the account first and dir as its working directory then.
func (a account) enters(ctx context.Context, dir string) (bool, error) {
	if a.credential == nil {
		return true, nil
	}
	cmd := a.command(ctx, "/bin/sh", "-c", ":")
	cmd.Dir = dir
	err := cmd.Run()
	if errors.Is(err, os.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("run a program%s: %w", a.as(), err)
	}
	return true, nil
}

// command prepares a program of PostgreSQL's to run as the account: in a process
// group of its own, so that a terminal's Ctrl-C reaches only us, in a directory
// that everybody can enter, and without settings that the environment holds for
// clients.
func (a account) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "/"
	cmd.Env = environment(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: a.credential}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // the whole group
	return cmd
}

// environment is env without what would make a cluster differ from machine to
// machine: the server's language and zone, and libpq's variables.
func environment(env []string) []string {
	kept := []string{"LC_ALL=C", "TZ=UTC"}
	for _, setting := range env {
		name, _, _ := strings.Cut(setting, "=")
		if name == "LANG" || name == "TZ" || strings.HasPrefix(name, "LC_") || strings.HasPrefix(name, "PG") {
			continue
		}
		kept = append(kept, setting)
	}
	return kept
}

// makeDataDir makes dir where it is missing and returns its one true name.
func makeDataDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := makeDirIfMissing(dir); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// makeDirIfMissing leaves a directory that exists as it is.
func makeDirIfMissing(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return makeDir(dir)
}

// makeDir makes a directory of ours, with its parents, whatever the umask. As
// root, PostgreSQL's user may pass through it, but not look.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	return os.Chmod(dir, mode)
}
