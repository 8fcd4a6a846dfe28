// Package pgtest gives each test a migrated database of its own, on a real
// PostgreSQL. Only _test files import it.
//
// The server is the one at TEST_DATABASE_URL, where databases may be made, or
// else a private one in a temporary directory, which lives as long as the test
// binary. Databases are clones of a template that is migrated once, so tests run
// in parallel and see real commits. When a test ends, its database must account
// for every accepted event. Nothing is ever skipped: without PostgreSQL the tests
// fail.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/pg"
)

// patience bounds what is done before and after a test.
const patience = time.Minute

// conns is the least size of a test's pool.
const conns = 4

// DB is a migrated database that belongs to one test.
type DB struct {
	// URL is how to connect, as a role that owns the database.
	URL string
	// Pool is opened as production opens its own, by [pg.Open]; a test that needs
	// another pool changes a copy of its Config. It connects when first used and is
	// closed after the test.
	Pool *pgxpool.Pool
}

// Main runs the tests, stops the servers that they used, and exits. Every
// package that uses databases calls it in TestMain.
func Main(m *testing.M) {
	code := m.Run()
	if err := stopServers(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// New makes a database for t and drops it in Cleanup, after having checked that
// every accepted event has exactly one outcome. The server does not sync: a
// power cut loses it, a killed client loses nothing.
func New(t testing.TB) *DB {
	t.Helper()
	return database(t, quick)
}

// Durable is [New] on a server that syncs each commit to disk, as in production:
// for benchmarks.
func Durable(t testing.TB) *DB {
	t.Helper()
	return database(t, durable)
}

func database(t testing.TB, find func() (template, error)) *DB {
	t.Helper()
	from, err := find()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	name := from.name + "_" + strings.ToLower(rand.Text()[:10])
	if err := from.clone(ctx, name); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	db := &DB{URL: inDatabase(from.server, name)}
	t.Cleanup(func() { db.discard(t, from.server, name) })
	if db.Pool, err = pg.Open(db.URL, conns); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return db
}

// discard checks the account of the events and drops the database.
func (db *DB) discard(t testing.TB, server, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	unbalanced, err := db.unbalanced(ctx)
	if err != nil {
		t.Errorf("pgtest: check event_accounting: %v", err)
	}
	for _, account := range unbalanced {
		t.Errorf("event_accounting does not add up: %v", account)
	}
	if err := execute(ctx, server, "drop database if exists "+name+" with (force)"); err != nil {
		t.Errorf("pgtest: drop the test's database: %v", err)
	}
	if db.Pool == nil {
		return
	}
	closed := make(chan struct{})
	go func() { db.Pool.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("pgtest: a connection of the test's pool was never given back")
	}
}

// unbalanced are the rows of event_accounting that do not add up. A test that
// migrated down has no such view, and nothing to account for.
func (db *DB) unbalanced(ctx context.Context) ([]map[string]any, error) {
	conn, err := pgx.Connect(ctx, db.URL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	var migrated bool
	if err := conn.QueryRow(ctx, "select to_regclass('event_accounting') is not null").Scan(&migrated); err != nil || !migrated {
		return nil, err
	}
	rows, _ := conn.Query(ctx, "select * from event_accounting where not balanced") // CollectRows returns its error
	return pgx.CollectRows(rows, pgx.RowToMap)
}

// execute runs statements that stand outside a transaction, on a connection of
// their own.
func execute(ctx context.Context, url string, statements ...string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// inDatabase is the URL of another database on the same server.
func inDatabase(server, name string) string {
	u, err := url.Parse(server)
	if err != nil {
		panic(err) // parsed before, when the server was found
	}
	u.Path = "/" + name
	return u.String()
}

// ResetSequences sets every sequence of the database back to its start, as they are
// after a data-only restore or an upgrade by logical replication, which copy rows
// only.
func (db *DB) ResetSequences(t testing.TB) {
	t.Helper()
	const reset = `select setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) from pg_sequences`
	if _, err := db.Pool.Exec(context.Background(), reset); err != nil {
		t.Fatalf("pgtest: reset the sequences: %v", err)
	}
}

// Unchained moves the heads of the audit chains so far ahead that rows of the log can
// be written without links, and returns db. verify finds that.
func (db *DB) Unchained(t testing.TB) *DB {
	t.Helper()
	const ahead = `update sync_shards set audit_count = 1000000000, audit_head = decode(repeat('00', 36), 'hex')`
	if _, err := db.Pool.Exec(context.Background(), ahead); err != nil {
		t.Fatalf("pgtest: move the heads of the chains: %v", err)
	}
	return db
}
