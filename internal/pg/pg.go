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
	"github.com/jackc/pgx/v5/pgtype"
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
		readInUTC(conn)
		useFastArrays(conn)
		return check(ctx, conn)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, fmt.Errorf("database pool: %w", err)
	}
	return pool, nil
}

// readInUTC has conn read times in UTC, and not in the zone of this process: so they are
// written into JSON as PostgreSQL's functions write them.
func readInUTC(conn *pgx.Conn) {
	m := conn.TypeMap()
	element := &pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}}
	m.RegisterType(element)
	m.RegisterType(&pgtype.Type{Name: "_timestamptz", OID: pgtype.TimestamptzArrayOID, Codec: &pgtype.ArrayCodec{ElementType: element}})
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
