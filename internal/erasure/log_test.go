package erasure_test

import (
	"errors"
	"fmt"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/verify"
)

// Erasures and their liftings are rows of the log, in order with the facts. A repeated
// erasure adds none.
func TestErase_isARowOfTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.run(r.worker.Run)
	key := contact.Key{Tenant: "Cust1", ID: 7}
	event := func(n int) {
		r.put(fmt.Appendf(nil, `{"EventId":"00000000-0000-4000-8000-%012d","Timestamp":"2026-01-01T00:00:%02dZ","Event":"contact.changed","PrimaryKey":7,"ContextIdentifier":"Cust1","FieldValues":{"name":"Acme"}}`, n, n))
		r.drain()
	}
	lift := func() {
		if err := erasure.Lift(t.Context(), r.Pool, key, author); err != nil {
			t.Error(err)
		}
	}
	event(1)
	r.erase(key)
	if a := r.erase(key); !a.Already {
		t.Errorf("erased again: %+v", a)
	}
	event(2)
	lift()
	event(3)
	r.erase(key)
	lift()
	want := []string{
		"contact.changed webhook {name}", "mirror.erased operator", "contact.changed webhook {name}", "mirror.erasure_lifted operator",
		"contact.changed webhook {name}", "mirror.erased operator", "mirror.erasure_lifted operator",
	}
	if diff := gocmp.Diff(want, r.texts(`select concat_ws(' ', event, origin, erased_columns) from contact_audit_log order by audit_seq`)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	// What such a row is, all columns of it.
	if got := r.texts(`
		select a::text from contact_audit_log a
		where event like 'mirror.%' and (
			num_nonnulls(event_seq, outcome, field_values, id_values, last_known, soft_deleted, changed_by_associate_id, webhook_name, commitment, erased_columns) > 0
			or changed_columns <> '{}' or unreadable_columns <> '{}' or hard_deleted or (context_identifier, contact_id) <> ('Cust1', 7)
			or occurred_at <> recorded_at or received_at <> recorded_at or occurred_ticks <> (extract(epoch from recorded_at) * 10000000)::bigint
			or salt is null or abs(extract(epoch from recorded_at - now())) > 300
		)`); len(got) > 0 {
		t.Errorf("odd rows of the log: %q", got)
	}
	if got := r.texts(`select count(distinct event_id)::text from contact_audit_log where event like 'mirror.%'`); got[0] != "4" {
		t.Errorf("%s EventIds, want 4", got[0])
	}
	// The index has one entry for each erasure, with the row of its lifting.
	want = []string{"mirror.erased mirror.erasure_lifted t t asked for", "mirror.erased mirror.erasure_lifted t t asked for"}
	if diff := gocmp.Diff(want, r.texts(`
		select concat_ws(' ', a.event, l.event, a.recorded_at = e.erased_at, l.recorded_at = e.lifted_at, e.reason)
		from erasures e
		join contact_audit_log a using (audit_seq)
		left join contact_audit_log l on l.audit_seq = e.lifted_audit_seq
		order by e.audit_seq`)); diff != "" {
		t.Errorf("erasures (-want +got):\n%s", diff)
	}
	r.verify()
	r.balanced()
}

// An erasure and a lifting of a keyed log are linked with its key, or not at all.
func TestErase_ofAKeyedLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	auditKey, err := chain.NewKey([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	r.worker.AuditKeys = chain.Keys{auditKey}
	r.run(r.worker.Run)
	key := contact.Key{Tenant: "Cust1", ID: 7}
	r.put(secretEvent("contact.changed", "", received))
	r.drain()
	keyed := erasure.Author{Actor: "tester", AuditKeys: chain.Keys{auditKey}}
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, erasure.ErrKeyMissing) {
			t.Errorf("%s without the key: %v, want %v", what, err, erasure.ErrKeyMissing)
		}
	}
	for _, other := range []contact.Key{key, {Tenant: "Cust1", ID: 8}} { // of two shards, of which one has no row
		_, err = erasure.Erase(t.Context(), r.Pool, other, erasure.Options{Author: author})
		refused("erased", err)
		_, err = erasure.Erase(t.Context(), r.Pool, other, erasure.Options{Author: author, DryRun: true})
		refused("erased dry", err)
	}
	if got := r.mentions("secret"); len(got) == 0 {
		t.Error("erased without the key all the same")
	}
	if _, err := erasure.Erase(t.Context(), r.Pool, key, erasure.Options{Author: keyed}); err != nil {
		t.Fatal(err)
	}
	_, err = erasure.Erase(t.Context(), r.Pool, key, erasure.Options{Author: author})
	refused("erased again", err)
	refused("lifted", erasure.Lift(t.Context(), r.Pool, key, author))
	if err := erasure.Lift(t.Context(), r.Pool, key, keyed); err != nil {
		t.Fatal(err)
	}
	report := r.verified(verify.Options{Keys: chain.Keys{auditKey}})
	if report.Chain.Keyed != 3 || report.Chain.Rows != 3 {
		t.Errorf("%+v, want 3 rows with the key", report.Chain)
	}
	r.balanced()
}
