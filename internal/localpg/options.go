// Package localpg runs a private PostgreSQL in the data directory: the embedded
// default, with which serve works on a machine that has only Go.
//
// [Start] finds installed binaries or downloads some once, makes the cluster on
// the first start, and takes over a server that a killed process left behind.
// The server listens on 127.0.0.1 alone and asks everyone for a password. What
// it guarantees is PostgreSQL's own durability: nothing here weakens fsync, and a
// cluster that exists is never replaced by an empty one.
//
// As root, PostgreSQL runs as the user postgres or nobody, since it refuses
// root. It never touches a server that is not its own.
package localpg

import (
	"errors"
	"io"
	"log/slog"
)

// ErrInUse is wrapped by [Start] while another process holds the data directory.
var ErrInUse = errors.New("the data directory is in use by another contactmirror")

// Names in the data directory.
const (
	clusterName = "postgres"      // the cluster's directory, unless it lies elsewhere
	lockName    = "postgres.lock" // locked while a Server lives
	urlName     = "database-url"  // holds Server.URL
)

// The role, which owns everything, and its database.
const (
	roleName     = "contactmirror"
	databaseName = "contactmirror"
)

// oldest is the oldest major version of PostgreSQL that this program works with.
const oldest = 15

// Options say where the server lives and how it runs. Only Dir is needed.
type Options struct {
	// Dir is the data directory; it is made where it doesn't exist. The cluster
	// lies below it, or elsewhere, where PostgreSQL's user can't enter it.
	Dir string
	// Log tells what takes long or is out of the ordinary; nil: nobody.
	Log *slog.Logger
	// Progress is where the bar of a download goes, if it is a terminal.
	Progress io.Writer
	// Parameters are further settings of the server.
	Parameters map[string]string
	// DieWithParent has the kernel stop the server when this process ends in
	// whatever way; on Linux only. For tests.
	DieWithParent bool
	// Repository is the base URL that binaries are downloaded from; empty is
	// the library's own.
	Repository string
	// CacheDir keeps downloaded binaries; empty is the user's cache directory,
	// or /var/cache/contactmirror for root.
	CacheDir string

	download int // for tests: the major version to download, whatever is installed
}
