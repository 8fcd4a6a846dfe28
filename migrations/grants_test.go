package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"contactmirror/internal/pgtest"
	"contactmirror/migrations"
)

// roleName is a role that nobody else has: roles belong to the whole server. It
// is dropped after the test.
func roleName(t *testing.T, db *pgtest.DB, word string) string {
	t.Helper()
	var suffix string
	if err := db.Pool.QueryRow(t.Context(), "select current_database()").Scan(&suffix); err != nil {
		t.Fatal(err)
	}
	name := word + suffix[strings.LastIndex(suffix, "_"):]
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		var exists bool
		if err := db.Pool.QueryRow(ctx, "select exists (select from pg_roles where rolname = $1)", name).Scan(&exists); err != nil {
			t.Error(err)
		}
		if !exists {
			return
		}
		if _, err := db.Pool.Exec(ctx, "drop owned by "+quoted(name)+"; drop role "+quoted(name)); err != nil {
			t.Error(err)
		}
	})
	return name
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

func grant(t *testing.T, url string, roles migrations.Roles) []migrations.Granted {
	t.Helper()
	done, err := migrations.Grant(t.Context(), url, roles)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// as runs statements as role, all in one transaction that is rolled back.
func as(t *testing.T, db *pgtest.DB, role string, statements ...string) error {
	t.Helper()
	tx, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	for _, statement := range append([]string{"set local role " + quoted(role)}, statements...) {
		if _, err := tx.Exec(t.Context(), statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// denied reports whether err is the lack of a right, and not a trigger's veto.
func denied(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "42501" && (strings.HasPrefix(e.Message, "permission denied") || strings.HasPrefix(e.Message, "must be owner"))
}

// Every relation is in the list of rights, and none is there that does not
// exist: whoever adds a table decides who may see it.
func TestEveryRelationHasRights(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	have := texts(t, db.Pool, `select relname::text from pg_class
		where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p', 'v', 'm') and relname <> 'goose_lock'
			and not relispartition order by 1`) // partitions are reached through their table, and nobody's themselves
	want := migrations.Relations()
	slices.Sort(want)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("relations (-rights +database):\n%s", diff)
	}
}

func TestReportingSees(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	roles := migrations.Roles{Actor: "tester", Service: roleName(t, db, "service"), Reporting: roleName(t, db, "reporting"), Create: true}
	grant(t, db.URL, roles)
	for _, relation := range migrations.Relations() {
		err := as(t, db, roles.Reporting, "select * from "+relation+" limit 0")
		hidden := slices.Contains([]string{"webhook_bodies", "quarantined_deliveries", "process_secrets", "schema_roles"}, relation)
		if hidden != denied(err) || !hidden && err != nil {
			t.Errorf("%s: %v, hidden: %t", relation, err, hidden)
		}
		for _, statement := range []string{"delete from " + relation, "truncate " + relation, "insert into " + relation + " default values", "lock " + relation + " in exclusive mode"} {
			if err := as(t, db, roles.Reporting, statement); err == nil {
				t.Errorf("reporting may %s", statement)
			}
		}
	}
	if err := as(t, db, roles.Reporting, "select quarantined, balanced from event_accounting", "select * from changes_since(0)"); err != nil {
		t.Error(err)
	}
	if _, err := db.Pool.Exec(t.Context(), `
		insert into webhook_events (context_identifier, event_id, event, primary_key, occurred_at, occurred_ticks, received_at, ignored)
		values ('Cust1', gen_random_uuid(), 'person.changed', 7, now(), 0, now(), true)`); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"contacts_as_of(now())", "contacts_as_of(now(), 'Cust1', 7)", "contacts_as_known_at(now())", "column_provenance('Cust1', 7)"} {
		if err := as(t, db, roles.Reporting, "select * from "+query); err != nil {
			t.Error(err)
		}
	}
	for _, statement := range []string{"select advance_log_horizon()", "select seal_accounts(1)", "select nextval('webhook_events_event_seq_seq')", "select from sync_shards for update", "select from contacts for share"} {
		if err := as(t, db, roles.Reporting, statement); !denied(err) {
			t.Errorf("reporting: %s: %v", statement, err)
		}
	}
}

// operatorRow inserts a row of the log that only an erasure or a lifting may.
func operatorRow(event, effect string) string {
	return fmt.Sprintf(`insert into contact_audit_log (shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks, received_at, recorded_at,
			changed_columns, unreadable_columns, hard_deleted, effect, given_columns, origin, chain_seq, chain)
		values (0, 'Cust1', 7, '%s', gen_random_uuid(), now(), 0, now(), now(), '{}', '{}', false, '%s', 0, 'operator', 1, decode(repeat('00', 36), 'hex'))`, event, effect)
}

// What the service may do is tested beside the statements that it runs; this is
// what it may not do.
func TestServiceMayNot(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	roles := migrations.Roles{Actor: "tester", Service: roleName(t, db, "service"), Create: true}
	grant(t, db.URL, roles)
	for _, statement := range []string{
		"update webhook_events set event = ''", "delete from webhook_events", "truncate webhook_events",
		"update webhook_bodies set body = ''", "delete from webhook_bodies", "truncate webhook_bodies",
		"update contact_audit_log set outcome = 'no_op'", "delete from contact_audit_log", "truncate contact_audit_log",
		"update duplicate_deliveries set retry = 0", "delete from duplicate_deliveries",
		"delete from quarantined_deliveries", "update quarantined_deliveries set body = ''", "update quarantined_deliveries set headers = null",
		"delete from contact_tombstones", "update contact_tombstones set contact_id = 1", "truncate contact_tombstones", "truncate contacts",
		"update contact_audit_log set field_values = null", "select contactmirror_erase('Cust1', 7, 1, null, '{}', '{}', '{}', '{}', '{}', '{}')",
		"insert into erasures (audit_seq, context_identifier, contact_id, erased_at) values (1, 'Cust1', 7, now())", "update erasures set lifted_at = now()",
		"delete from erasures", "select contactmirror_lift_erasure('Cust1', 7, 1)",
		"drop table webhook_bodies_contact_default", "alter table webhook_bodies_contact detach partition webhook_bodies_contact_default",
		"delete from webhook_bodies_contact_default", "select from webhook_bodies_contact_default", "delete from webhook_bodies_ignored",
		"select contactmirror_create_body_partition(false, '2020-01-01')",
		"update sync_shards set shard = 0", "delete from sync_shards", "insert into sync_shards values (99)",
		"update sync_queue set shard = 0", "truncate sync_queue",
		"insert into goose_db_version (version_id, is_applied) values (99, true)", "select from schema_roles",
		"select setval('webhook_events_event_seq_seq', 1)",
		"alter table contact_audit_log disable trigger contact_audit_log_append_only",
		"drop trigger webhook_events_append_only on webhook_events", "drop table contacts", "create table more ()",
		"create or replace function contactmirror_append_only() returns trigger language plpgsql as 'begin return null; end'",
		"update log_horizon set audit_seq = 0", "delete from log_horizon", "update accounting_seal set event_seq = 0", "update sealed_accounts set applied = 0",
		"create or replace function seal_accounts(max_rows integer) returns bigint language sql as 'select 0'",
		"create role another",
		operatorRow("mirror.erased", "erased"), operatorRow("mirror.erasure_lifted", "unchanged"),
	} {
		if err := as(t, db, roles.Service, statement); !denied(err) {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

func TestGrantMakesRolesOnlyWhenTold(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	roles := migrations.Roles{Actor: "tester", Service: roleName(t, db, "Ser\"vice"), Reporting: roleName(t, db, "reporting")}
	if _, err := db.Pool.Exec(t.Context(), "create role "+quoted(roles.Service)+" login"); err != nil {
		t.Fatal(err)
	}
	var missing *migrations.MissingRoleError
	if _, err := migrations.Grant(t.Context(), db.URL, roles); !errors.As(err, &missing) || missing.Role != roles.Reporting {
		t.Errorf("a missing role: %v", err)
	}
	if err := as(t, db, roles.Service, "select from contacts"); !denied(err) {
		t.Errorf("half of the grants were made: %v", err)
	}
	roles.Create = true
	done := grant(t, db.URL, roles)
	want := []migrations.Granted{
		{Role: roles.Service, Kind: "service"},
		{Role: roles.Reporting, Kind: "reporting", Created: true, Warnings: []string{"can't log in: alter role … login password '…', or grant the role to one that can"}},
	}
	if diff := cmp.Diff(want, done); diff != "" {
		t.Errorf("granted (-want +got):\n%s", diff)
	}
	if err := as(t, db, roles.Service, "select from contacts", "select from sync_shards for update"); err != nil {
		t.Error(err)
	}
	if again := grant(t, db.URL, roles); again[1].Created {
		t.Errorf("again: %v", again)
	}
}

// Grants end with exactly the rights of the list, whatever a role had before.
func TestGrantTakesAway(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	roles := migrations.Roles{Actor: "tester", Service: roleName(t, db, "service"), Create: true}
	grant(t, db.URL, roles)
	if _, err := db.Pool.Exec(t.Context(), "grant all on all tables in schema public to "+quoted(roles.Service)+
		"; grant update (event) on webhook_events to "+quoted(roles.Service)); err != nil {
		t.Fatal(err)
	}
	grant(t, db.URL, roles)
	if err := as(t, db, roles.Service, "update webhook_events set event = ''"); !denied(err) {
		t.Errorf("a right from before is left: %v", err)
	}
	if _, err := migrations.Grant(t.Context(), db.URL, migrations.Roles{Actor: "tester", Service: roles.Service, Reporting: roles.Service}); err == nil {
		t.Error("one role is both")
	}
	var owner string
	if err := db.Pool.QueryRow(t.Context(), "select current_user").Scan(&owner); err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Grant(t.Context(), db.URL, migrations.Roles{Actor: "tester", Service: owner}); err == nil || !strings.Contains(err.Error(), "owns the tables") {
		t.Errorf("the owner as the service: %v", err)
	}
}

func TestGrantWarns(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	roles := migrations.Roles{Actor: "tester", Service: roleName(t, db, "service"), Reporting: roleName(t, db, "reporting")}
	if _, err := db.Pool.Exec(t.Context(), "create role "+quoted(roles.Service)+" login superuser; create role "+quoted(roles.Reporting)+
		" login; grant create on schema public to public"); err != nil {
		t.Fatal(err)
	}
	var warnings []string
	for _, done := range grant(t, db.URL, roles) {
		warnings = append(warnings, done.Warnings...)
	}
	want := []string{
		"is a superuser, so nothing is kept from it",
		"may make objects in the schema, as everybody may: revoke create on schema … from public",
	}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// A migration that adds a table does not leave the roles without it; one who
// was shut out stays out.
func TestUpRepeatsGrants(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	roles := migrations.Roles{Actor: "tester", Service: roleName(t, db, "service"), Reporting: roleName(t, db, "reporting"), Create: true}
	grant(t, db.URL, roles)
	if _, err := db.Pool.Exec(t.Context(), "revoke all on all tables in schema public from "+quoted(roles.Reporting)+
		"; revoke all on processes from "+quoted(roles.Service)); err != nil { // as if it were new
		t.Fatal(err)
	}
	if _, err := migrations.Up(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
	if err := as(t, db, roles.Service, "delete from processes"); err != nil {
		t.Error(err)
	}
	if err := as(t, db, roles.Reporting, "select from contacts"); !denied(err) {
		t.Errorf("shut out, and let in again: %v", err)
	}
}

func TestGrantInAnotherSchema(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `create schema "Contact Mirror"`); err != nil {
		t.Fatal(err)
	}
	elsewhere := withParameter(t, db.URL, "search_path", `"Contact Mirror"`)
	if _, err := migrations.Grant(t.Context(), elsewhere, migrations.Roles{Actor: "tester", Service: "nobody"}); !isVersionError(err) {
		t.Errorf("an empty schema: %v", err)
	}
	if _, err := migrations.Up(t.Context(), elsewhere); err != nil {
		t.Fatal(err)
	}
	roles := migrations.Roles{Actor: "tester", Service: roleName(t, db, "service"), Reporting: roleName(t, db, "reporting"), Create: true}
	grant(t, elsewhere, roles)
	if err := as(t, db, roles.Reporting, `set local search_path = "Contact Mirror"`, "select from contacts"); err != nil {
		t.Error(err)
	}
	if err := as(t, db, roles.Service, `set local search_path = "Contact Mirror"`, "select nextval('webhook_events_event_seq_seq')"); err != nil {
		t.Error(err)
	}
	if err := as(t, db, roles.Service, "select from public.contacts"); !denied(err) {
		t.Errorf("the other schema's tables: %v", err)
	}
}

// The owner need be no superuser, nor own the database.
func TestGrantAsPlainOwner(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := roleName(t, db, "owner")
	roles := migrations.Roles{Actor: "tester", Service: roleName(t, db, "service"), Reporting: roleName(t, db, "reporting")}
	for _, statement := range []string{
		"create role " + owner, "create role " + roles.Service, "create role " + roles.Reporting,
		"create schema plain authorization " + owner,
	} {
		if _, err := db.Pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	owned := withParameter(t, withParameter(t, db.URL, "role", owner), "search_path", "plain")
	if _, err := migrations.Up(t.Context(), owned); err != nil {
		t.Fatal(err)
	}
	for _, done := range grant(t, owned, roles) {
		if len(done.Warnings) != 1 { // about the login
			t.Errorf("%s: %v", done.Role, done.Warnings)
		}
	}
	limited := withParameter(t, withParameter(t, db.URL, "role", roles.Service), "search_path", "plain")
	conn, err := pgx.Connect(t.Context(), limited)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := migrations.Check(t.Context(), conn); err != nil {
		t.Error(err)
	}
	if _, err := conn.Exec(t.Context(), "select from sync_shards for update"); err != nil {
		t.Error(err)
	}
	if _, err := migrations.Up(t.Context(), limited); err == nil {
		t.Error("the service may migrate")
	}
}

func isVersionError(err error) bool {
	var version *migrations.VersionError
	return errors.As(err, &version)
}

func withParameter(t *testing.T, text, name, value string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set(name, value)
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // pgx, as libpq, takes a plus for a plus
	return u.String()
}
