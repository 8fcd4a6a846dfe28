//go:build unix

package localpg

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"contactmirror/internal/smallfile"
)

// elsewhere holds the clusters of root's data directories that PostgreSQL's user
// can't enter.
const elsewhere = "/var/lib/contactmirror"

// cluster is a PostgreSQL data directory and what it takes to run it.
type cluster struct {
	// home is ours: password, server log, and the cluster itself in data, which
	// alone belongs to the account. So nothing that we write as root is in a
	// directory where somebody else can plant a link.
	home     string
	account  account
	binaries binaries
	password string
}

func (c cluster) data() string { return filepath.Join(c.home, "data") }

func (c cluster) passwordFile() string { return filepath.Join(c.home, "password") }

func (c cluster) log() string { return filepath.Join(c.home, "server.log") }

func (c cluster) url(port int, database string) string {
	u := url.URL{
		Scheme: "postgres",
		User:   url.UserPassword(roleName, c.password),
		Host:   address(port),
		Path:   "/" + database,
	}
	return u.String()
}

// openCluster returns the cluster of the data directory dir, made if it is new.
func openCluster(ctx context.Context, dir string, o Options) (c cluster, err error) {
	near, far := filepath.Join(dir, clusterName), farHome(dir)
	if c.account, err = serverAccount(near, far); err != nil {
		return cluster{}, err
	}
	if c.home, err = c.account.place(ctx, near, far); err != nil {
		return cluster{}, err
	}
	major, err := clusterVersion(c.data())
	if err != nil {
		return cluster{}, err
	}
	if c.binaries, err = findBinaries(ctx, c.account, major, o); err != nil {
		return cluster{}, err
	}
	if major == 0 {
		if err := c.init(ctx, o); err != nil {
			return cluster{}, err
		}
	}
	password, err := smallfile.Read(c.passwordFile())
	if err != nil {
		return cluster{}, err
	}
	c.password = strings.TrimSpace(string(password))
	return c, nil
}

// place is the cluster's home: where there is one already, else near, in the data
// directory, if the account can enter that, else far, outside it.
func (a account) place(ctx context.Context, near, far string) (string, error) {
	entered, err := a.enters(ctx, filepath.Dir(near))
	if err != nil {
		return "", err
	}
	switch {
	case entered && (whole(near) || !whole(far)):
		return near, nil
	case whole(near):
		// An empty cluster elsewhere would look like the loss of everything.
		return "", fmt.Errorf("the user %s, as which PostgreSQL runs, can't enter %s any more: allow it on every directory above (chmod o+x)", a.name, near)
	}
	return far, nil
}

// whole tells whether home holds a cluster.
func whole(home string) bool {
	_, err := os.Stat(filepath.Join(home, "data", "PG_VERSION"))
	return err == nil
}

var unreadable = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// farHome names the home of dir's cluster outside it: readable, and no other's.
func farHome(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	base := unreadable.ReplaceAllString(filepath.Base(dir), "-")
	return filepath.Join(elsewhere, base+"-"+hex.EncodeToString(sum[:5]))
}

// clusterVersion is the major version that made the cluster; 0 if there is none.
func clusterVersion(data string) (int, error) {
	text, err := smallfile.Read(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("version of the cluster: %w", err)
	}
	return major, nil
}

// init makes the cluster beside its place and moves it there when it is whole: a
// start that was killed half way leaves nothing that the next one could mistake.
func (c cluster) init(ctx context.Context, o Options) error {
	if err := c.makeHome(); err != nil {
		return err
	}
	// initdb reads the password as the account, which may know it: it owns the data.
	if err := errors.Join(replaceFile(c.passwordFile(), rand.Text()+"\n"), c.account.own(c.passwordFile())); err != nil {
		return err
	}
	making := c.data() + ".making"
	if err := os.RemoveAll(making); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(making, 0o700), c.account.own(making)); err != nil {
		return err
	}
	args := []string{
		"--pgdata=" + making, "--username=" + roleName, "--pwfile=" + c.passwordFile(), "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--data-checksums",
	}
	if o.Parameters["fsync"] == "off" {
		args = append(args, "--no-sync")
	}
	out, err := c.account.command(ctx, filepath.Join(c.binaries.dir, "initdb"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w\n%s", errors.Join(err, ctx.Err()), out)
	}
	return errors.Join(os.Rename(making, c.data()), syncDir(c.home))
}

// makeHome makes c.home.
func (c cluster) makeHome() error {
	if filepath.Dir(c.home) == elsewhere {
		if err := makeDir(elsewhere); err != nil {
			return err
		}
	}
	return makeDir(c.home)
}
