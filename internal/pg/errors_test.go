package pg_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
)

// What pgx and PostgreSQL really return is an outage or is none.
func TestTransient(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	type row struct{ A int64 }
	ctx := t.Context()
	statement := func(text string) func() error {
		return func() error {
			_, err := pg.NewQuery[pg.NoArgs, row]("-- Asks for a.\n"+text).All(ctx, db.Pool, pg.NoArgs{})
			return err
		}
	}
	column := func(text string) func() error {
		return func() error {
			_, err := pg.NewColumn[pg.NoArgs, int64]("-- Asks for a.\n"+text).One(ctx, db.Pool, pg.NoArgs{})
			return err
		}
	}
	const title = `statement "Asks for a.": `
	for name, c := range map[string]struct {
		fail      func() error
		transient bool
		text      string
	}{
		"argument of no type": {text: title, fail: func() error {
			type args struct{ A struct{} }
			_, err := pg.NewQuery[args, row]("-- Asks for a.\nselect @a::bigint as a").All(ctx, db.Pool, args{})
			return err
		}},
		"column too many":      {fail: statement("select 1::bigint as a, 2 as b"), text: title},
		"column too few":       {fail: statement("select 1 as b"), text: title},
		"column of other type": {fail: statement("select 'a'::text as a"), text: title},
		"NULL for a number":    {fail: statement("select null::bigint as a"), text: title},
		"two rows for one":     {fail: column("select 1::bigint from generate_series(1, 2)"), text: title},
		"no row":               {fail: column("select 1::bigint where false"), text: "no rows in result set"},
		"syntax":               {fail: statement("select select"), text: title},
		"unknown column":       {fail: statement("select x as a from contacts"), text: title},
		"unknown table":        {fail: statement("select 1::bigint as a from nowhere"), text: title},
		"missing right": {text: title, fail: func() error {
			return pgx.BeginFunc(ctx, db.Pool, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "set local role pg_monitor"); err != nil {
					t.Error(err)
				}
				_, err := pg.NewColumn[pg.NoArgs, int64]("-- Asks for a.\nselect contact_id from contacts").All(ctx, tx, pg.NoArgs{})
				return err
			})
		}},
		"refused data": {fail: statement("select 1 / 0::bigint as a"), text: "ERROR: division by zero"},
		"targets too many": {text: title + "the statement has 1 columns, and 2 targets", fail: func() error {
			targets := func(r *row) []any { return []any{&r.A, &r.A} }
			return pg.NewStream[pg.NoArgs]("-- Asks for a.\nselect 1 where false", targets).Each(ctx, db.Pool, pg.NoArgs{}, nil)
		}},
		"statement timeout": {transient: true, fail: func() error {
			return pgx.BeginFunc(ctx, db.Pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "set local statement_timeout = '1ms'; select pg_sleep(60)")
				return err
			})
		}},
		"time limit": {transient: true, fail: func() error {
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			_, err := db.Pool.Exec(ctx, "select pg_sleep(60)")
			return err
		}},
		"terminated": {transient: true, fail: func() error {
			_, err := db.Pool.Exec(ctx, "select pg_terminate_backend(pg_backend_pid())")
			return err
		}},
		"closed": {transient: true, fail: func() error {
			conn, err := db.Pool.Acquire(ctx)
			if err != nil {
				return err
			}
			defer conn.Release()
			_ = conn.Conn().Close(ctx)
			_, err = conn.Exec(ctx, "select 1")
			return err
		}},
		"nobody listens":        {transient: true, fail: func() error { return ping(t, "127.0.0.1:1") }},
		"unknown host":          {transient: true, fail: func() error { return ping(t, "host.invalid:1") }},
		"ends while connecting": {transient: true, fail: func() error { return ping(t, broken(t, nil)) }},
		"no server":             {transient: true, fail: func() error { return ping(t, broken(t, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"))) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.fail()
			if err == nil {
				t.Fatal("no error")
			}
			if got := pg.Transient(err); got != c.transient {
				t.Errorf("Transient(%v) = %v", err, got)
			}
			if !strings.HasPrefix(err.Error(), c.text) {
				t.Errorf("%q, want %q first", err, c.text)
			}
			if c.text == title && !strings.HasPrefix(pg.Explain(err), title) {
				t.Errorf("Explain: %q, want %q first", pg.Explain(err), c.text)
			}
		})
	}
	if pg.Transient(nil) {
		t.Error("no error is transient")
	}
}

func ping(t *testing.T, address string) error {
	t.Helper()
	pool, err := pg.Open("postgres://mirror@"+address+"/mirror?sslmode=disable", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	return pool.Ping(t.Context())
}

// broken is the address of a server that answers anything with these bytes and hangs
// up.
func broken(t *testing.T, answer []byte) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadAtLeast(conn, make([]byte, 1024), 8)
			_, _ = conn.Write(answer)
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}

// An outage is logged when it begins, anything else every minute.
func TestRetryLog(t *testing.T) {
	t.Parallel()
	outage, fault := context.DeadlineExceeded, errors.New("missing argument")
	synctest.Test(t, func(t *testing.T) {
		var l pg.RetryLog
		for i, step := range []struct {
			err   error
			after time.Duration
			due   bool
		}{
			{nil, 0, false},
			{outage, 0, true},
			{outage, time.Hour, false},
			{fault, 0, true},
			{fault, 59 * time.Second, false},
			{outage, 0, false},
			{fault, 0, false},
			{fault, time.Second, true},
			{nil, 0, false},
			{fault, 0, true},
			{nil, 0, false},
			{outage, 0, true},
		} {
			time.Sleep(step.after)
			if got := l.Due(step.err); got != step.due {
				t.Errorf("step %d: Due(%v) = %v", i, step.err, got)
			}
		}
	})
}

// Class 54 is about a value, or about the server's transactions.
func TestDataFault_limits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   pgconn.PgError
		fault bool
	}{
		"transaction ids":              {pgconn.PgError{Code: "54000", File: "varsup.c", Routine: "GetNewTransactionId"}, false},
		"multixact ids":                {pgconn.PgError{Code: "54000", File: "multixact.c", Routine: "GetNewMultiXactId"}, false},
		"commands in a transaction":    {pgconn.PgError{Code: "54000", File: "xact.c", Routine: "CommandCounterIncrement"}, false},
		"index row, of a B-tree":       {pgconn.PgError{Code: "54000", File: "nbtutils.c", ConstraintName: "by_name"}, true},
		"index row, of any index":      {pgconn.PgError{Code: "54000", File: "indextuple.c"}, true},
		"row that does not fit a page": {pgconn.PgError{Code: "54000", File: "hio.c"}, true},
		"depth of a value":             {pgconn.PgError{Code: "54001", File: "postgres.c"}, true},
	} {
		if got := pg.DataFault(&c.err); got != c.fault {
			t.Errorf("%s: DataFault is %v", name, got)
		}
		if got := pg.Transient(&c.err); got == c.fault {
			t.Errorf("%s: Transient is %v", name, got)
		}
	}
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `create table long (value text); create index by_value on long (value)`); err != nil {
		t.Fatal(err)
	}
	for _, pages := range []int{150, 1000} { // beyond the limit of a B-tree, and of any index
		_, err := db.Pool.Exec(t.Context(), `insert into long select string_agg(sha256(n::text::bytea)::text, '') from generate_series(1, $1) n`, pages)
		if !pg.DataFault(err) {
			t.Errorf("%d hashes: %v is not the row's fault", pages, err)
		}
	}
}
