package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"
)

// execute SQL runs a statement that changes exactly one row of the database, or
// the schema.
func executeSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: execute SQL")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, ts.Getenv("DATABASE_URL"))
	ts.Check(err)
	defer func() { _ = conn.Close(ctx) }()
	tag, err := conn.Exec(ctx, args[0])
	ts.Check(err)
	if changes := tag.Insert() || tag.Update() || tag.Delete(); changes && tag.RowsAffected() != 1 {
		ts.Fatalf("%s: changed %d rows, want 1", args[0], tag.RowsAffected())
	}
}

// elsewhereKey is the key of the connection that transact opens.
type elsewhereKey struct{}

// transact begin opens a transaction with an id in another database of the server, and
// transact end ends it. It halts the change feeds of all databases meanwhile.
func transact(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: transact begin|end")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn := ts.Value(elsewhereKey{}).(**pgx.Conn)
	if args[0] == "end" {
		ts.Check((*conn).Close(ctx))
		return
	}
	config, err := pgx.ParseConfig(ts.Getenv("DATABASE_URL"))
	ts.Check(err)
	config.Database = "postgres"
	opened, err := pgx.ConnectConfig(ctx, config)
	ts.Check(err)
	*conn = opened
	ts.Defer(func() { _ = opened.Close(context.Background()) })
	_, err = opened.Exec(ctx, "begin; select pg_current_xact_id()")
	ts.Check(err)
}

// change SQL runs a statement that changes the schema.
func changeSchema(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: change SQL")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, ts.Getenv("DATABASE_URL"))
	ts.Check(err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, args[0])
	ts.Check(err)
}
