package pgtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"contactmirror/migrations"

	"github.com/jackc/pgx/v5"
)

// template is a migrated database that nobody connects to.
type template struct {
	server string // URL of a database beside it
	name   string
}

// lockKey is the advisory lock, in the database of TEST_DATABASE_URL, under which
// test binaries that share the server make the template.
const lockKey = 0x636d7465737464 // "cmtestd"

// makeTemplate returns the template of the present migrations, made if missing.
// It gets its name when it is whole; what a killed test binary left is made anew.
func makeTemplate(server string) (_ template, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	hash, err := migrationsHash()
	if err != nil {
		return template{}, err
	}
	t := template{server, "contactmirror_test_" + hash}
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return template{}, fmt.Errorf("connect to the test server: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }() // gives the lock back
	if _, err := conn.Exec(ctx, "select pg_advisory_lock($1)", lockKey); err != nil {
		return template{}, fmt.Errorf("lock the template: %w", err)
	}
	var exists bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", t.name).Scan(&exists); err != nil {
		return template{}, fmt.Errorf("look for the template: %w", err)
	}
	if exists {
		return t, nil
	}
	return t, t.build(ctx)
}

// build migrates an empty database and gives it the template's name.
func (t template) build(ctx context.Context) error {
	making := t.name + "_making"
	err := execute(ctx, t.server,
		"drop database if exists "+making+" with (force)",
		"create database "+making+" template template0 encoding 'UTF8' locale 'C'")
	if err != nil {
		return fmt.Errorf("make the template: %w", err)
	}
	if _, err := migrations.Up(ctx, inDatabase(t.server, making)); err != nil {
		return fmt.Errorf("migrate the template: %w", err)
	}
	// A database that somebody is connected to can't be cloned.
	err = execute(ctx, t.server,
		"alter database "+making+" with allow_connections false",
		"alter database "+making+" rename to "+t.name)
	if err != nil {
		return fmt.Errorf("finish the template: %w", err)
	}
	return nil
}

// clone makes the database name from the template.
func (t template) clone(ctx context.Context, name string) error {
	err := execute(ctx, t.server, "create database "+name+" template "+t.name+" strategy file_copy")
	if err != nil {
		return fmt.Errorf("clone the template: %w", err)
	}
	return nil
}

// migrationsHash changes whenever a migration does.
func migrationsHash() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(migrations.FS, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(migrations.FS, path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the migrations: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}
