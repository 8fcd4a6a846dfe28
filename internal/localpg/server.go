//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
)

// Server is a running PostgreSQL with the role and the database of this
// program. It holds the data directory until [Server.Stop].
type Server struct {
	cluster    cluster
	postmaster postmaster
	url        string
	adopted    bool
	lock       *os.File
	stop       sync.Once
	stopped    error
}

// Start runs the PostgreSQL of o.Dir and returns when it answers. ctx bounds the
// start only, not the server's life. It wraps [ErrInUse] where another process
// holds the directory.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("localpg: start PostgreSQL for %s: %w", o.Dir, err)
	}
	return s, nil
}

func start(ctx context.Context, o Options) (_ *Server, err error) {
	dir, err := makeDataDir(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{}
	if s.lock, err = acquire(filepath.Join(dir, lockName)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.lock.Close())
		}
	}()
	if s.cluster, err = openCluster(ctx, dir, o); err != nil {
		return nil, err
	}
	if err = s.run(ctx, dir, o); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && !s.adopted {
			err = errors.Join(err, s.end(context.WithoutCancel(ctx)))
		}
	}()
	if err = s.ensureDatabase(ctx); err != nil {
		return nil, err
	}
	return s, replaceFile(filepath.Join(dir, urlName), s.url+"\n")
}

// run adopts the server that runs on the cluster, or starts one, at the port of
// the last start if that can be had.
func (s *Server) run(ctx context.Context, dir string, o Options) error {
	orphan, err := s.cluster.adopt(ctx, o.Log)
	if err != nil {
		return fmt.Errorf("take over the server that runs already: %w", err)
	}
	if orphan != nil {
		s.postmaster, s.adopted = orphan, true
		s.url = s.cluster.url(orphan.port, databaseName)
		return nil
	}
	port := keptPort(dir)
	s.postmaster, err = backoff.Retry(ctx, func() (*child, error) {
		if port == 0 || !free(port) {
			if port, err = anyPort(); err != nil {
				return nil, backoff.Permanent(err)
			}
		}
		p, err := s.cluster.launch(ctx, port, o)
		// Between its choice and its use a port may be taken by another program,
		// and processes of a killed server need a moment to go.
		if err != nil && free(port) && !errors.Is(err, errRemains) {
			err = backoff.Permanent(err)
		}
		return p, err
	}, append(untilDone(), backoff.WithMaxElapsedTime(grace))...)
	s.url = s.cluster.url(port, databaseName)
	return err
}

// URL is how to connect: the role, its password, and the database.
func (s *Server) URL() string { return s.url }

// Dir is the directory that holds the cluster and the server's log.
func (s *Server) Dir() string { return s.cluster.home }

// Adopted tells whether the server was running already.
func (s *Server) Adopted() bool { return s.adopted }

// Stop shuts the server down, an adopted one too, and waits for its end. Open
// connections are cut, what they committed is kept. When ctx ends first the
// server is told to leave at once, and recovers when next started. Calls after
// the first one return what that returned.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() {
		if err := errors.Join(s.end(ctx), s.lock.Close()); err != nil {
			s.stopped = fmt.Errorf("localpg: stop PostgreSQL in %s: %w", s.cluster.home, err)
		}
	})
	return s.stopped
}

func (s *Server) end(ctx context.Context) error {
	s.postmaster.signal(syscall.SIGINT)
	err := s.postmaster.wait(ctx)
	if err != nil {
		s.postmaster.signal(syscall.SIGQUIT)
	}
	return err
}

// ensureDatabase makes the database, unless it is there.
func (s *Server) ensureDatabase(ctx context.Context) (err error) {
	conn, err := pgx.Connect(ctx, inDatabase(s.url, "postgres"))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	var exists bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", databaseName).Scan(&exists); err != nil {
		return fmt.Errorf("look for the database: %w", err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "create database "+databaseName); err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	return nil
}

// Running returns the URL of the server of data directory dir if it answers. It
// takes no lock, so it works beside the process that holds the directory.
func Running(ctx context.Context, dir string) (string, bool) {
	u, err := readURL(dir)
	if err != nil {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, u)
	if err != nil {
		return "", false
	}
	return u, conn.Close(ctx) == nil
}
