package migrations_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/pgtest"
	"contactmirror/migrations"
)

// The owner, too, can't change the audit log but by an erasure, even one who
// turns the setting on.
func TestOnlyErasureUpdatesTheLog(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	tx, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }() // the event is in no account
	if _, err := tx.Exec(t.Context(), `
		insert into contact_audit_log (shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks, received_at, recorded_at,
			changed_columns, unreadable_columns, hard_deleted, outcome, effect, given_columns, origin, field_values, salt, chain, chain_seq)
		values (0, 'Cust1', 7, 'contact.changed', gen_random_uuid(), now(), 0, now(), now(), '{}', '{}', false, 'applied', 'upserted', 0, 'webhook', '{"name": "a"}', uuid_send(gen_random_uuid()), decode(repeat('00', 36), 'hex'), 1);
		set local contactmirror.erasing = 'on'`); err != nil {
		t.Fatal(err)
	}
	try := func(set string) error {
		savepoint, err := tx.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = savepoint.Rollback(context.WithoutCancel(t.Context())) }()
		_, err = savepoint.Exec(t.Context(), "update contact_audit_log set "+set)
		return err
	}
	const erasure = "field_values = null, salt = null, commitment = sha256('c'), erased_columns = '{name}'"
	if err := try(erasure); err != nil {
		t.Errorf("an erasure: %v", err)
	}
	for _, set := range []string{
		"outcome = 'no_op'", "field_values = null", "salt = null", "erased_columns = '{}'", erasure + ", outcome = 'no_op'", erasure + ", chain = decode(repeat('01', 36), 'hex')",
		"field_values = null, salt = null, erased_columns = '{name}'", "field_values = null, commitment = sha256('c'), erased_columns = '{name}'",
		"salt = null, commitment = sha256('c'), erased_columns = '{name}'",
	} {
		if err := try(set); err == nil {
			t.Errorf("%s is allowed", set)
		}
	}
	if _, err := tx.Exec(t.Context(), "update contact_audit_log set "+erasure); err != nil {
		t.Fatal(err)
	}
	if err := try("erased_columns = '{}'"); err == nil {
		t.Error("an erased row may be changed again")
	}
	if _, err := tx.Exec(t.Context(), "delete from contact_audit_log"); err == nil {
		t.Error("delete is allowed")
	}
}

// beforeErasure is the schema version before erasures.
const beforeErasure = 7

// Down leaves the log as append-only as it was, and erased rows erased.
func TestErasureDown(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `
		insert into erasures (audit_seq, context_identifier, contact_id, erased_at) values (1, 'Cust1', 7, now());
		insert into contact_audit_log (shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks, received_at, recorded_at,
			changed_columns, unreadable_columns, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain, commitment, erased_columns)
		values (0, 'Cust1', 7, 'contact.changed', gen_random_uuid(), now(), 0, now(), now(), '{}', '{}', false, 'applied', 'upserted', 0, 'fetch', 1, decode(repeat('00', 36), 'hex'), sha256('c'), '{name}')`); err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Down(t.Context(), db.URL, beforeErasure, false); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Pool.Exec(t.Context(), `update contact_audit_log set outcome = 'no_op'`); err == nil {
		t.Error("an update is allowed")
	}
	if diff := cmp.Diff([]string{"0"}, texts(t, db.Pool, `select num_nonnulls(field_values, id_values, last_known, salt)::text from contact_audit_log`)); diff != "" {
		t.Error(diff)
	}
	if _, err := migrations.Up(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
}
