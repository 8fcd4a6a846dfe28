package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

// CopyLog measures how long PostgreSQL itself takes to COPY the rows of
// contact_audit_log, all of them in one transaction, into an empty table that
// has the same columns and indexes: what a writer of this log could reach at
// best on one connection. It returns how many rows there were.
func CopyLog(ctx context.Context, url string) (rows int64, took time.Duration, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("bench: copy the log: %w", err)
		}
	}()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	file, err := os.CreateTemp("", "contactmirror-bench-*.copy")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _, _ = file.Close(), os.Remove(file.Name()) }()
	if _, err := conn.PgConn().CopyTo(ctx, file, "copy contact_audit_log to stdout (format binary)"); err != nil {
		return 0, 0, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, 0, err
	}
	if _, err := conn.Exec(ctx, "create table copied_log (like contact_audit_log including all)"); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	tag, err := conn.PgConn().CopyFrom(ctx, file, "copy copied_log from stdin (format binary)")
	if err != nil {
		return 0, 0, err
	}
	took = time.Since(began)
	_, err = conn.Exec(ctx, "drop table copied_log")
	return tag.RowsAffected(), took, err
}
