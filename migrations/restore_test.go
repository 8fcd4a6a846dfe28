package migrations_test

import (
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/verify"
)

// rowsAlone is how the rows of a mirror are dumped for a database that has been
// migrated already.
var rowsAlone = []string{"--format=custom", "--data-only", "--load-via-partition-root", "--exclude-table=goose_*"}

// emptied are the tables that migrations fill.
const emptied = `truncate sync_shards, log_horizon, accounting_seal`

// The rows of a mirror can be restored into a migrated database whose filled tables
// were emptied. Where they were not, nothing is applied or counted until that has
// been made up for.
func TestRestore_rowsAlone(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for day := range 9 {
		s.put("contact.changed", 1+day, `,"FieldValues":{"name":"`+strings.Repeat("x", 1+day)+`"}`, inbox.Accepted)
	}
	s.put("contact.merged", 10, "", inbox.Ignored)
	s.until(`select count(*)::text from contact_audit_log`, "9")
	s.until(`select min(least(event_seq, audit_seq))::text from log_horizon`, "9")
	if got := texts(t, s.Pool, `select seal_accounts(5)::text`); got[0] != "10" {
		t.Fatalf("%s rows were sealed, want 10", got[0])
	}
	dump := filepath.Join(t.TempDir(), "rows.dump")
	if out, err := exec.CommandContext(t.Context(), program(t, "pg_dump"), append(rowsAlone, "--file="+dump, "--dbname="+s.URL)...).CombinedOutput(); err != nil {
		t.Fatalf("pg_dump: %v: %s", err, out)
	}
	restore := func(db *pgtest.DB, options ...string) error {
		out, err := exec.CommandContext(t.Context(), program(t, "pg_restore"), append(options, "--data-only", "--dbname="+db.URL, dump)...).CombinedOutput()
		if err != nil {
			t.Logf("pg_restore: %v: %s", err, out)
		}
		return err
	}
	execute := func(db *pgtest.DB, statement string) {
		t.Helper()
		if _, err := db.Pool.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}

	late := pgtest.New(t)
	if err := restore(late); err == nil {
		t.Error("pg_restore says nothing of the rows that are there already")
	}
	refuses := func(missing string) {
		t.Helper()
		for _, statement := range []string{
			`select contactmirror_advance_sequences()`, // at the start
			`select seal_accounts(1000)`,
		} {
			_, err := late.Pool.Exec(t.Context(), statement)
			if err == nil || !strings.Contains(pg.Explain(err), "rows were restored, but not those of "+missing) || !strings.Contains(pg.Explain(err), "hint: ") || pg.Transient(err) || pg.DataFault(err) {
				t.Errorf("%s: %v, want an error that names %s", statement, err, missing)
			}
		}
	}
	refuses("sync_shards, accounting_seal")
	if _, err := late.Pool.Exec(t.Context(), `select * from advance_log_horizon()`); err == nil {
		t.Error("the horizon is moved")
	}
	worker := mirror.New(late.Pool, slog.New(slog.DiscardHandler), 1)
	in := inbox.New(late.Pool, worker.Wake)
	running := &service{DB: late, t: t, pool: late.Pool, inbox: in}
	running.run(in.Run)
	running.run(worker.Run)
	running.put("contact.changed", 20, `,"FieldValues":{"name":"later"}`, inbox.Accepted)
	for deadline := time.Now().Add(20 * time.Second); worker.Health().Err == nil; worker.Wake() {
		if time.Now().After(deadline) {
			t.Fatal("the worker goes on")
		}
	}
	if err := worker.Health().Err; !strings.Contains(pg.Explain(err), "rows were restored") {
		t.Errorf("the worker fails with %v", err)
	}
	execute(late, emptied)
	refuses("sync_shards, log_horizon, accounting_seal")
	if err := restore(late, "--table=sync_shards"); err != nil {
		t.Error(err)
	}
	refuses("log_horizon, accounting_seal")
	if err := restore(late, "--table=log_horizon", "--table=accounting_seal"); err != nil {
		t.Error(err)
	}
	verified(t, running, "11 1 10")

	early := pgtest.New(t)
	execute(early, emptied)
	if err := restore(early, "--single-transaction"); err != nil {
		t.Error(err)
	}
	verified(t, &service{DB: early, t: t, pool: early.Pool}, "10 1 9")
}

// verified waits for the account to be as wanted, and verifies everything.
func verified(t *testing.T, s *service, account string) {
	t.Helper()
	texts(t, s.Pool, `select sequence_name from contactmirror_advance_sequences()`)
	s.until(`select concat_ws(' ', accepted, ignored, applied) from event_accounting`, account)
	pool, err := pg.Open(s.URL, verify.Conns)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	report, err := verify.Run(t.Context(), pool, verify.Options{})
	if err != nil || report.Differences() > 0 {
		t.Errorf("%+v, %v", report, err)
	}
}
