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
