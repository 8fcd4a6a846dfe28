package main

import (
	"context"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"
)

// roles names two roles that the script may make, $SERVICE and $REPORTING, and
// sets $SERVICE_URL and $REPORTING_URL to the database as seen by them. They
// are dropped when the script ends: roles belong to the whole server.
func nameRoles(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: roles")
	}
	owner, err := url.Parse(ts.Getenv("DATABASE_URL"))
	ts.Check(err)
	suffix := owner.Path[strings.LastIndex(owner.Path, "_"):]
	for _, kind := range []string{"service", "reporting"} {
		role := kind + suffix
		limited := *owner
		query := limited.Query()
		query.Set("role", role)
		limited.RawQuery = query.Encode()
		ts.Setenv(strings.ToUpper(kind), role)
		ts.Setenv(strings.ToUpper(kind)+"_URL", limited.String())
		ts.Defer(func() { dropRole(ts, owner.String(), role) })
	}
}

func dropRole(ts *testscript.TestScript, database, role string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, database)
	ts.Check(err)
	defer func() { _ = conn.Close(ctx) }()
	var exists bool
	ts.Check(conn.QueryRow(ctx, "select exists (select from pg_roles where rolname = $1)", role).Scan(&exists))
	if exists {
		_, err := conn.Exec(ctx, "drop owned by "+role+"; drop role "+role)
		ts.Check(err)
	}
}

// eventually REGEXP PROGRAM ARG… runs the program until its standard output
// matches. What a process says of itself in the database comes a while later.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually REGEXP PROGRAM ARG…")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	deadline := time.Now().Add(patience)
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if want.MatchString(ts.ReadFile("stdout")) {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no match for %s", args[0])
		}
	}
}
