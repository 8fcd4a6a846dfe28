// Package migrations holds the schema as goose migrations, embedded in the
// binary and usable unchanged by the stock goose command on this directory.
//
// A program of this module runs on exactly the schema version it was built
// for: [Check] says so before anything is read or written. Names are
// unqualified, so the connection's search_path decides where the tables lie.
// Up is safe when several processes start at once; it takes goose's lock,
// which works behind a transaction pooler too. Down drops tables, and so
// refuses while events are stored unless told otherwise.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// FS holds the migration files.
//
//go:embed *.sql
var FS embed.FS

// Version is the schema version that this build needs.
var Version = newest()

func newest() int64 {
	sources, err := FS.ReadDir(".")
	if err != nil || len(sources) == 0 {
		panic(fmt.Sprintf("migrations: embedded files: %v", err))
	}
	version, err := goose.NumericComponent(sources[len(sources)-1].Name())
	if err != nil {
		panic(err)
	}
	return version
}

// VersionError tells that the schema is not the one this build needs.
type VersionError struct {
	// Have is the version found; 0 is an empty database.
	Have, Want int64
}

func (e *VersionError) Error() string {
	if e.Have > e.Want {
		return fmt.Sprintf("the database has schema version %d, this build needs %d: run a newer contactmirror, or migrate down with the newer one", e.Have, e.Want)
	}
	return fmt.Sprintf("the database has schema version %d, this build needs %d: run contactmirror migrate up", e.Have, e.Want)
}

// ErrHoldsEvents is returned by [Down] where events are stored.
var ErrHoldsEvents = errors.New("the database holds events, which migrating down would destroy")

// Result is one migration as it was run.
type Result struct {
	Version   int64
	Name      string
	Direction string
}

// Status is one migration and whether it has been run.
type Status struct {
	Version   int64
	Name      string
	AppliedAt sql.NullTime
}

// Up brings the schema of the database at url to [Version], and repeats what
// [Grant] has done, for the tables that are new. On an error the migrations
// before the failed one stay; a migration that failed leaves nothing behind.
func Up(ctx context.Context, url string) ([]Result, error) {
	done, err := up(ctx, url)
	if err == nil {
		err = grantAgain(ctx, url)
	}
	return done, err
}

func up(ctx context.Context, url string) ([]Result, error) {
	return with(url, func(p *goose.Provider, db *sql.DB) ([]Result, error) {
		if err := advanceSequences(ctx, db); err != nil {
			return nil, err
		}
		done, err := p.Up(ctx)
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			done = partial.Applied
		}
		return results(done), err
	})
}

// advanceSequences moves sequences that are behind their tables, goose's own among
// them, where the schema can do that already.
func advanceSequences(ctx context.Context, db *sql.DB) error {
	var can bool
	if err := db.QueryRowContext(ctx, "select to_regprocedure('contactmirror_advance_sequences()') is not null").Scan(&can); err != nil || !can {
		return err
	}
	var err error
	for range advanceTries {
		if _, err = db.ExecContext(ctx, "select from contactmirror_advance_sequences()"); err == nil {
			return nil
		}
	}
	return fmt.Errorf("move sequences that are behind their tables: %w", err)
}

// advanceTries is how often that is tried: each try waits half a second for
// transactions that have drawn numbers.
const advanceTries = 10

// Down takes the schema back to version to; 0 drops everything. Unless
// destroyData is set it refuses with [ErrHoldsEvents] while events are stored.
func Down(ctx context.Context, url string, to int64, destroyData bool) ([]Result, error) {
	return with(url, func(p *goose.Provider, db *sql.DB) ([]Result, error) {
		if !destroyData {
			if err := holdsNoEvents(ctx, db); err != nil {
				return nil, err
			}
		}
		done, err := p.DownTo(ctx, to)
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			done = partial.Applied
		}
		return results(done), err
	})
}

func holdsNoEvents(ctx context.Context, db *sql.DB) error {
	for _, table := range []string{"webhook_events", "quarantined_deliveries"} {
		var exists, holds bool
		if err := db.QueryRowContext(ctx, "select to_regclass($1) is not null", table).Scan(&exists); err != nil {
			return err
		}
		if !exists {
			continue
		}
		if err := db.QueryRowContext(ctx, "select exists (select from "+table+")").Scan(&holds); err != nil {
			return err
		}
		if holds {
			return ErrHoldsEvents
		}
	}
	return nil
}

// List tells of every migration whether it has been run.
func List(ctx context.Context, url string) ([]Status, error) {
	return with(url, func(p *goose.Provider, _ *sql.DB) ([]Status, error) {
		all, err := p.Status(ctx)
		if err != nil {
			return nil, err
		}
		list := make([]Status, len(all))
		for i, s := range all {
			list[i] = Status{Version: s.Source.Version, Name: s.Source.Path}
			list[i].AppliedAt = sql.NullTime{Time: s.AppliedAt, Valid: s.State == goose.StateApplied}
		}
		return list, nil
	})
}

// Check returns a [*VersionError] unless the schema is exactly at [Version]. It
// only reads.
func Check(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) error {
	var exists bool
	if err := db.QueryRow(ctx, "select to_regclass('goose_db_version') is not null").Scan(&exists); err != nil {
		return fmt.Errorf("migrations: check the schema version: %w", err)
	}
	have := int64(0)
	if exists {
		// goose removes the row of a migration that it takes back.
		if err := db.QueryRow(ctx, "select coalesce(max(version_id), 0) from goose_db_version where is_applied").Scan(&have); err != nil {
			return fmt.Errorf("migrations: check the schema version: %w", err)
		}
	}
	if have != Version {
		return &VersionError{Have: have, Want: Version}
	}
	return nil
}

// with runs do on a goose provider for the database at url.
func with[T any](url string, do func(*goose.Provider, *sql.DB) (T, error)) (result T, err error) {
	config, err := pgxpool.ParseConfig(url) // takes pool_… parameters out, which a single connection refuses
	if err != nil {
		return result, fmt.Errorf("migrations: database URL: %w", err)
	}
	db := stdlib.OpenDB(*config.ConnConfig, stdlib.OptionAfterConnect(readCommitted))
	defer func() { err = errors.Join(err, db.Close()) }()
	locker, err := lock.NewPostgresTableLocker()
	if err != nil {
		return result, fmt.Errorf("migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, FS, goose.WithLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return result, fmt.Errorf("migrations: %w", err)
	}
	if result, err = do(p, db); err != nil {
		return result, fmt.Errorf("migrations: %w", err)
	}
	return result, nil
}

// readCommitted is the isolation of goose's transactions, whatever the default is: a
// migration that waits for a table's lock must see what was committed meanwhile.
func readCommitted(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "set default_transaction_isolation = 'read committed'")
	return err
}

func results(done []*goose.MigrationResult) []Result {
	list := make([]Result, len(done))
	for i, r := range done {
		list[i] = Result{Version: r.Source.Version, Name: r.Source.Path, Direction: r.Direction}
	}
	return list
}
