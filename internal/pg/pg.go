// Package pg is what the packages above need of PostgreSQL: a pool, typed
// statements, and a judgement of errors.
//
// It is the only package that knows SQLSTATEs. Callers ask what they may do
// about an error, not which one it is: [DataFault] says that the rows
// themselves were refused, [NumberTaken] that a sequence is behind its table,
// [Transient] that the same call may succeed if made again. Any other error needs
// somebody to act. The package knows no table.
package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// DB is where a statement runs: a pool, a connection or a transaction.
type DB interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// ReadCommitted is for transactions that lock and then read, or read what others have
// committed since they began. The default of the database or the role may be another
// level, in which a statement sees what was committed before the first one. A single
// statement outside a transaction has that default: where it must be right in READ
// COMMITTED only, it is run by a Commit method.
var ReadCommitted = pgx.TxOptions{IsoLevel: pgx.ReadCommitted}

// connectTimeout bounds one attempt to connect where the URL does not say: a
// host that drops packets is otherwise waited for until the kernel gives up.
const connectTimeout = 5 * time.Second

// Open makes a pool of at least conns connections for the database at url. It
// connects when first used, so an unreachable server is not an error here. A session
// with other settings than the needed ones is refused with a [*SettingsError].
func Open(url string, conns int32) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	config.MaxConns = max(config.MaxConns, conns)
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "contactmirror"
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		useFastArrays(conn)
		return check(ctx, conn)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, fmt.Errorf("database pool: %w", err)
	}
	return pool, nil
}

// closeTime is how long [Close] waits.
const closeTime = time.Second

// Close closes pool, and leaves to the end of the process what takes too long:
// pgx gives a connection to a server that hangs 15 seconds to close.
func Close(pool *pgxpool.Pool) {
	closed := make(chan struct{})
	go func() { pool.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(closeTime):
	}
}

// Listen calls wake for each notification on channel, on a connection of its
// own, until ctx ends or the connection breaks. Behind a transaction pooler it
// hears nothing, which is no error.
func Listen(ctx context.Context, config *pgx.ConnConfig, channel string, wake func()) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		wake()
	}
}

// Query is the text of one statement whose rows decode into Row, by name and
// strictly: the row has Row's fields, no more and no fewer.
type Query[Row any] string

// All runs q with args and returns its rows.
func (q Query[Row]) All(ctx context.Context, db DB, args pgx.StrictNamedArgs) ([]Row, error) {
	rows, _ := db.Query(ctx, string(q), args) // CollectRows reports its error
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Row])
	return found, named(string(q), err)
}

// Commit runs q in a [ReadCommitted] transaction of its own, and returns its rows. It
// takes one round trip.
func (q Query[Row]) Commit(ctx context.Context, pool *pgxpool.Pool, args pgx.StrictNamedArgs) (found []Row, err error) {
	err = commit(ctx, pool, string(q), args, func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, pgx.RowToStructByName[Row])
		return err
	})
	return found, named(string(q), err)
}

// Column is the text of one statement whose rows have a single column.
type Column[T any] string

// All runs c with args and returns its column.
func (c Column[T]) All(ctx context.Context, db DB, args pgx.StrictNamedArgs) ([]T, error) {
	rows, _ := db.Query(ctx, string(c), args)
	found, err := pgx.CollectRows(rows, pgx.RowTo[T])
	return found, named(string(c), err)
}

// One runs c with args and returns the value of its only row.
func (c Column[T]) One(ctx context.Context, db DB, args pgx.StrictNamedArgs) (T, error) {
	rows, _ := db.Query(ctx, string(c), args)
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	return value, named(string(c), err)
}

// OneAnew is One with a plan of its own, for the tables as they are now. A plan
// that a connection keeps may be one for tables that were empty when it was made.
func (c Column[T]) OneAnew(ctx context.Context, db DB, args pgx.StrictNamedArgs) (T, error) {
	rows, _ := db.Query(ctx, string(c), pgx.QueryExecModeExec, args)
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	return value, named(string(c), err)
}

// Commit is as [Query.Commit].
func (c Column[T]) Commit(ctx context.Context, pool *pgxpool.Pool, args pgx.StrictNamedArgs) (found []T, err error) {
	err = commit(ctx, pool, string(c), args, func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, pgx.RowTo[T])
		return err
	})
	return found, named(string(c), err)
}

// CommitAnew is Commit with a plan of its own, as in [Column.OneAnew]. It returns
// the value of the only row.
func (c Column[T]) CommitAnew(ctx context.Context, pool *pgxpool.Pool, args pgx.StrictNamedArgs) (value T, err error) {
	err = commit(ctx, pool, string(c), args, func(rows pgx.Rows) (err error) {
		value, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
		return err
	}, "set local plan_cache_mode = force_custom_plan")
	return value, named(string(c), err)
}

// commit sends a transaction of one statement, after settings, all at once.
func commit(ctx context.Context, pool *pgxpool.Pool, text string, args pgx.StrictNamedArgs, read func(pgx.Rows) error, settings ...string) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var batch pgx.Batch
	batch.Queue("begin isolation level read committed")
	for _, setting := range settings {
		batch.Queue(setting)
	}
	batch.Queue(text, args).Query(read)
	batch.Queue("commit")
	err = conn.SendBatch(ctx, &batch).Close()
	// After an error the server skips the rest, the commit included.
	if err != nil && conn.Conn().PgConn().TxStatus() == 'E' {
		_, _ = conn.Exec(ctx, "rollback") // else Release closes the connection
	}
	return err
}

// Command is the text of one statement that returns no rows.
type Command string

// Commit is as [Query.Commit].
func (c Command) Commit(ctx context.Context, pool *pgxpool.Pool, args pgx.StrictNamedArgs) error {
	return named(string(c), commit(ctx, pool, string(c), args, func(rows pgx.Rows) error {
		rows.Close()
		return rows.Err()
	}))
}

// Run runs c with args and returns how many rows it touched.
func (c Command) Run(ctx context.Context, db DB, args pgx.StrictNamedArgs) (int64, error) {
	tag, err := db.Exec(ctx, string(c), args)
	return tag.RowsAffected(), named(string(c), err)
}

// ForEach scans each row into targets and calls do. Unlike pgx.ForEachRow it also
// fails where the columns are not as many as the targets and no row came, so that
// such a mistake does not wait for the first row.
func ForEach(rows pgx.Rows, targets []any, do func() error) error {
	if _, err := pgx.ForEachRow(rows, targets, do); err != nil {
		return err
	}
	if columns := len(rows.FieldDescriptions()); columns != len(targets) {
		return fmt.Errorf("the statement has %d columns, and %d targets", columns, len(targets))
	}
	return nil
}

// Scan runs query with args, and like [ForEach] scans each row into targets and
// calls do. An error of do is returned as it is.
func Scan(ctx context.Context, db DB, query string, args pgx.StrictNamedArgs, targets []any, do func() error) error {
	var stopped error
	rows, _ := db.Query(ctx, query, args) // ForEach reports its error
	err := ForEach(rows, targets, func() error {
		stopped = do()
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return named(query, err)
}
