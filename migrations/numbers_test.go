package migrations_test

import (
	"strings"
	"testing"
	"time"

	"contactmirror/internal/pgtest"
	"contactmirror/migrations"
)

// insertEvent and insertFact write a row with the number that %s stands for.
const (
	insertEvent = `insert into webhook_events (event_seq, context_identifier, event, received_at, ignored, keyless_sha256)
		values (%s, 'Cust1', 'test', now(), true, sha256(random()::text::bytea))`
	insertFact = `insert into contact_audit_log (audit_seq, event_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks,
			received_at, recorded_at, changed_columns, unreadable_columns, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain)
		values (%s, 0, 'Cust1', 7, 'contact.changed', gen_random_uuid(), now(), 0, now(), now(), '{}', '{}', false, 'applied', 'upserted', 0, 'fetch', 1, decode(repeat('00', 36), 'hex'))`
	insertDuplicate = `insert into duplicate_deliveries (%s, received_at, body_sha256) values (%s, now(), '')`
	insertEntry     = `insert into quarantined_deliveries (%s, received_at, reason, body, body_sha256) values (%s, now(), 'test', '', sha256(random()::text::bytea))`
)

func fill(statement string, values ...string) string {
	for _, value := range values {
		statement = strings.Replace(statement, "%s", value, 1)
	}
	return statement
}

// The service draws numbers, and can't choose them: a huge one would be the last, and a
// free one below the horizon would be counted by nobody.
func TestService_canNotChooseNumbers(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t).Unchained(t)
	roles := migrations.Roles{Actor: "tester", Service: roleName(t, db, "service"), Create: true}
	grant(t, db.URL, roles)
	exec := func(statement string) {
		t.Helper()
		if _, err := db.Pool.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	const huge, greatest = "1000000000000", "9223372036854775807"
	refused := func(statement string) {
		t.Helper()
		if err := as(t, db, roles.Service, statement); !denied(err) {
			t.Errorf("%s: %v", statement, err)
		}
	}
	all := func() {
		t.Helper()
		for _, number := range []string{huge, greatest, "0", "-1", "3"} { // 3 is free
			refused(fill(insertEvent, number))
			refused(fill(insertFact, number+", null"))
			refused(fill(insertDuplicate, "duplicate_seq, event_seq", number+", 1"))
			refused(fill(insertEntry, "quarantine_seq", number))
			refused(`insert into operator_actions (action_seq, actor, action, detail) values (` + number + `, 'a', 'prune', '{}')`)
		}
		for _, number := range []string{huge, greatest} { // of an event: advance_sequences looks at these too
			refused(fill(insertFact, "nextval('contact_audit_log_audit_seq_seq'), "+number))
			refused(fill(insertDuplicate, "event_seq", number))
			refused(fill(insertEntry, "event_seq", number))
		}
	}
	all() // nothing was ever drawn
	for range 5 {
		exec(fill(insertEvent, "nextval('webhook_events_event_seq_seq')"))
		exec(fill(insertFact, "nextval('contact_audit_log_audit_seq_seq'), null"))
	}
	exec(`set session_replication_role = replica; delete from webhook_events where event_seq = 3; delete from contact_audit_log where audit_seq = 3; reset session_replication_role`)
	for range 3 {
		exec(`select * from advance_log_horizon()`)
	}
	all()
	for _, statement := range []string{
		fill(insertEvent, "nextval('webhook_events_event_seq_seq')"),
		fill(insertFact, "nextval('contact_audit_log_audit_seq_seq'), 1"),
		fill(insertDuplicate, "event_seq", "1"),
		fill(insertEntry, "event_seq", "null"),
		`insert into operator_actions (actor, action, detail) values ('a', 'prune', '{}')`,
	} {
		if err := as(t, db, roles.Service, "select pg_current_xact_id()", statement); err != nil {
			t.Error(err)
		}
	}
}

// A number that the owner chose leaves a gap, and costs nothing.
func TestAccounting_overAGap(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t).Unchained(t)
	exec := func(statement string) {
		t.Helper()
		began := time.Now()
		if _, err := db.Pool.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("%s took %v", statement, took)
		}
	}
	check := func(what string) {
		t.Helper()
		exec(`set statement_timeout = '5s'`)
		if got := texts(t, db.Pool, `select concat_ws(' ', accepted, ignored, balanced) from event_accounting`); len(got) != 1 || got[0] != "2 2 t" {
			t.Errorf("%s: account %q, want 2 accepted, 2 ignored, balanced", what, got)
		}
		exec(`select * from mirror_freshness`)
	}
	exec(fill(insertEvent, "nextval('webhook_events_event_seq_seq')"))
	exec(fill(insertFact, "nextval('contact_audit_log_audit_seq_seq'), null"))
	exec(fill(insertEvent, "1000000000000"))
	exec(fill(insertFact, "1000000000000, null"))
	check("above the seal")
	exec(`select * from contactmirror_advance_sequences()`)
	for range 5 {
		exec(`select * from advance_log_horizon()`)
	}
	for range 5 {
		exec(`select seal_accounts(1)`)
	}
	check("below the seal")
}
