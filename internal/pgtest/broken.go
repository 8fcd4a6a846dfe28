package pgtest

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Broken is a pool on which a statement is run as by a program with a mistake in
// it: with an argument that can't be sent.
type Broken struct {
	*pgxpool.Pool
	// Attempts is how often the statement was run so.
	Attempts atomic.Int64
	repaired atomic.Bool
	text     string
}

// Broken makes a pool on which the statements that contain text are broken. They must
// have parameters.
func (db *DB) Broken(t testing.TB, text string) *Broken {
	t.Helper()
	b := &Broken{text: text}
	config := db.Pool.Config()
	config.ConnConfig.Tracer = b
	var err error
	if b.Pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(b.Close)
	return b
}

// Repair makes the statement work from now on.
func (b *Broken) Repair() { b.repaired.Store(true) }

// TraceQueryStart implements pgx.QueryTracer.
func (b *Broken) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	b.spoil(data.SQL, data.Args)
	return ctx
}

// TraceBatchStart implements pgx.BatchTracer.
func (b *Broken) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	for _, query := range data.Batch.QueuedQueries {
		b.spoil(query.SQL, query.Arguments)
	}
	return ctx
}

// spoil replaces the last argument where the statement is one of the broken ones.
func (b *Broken) spoil(sql string, arguments []any) {
	if len(arguments) == 0 || b.repaired.Load() || !strings.Contains(sql, b.text) {
		return
	}
	b.Attempts.Add(1)
	last := &arguments[len(arguments)-1]
	if named, ok := (*last).(pgx.StrictNamedArgs); ok {
		broken := maps.Clone(named)
		broken["mistake"] = 1
		*last = broken
		return
	}
	*last = struct{}{} // of no type that PostgreSQL has
}

// TraceBatchQuery implements pgx.BatchTracer.
func (*Broken) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements pgx.BatchTracer.
func (*Broken) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// TraceQueryEnd implements pgx.QueryTracer.
func (*Broken) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// Log is what was logged as a warning or an error, as text. The zero value is empty.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Logger makes a logger that writes to l.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// Write implements io.Writer.
func (l *Log) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

// String returns everything that was logged.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
