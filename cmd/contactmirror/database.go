package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/localpg"
	"contactmirror/internal/pg"
	"contactmirror/migrations"
)

// This file alone decides which database a command uses: the one at
// DATABASE_URL, or else the embedded one in the data directory. serve starts
// that, and makes it the first time; other commands use it as it runs, start it
// for themselves where it doesn't, and never make one.

// urlFile is the file in the data directory that localpg keeps the embedded
// database's URL in, from the first start on.
const urlFile = "database-url"

// stopTime is how long the embedded server may take to shut down.
const stopTime = 4 * time.Second

// database is where a command finds its tables.
type database struct {
	url string
	// migrateURL is for the schema's owner.
	migrateURL string
	// dir holds the embedded database; empty for any other.
	dir string
}

// serveDatabase calls do with the database to serve from. An embedded one runs
// for as long as do does.
func serveDatabase(ctx context.Context, c *Config, call *invocation, log *slog.Logger, do func(database) error) error {
	if !c.Embedded() {
		return do(database{url: c.DatabaseURL, migrateURL: c.MigrateURL})
	}
	return runEmbedded(ctx, c, call, log, do)
}

// withDatabase calls do with the URL of the database that the settings mean.
func withDatabase(ctx context.Context, c *Config, call *invocation, do func(url string) error) error {
	if !c.Embedded() {
		return do(c.DatabaseURL)
	}
	_, err := os.Stat(filepath.Join(c.DataDir, urlFile))
	if errors.Is(err, fs.ErrNotExist) {
		return misused("no database: set DATABASE_URL, or run `contactmirror serve` once, which makes one in %s", c.DataDir)
	}
	if err != nil {
		return fmt.Errorf("look for the embedded database: %w", err)
	}
	if url, ok := localpg.Running(ctx, c.DataDir); ok {
		return do(url)
	}
	return runEmbedded(ctx, c, call, newLogger(c, call.stderr), func(d database) error { return do(d.url) })
}

// runEmbedded starts the embedded database, calls do, and stops it again,
// whatever has become of ctx by then.
func runEmbedded(ctx context.Context, c *Config, call *invocation, log *slog.Logger, do func(database) error) (err error) {
	server, err := localpg.Start(ctx, localpg.Options{Dir: c.DataDir, Log: log, Progress: call.stderr})
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		err = errors.Join(err, server.Stop(stopping))
	}()
	log.Debug("embedded PostgreSQL is running", "directory", server.Dir(), "adopted", server.Adopted())
	return do(database{url: server.URL(), migrateURL: server.URL(), dir: server.Dir()})
}

// withMirror calls do with a pool on a database that has this build's schema.
func withMirror(ctx context.Context, call *invocation, do func(pool *pgxpool.Pool) error) error {
	config, err := call.config()
	if err != nil {
		return err
	}
	return withWideMirror(ctx, config, call, 2, do)
}

// withWideMirror is [withMirror] with a pool of at least conns connections.
func withWideMirror(ctx context.Context, config *Config, call *invocation, conns int32, do func(pool *pgxpool.Pool) error) error {
	return withDatabase(ctx, config, call, func(url string) error {
		pool, err := pg.Open(url, conns)
		if err != nil {
			return err
		}
		defer pool.Close()
		if err := migrations.Check(ctx, pool); err != nil {
			return err
		}
		return do(pool)
	})
}
