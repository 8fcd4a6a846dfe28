// Package pg is what the packages above need of PostgreSQL: a pool, typed
// statements, and a judgement of errors.
//
// It is the only package that knows SQLSTATEs. Callers ask what they may do
// about an error, not which one it is: [DataFault] says that the rows
// themselves were refused, [NumberTaken] that a sequence is behind its table,
// [Transient] that the same call may succeed if made again. It holds no statement and knows no table.
package pg

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// connectTimeout bounds one attempt to connect where the URL does not say: a
// host that drops packets is otherwise waited for until the kernel gives up.
const connectTimeout = 5 * time.Second

// Open makes a pool of at least conns connections for the database at url. It
// connects when first used, so an unreachable server is not an error here.
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
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		useFastArrays(conn)
		return nil
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
	return pgx.CollectRows(rows, pgx.RowToStructByName[Row])
}

// Column is the text of one statement whose rows have a single column.
type Column[T any] string

// All runs c with args and returns its column.
func (c Column[T]) All(ctx context.Context, db DB, args pgx.StrictNamedArgs) ([]T, error) {
	rows, _ := db.Query(ctx, string(c), args)
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

// One runs c with args and returns the value of its only row.
func (c Column[T]) One(ctx context.Context, db DB, args pgx.StrictNamedArgs) (T, error) {
	rows, _ := db.Query(ctx, string(c), args)
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
}

// OneAnew is One with a plan of its own, for the tables as they are now. A plan
// that a connection keeps may be one for tables that were empty when it was made.
func (c Column[T]) OneAnew(ctx context.Context, db DB, args pgx.StrictNamedArgs) (T, error) {
	rows, _ := db.Query(ctx, string(c), pgx.QueryExecModeExec, args)
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
}

// Command is the text of one statement that returns no rows.
type Command string

// Run runs c with args and returns how many rows it touched.
func (c Command) Run(ctx context.Context, db DB, args pgx.StrictNamedArgs) (int64, error) {
	tag, err := db.Exec(ctx, string(c), args)
	return tag.RowsAffected(), err
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

// Touched is for a statement of a batch that is to touch n rows: any other number
// is an error, for somebody else has written them meanwhile.
func Touched(n int) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != int64(n) {
			return fmt.Errorf("%d rows written instead of %d: somebody else has written them meanwhile", tag.RowsAffected(), n)
		}
		return nil
	}
}

// DataFault reports whether the server refused the rows it was given: SQLSTATE
// class 22 (data exception) or 23 (integrity constraint violation), but for
// [NumberTaken]. Making the same call again can't help; the rows without the
// faulty one may pass.
func DataFault(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && len(e.Code) == 5 && (e.Code[:2] == "22" || e.Code[:2] == "23") && !NumberTaken(err)
}

// NumberTaken reports whether a row could not be written because a number that the
// server drew for it is taken: a sequence is behind its table, and no row is at
// fault. Such numbers are the tables' primary keys, which are named as PostgreSQL
// names them; what makes two deliveries the same event is no primary key.
func NumberTaken(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23505" && strings.HasSuffix(e.ConstraintName, "_pkey")
}

// Transient reports whether the same call may succeed if simply made again. A
// connection that broke may have committed, so the call must be one that is
// harmless to repeat.
func Transient(err error) bool {
	if err == nil {
		return false
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok { // nothing the server said: the network, a time limit, a closed connection
		return true
	}
	if len(e.Code) != 5 {
		return false
	}
	switch e.Code[:2] {
	case "08", "40", "53", "58": // connection; deadlock or serialization; out of resources; server's I/O
		return true
	}
	switch e.Code {
	case "55P03", "57P01", "57P02", "57P03", "57014", "25006": // locked; stopping or starting; cancelled; read-only after a demotion
		return true
	}
	return false
}

// LockTimeout reports whether err is that a lock was not to be had in the time
// that the statement was given for it.
func LockTimeout(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "55P03"
}

// Blocked reports whether the server took the transaction back because others
// were in its way: a deadlock, a serialization failure, or a lock not had in
// time. All of it can be done again.
func Blocked(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40P01" || e.Code == "40001" || e.Code == "55P03")
}

// Explain words err for a person: what the server said, with its hint. The
// server's detail is left out, for it quotes rows.
func Explain(err error) string {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err.Error()
	}
	text := fmt.Sprintf("%s (SQLSTATE %s)", e.Message, e.Code)
	switch {
	case e.Hint != "":
		text += ", hint: " + e.Hint
	case e.Code == "26000" || e.Code == "42P05": // prepared statement unknown, or known already
		text += ", hint: a pooler in transaction mode needs default_query_exec_mode=exec in the database URL"
	}
	return text
}
