package erasure_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/quarantine"
	"contactmirror/internal/signature"
)

// entryKinds are the ways in which a good event of contact 7 can be in open
// quarantine: each puts one there, and returns what lets it be applied.
var entryKinds = map[string]func(r *rig, kind string) (mend func()){
	"an event that could not be applied": func(r *rig, kind string) func() {
		r.execute(`alter table contact_audit_log add constraint poison check (webhook_name is distinct from 'poison')`)
		r.put(secretEvent(kind, `,"WebhookName":"poison"`, received.Add(-time.Hour)))
		r.drain()
		return func() { r.execute(`alter table contact_audit_log drop constraint poison`) }
	},
	"a delivery to a receiver whose clock was behind": func(r *rig, kind string) func() {
		r.put(secretEvent(kind, "", received.Add(48*time.Hour)))
		return func() {}
	},
}

func secretEvent(kind, rest string, at time.Time) []byte {
	return fmt.Appendf(nil, `{"EventId":"00000000-0000-4000-8000-000000000002","Timestamp":%q,"Event":%q,"PrimaryKey":7,"Entity":"contact",`+
		`"ContextIdentifier":"Cust1","ChangedByAssociateId":5,"Changes":["country_id"],"FieldValues":{"name":"secret","deleted":1},"Values":{"text":"secret"}%s}`,
		at.Format(time.RFC3339), kind, rest)
}

// interleavings run a retry and an erasure of one contact.
var interleavings = map[string]func(r *rig, retry, erase func()){
	"erased, then retried": func(_ *rig, retry, erase func()) { erase(); retry() },
	"retried, then erased": func(_ *rig, retry, erase func()) { retry(); erase() },
	// One transaction is held before its commit until the other one waits for it.
	"erased while a retry commits":     func(r *rig, retry, erase func()) { r.overlap("sync_queue", retry, erase) },
	"retried while an erasure commits": func(r *rig, retry, erase func()) { r.overlap("erasures", erase, retry) },
}

// overlap calls held, which inserts into table, and holds it there; then other,
// until that waits for held's transaction; then lets both go on.
func (r *rig) overlap(table string, held, other func()) {
	r.t.Helper()
	r.execute(`create function hold() returns trigger language plpgsql security definer as $$ begin perform pg_advisory_xact_lock(13); return new; end $$`)
	r.execute(`create trigger hold before insert on ` + table + ` for each row execute function hold()`)
	tx, err := r.Pool.Begin(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := tx.Exec(context.Background(), `select pg_advisory_xact_lock(13)`); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan struct{}, 2)
	begin := func(do func()) { go func() { do(); ended <- struct{}{} }() }
	waiting := func(n int) bool {
		return r.texts(`select (count(*) >= $1)::text from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0`, n)[0] == "true"
	}
	begin(held)
	for deadline := time.Now().Add(20 * time.Second); !waiting(1); {
		if time.Now().After(deadline) {
			r.t.Fatal("nothing is held")
		}
	}
	begin(other)
	for len(ended) == 0 && !waiting(2) {
	}
	if len(ended) > 0 {
		r.t.Error("the second transaction did not wait for the first: they lock nothing in common")
	}
	if err := tx.Rollback(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	<-ended
	<-ended
	r.execute(`drop trigger hold on ` + table + `; drop function hold`)
}

// However a retry and an erasure meet, the event is applied, says what it said of
// the contact's life, and leaves no value.
func TestErase_besideRetry(t *testing.T) {
	t.Parallel()
	for entryName, quarantined := range entryKinds {
		for order, run := range interleavings {
			for _, kind := range []string{"contact.deleted", "contact.changed", "contact.softdeleted"} {
				t.Run(fmt.Sprintf("%s, %s: %s", kind, entryName, order), func(t *testing.T) {
					t.Parallel()
					r := newRig(t, 1)
					r.run(r.worker.Run)
					r.put([]byte(`{"EventId":"00000000-0000-4000-8000-000000000001","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.created","PrimaryKey":7,"ContextIdentifier":"Cust1"}`))
					r.drain()
					mend := quarantined(r, kind)
					if open, err := quarantine.List(t.Context(), r.service, nil, false); err != nil || len(open) != 1 {
						t.Fatalf("quarantine %+v, %v", open, err)
					}
					mend()
					run(r, func() {
						if err := quarantine.Retry(context.Background(), r.service, "tester", 1, verifier); err != nil {
							t.Error(err)
						}
					}, func() {
						if _, err := erasure.Erase(context.Background(), r.Pool, contact.Key{Tenant: "Cust1", ID: 7}, erasure.Options{Author: author}); err != nil {
							t.Error(err)
						}
					})
					r.drain()
					if got := r.mentions("secret"); len(got) > 0 {
						t.Errorf("left in %q", got)
					}
					if got := r.texts(`select concat_ws(' ', count(*), min(changed_columns::text), min(changed_by_associate_id), bool_and(field_values is null)) from contact_audit_log where event_id = '00000000-0000-4000-8000-000000000002'`); got[0] != "1 {country_id} 5 t" {
						t.Errorf("logged as %q", got)
					}
					want := "t" // soft-deleted
					if kind == "contact.deleted" {
						want = "gone"
					}
					if got := r.texts(`select coalesce((select soft_deleted::text from contacts), 'gone')`); got[0][:1] != want[:1] {
						t.Errorf("the contact is %q, want %q", got, want)
					}
					if got := r.texts(`select concat_ws(' ', sum(accepted), sum(queued), sum(quarantined), bool_and(balanced)) from event_accounting`); got[0] != "2 0 0 t" {
						t.Errorf("account %q", got)
					}
					r.verify()
				})
			}
		}
	}
}

// An entry is discarded before an erasure or after it, and leaves no value either
// way.
func TestErase_besideDiscard(t *testing.T) {
	t.Parallel()
	for entryName, quarantined := range entryKinds {
		t.Run(entryName, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1)
			r.run(r.worker.Run)
			quarantined(r, "contact.changed")
			r.overlap("erasures", func() { r.erase(contact.Key{Tenant: "Cust1", ID: 7}) }, func() {
				if err := quarantine.Discard(context.Background(), r.service, "tester", 1); err != nil {
					t.Error(err)
				}
			})
			if got := r.mentions("secret"); len(got) > 0 {
				t.Errorf("left in %q", got)
			}
			if got := r.texts(`select (count(*) filter (where not balanced))::text from event_accounting`); got[0] != "0" {
				t.Errorf("%s tenants do not balance", got[0])
			}
		})
	}
}

// What was received before the lifting has no values, wherever it was then: in the
// queue, or not yet stored, as in a spool, in a file that was moved aside, or in a
// transaction. What is received after it keeps them.
func TestLift_goesByTheReceipt(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	key := contact.Key{Tenant: "Cust1", ID: 7}
	secret := func(n int, kind string) []byte {
		body := secretEvent(kind, "", received.Add(time.Duration(n-10)*time.Hour))
		return bytes.Replace(body, []byte("000000000002"), fmt.Appendf(nil, "%012d", n), 1)
	}
	r.erase(key)
	r.put(secret(1, "contact.changed"))
	before := time.Now()
	if err := erasure.Lift(t.Context(), r.Pool, key, author); err != nil {
		t.Fatal(err)
	}
	r.run(r.worker.Run)
	r.putReceived(secret(2, "contact.changed"), before)
	r.putReceived(secret(3, "contact.merged"), before)
	r.putReceived([]byte(`{"EventId":"secret","Event":"contact.changed","PrimaryKey":7,"ContextIdentifier":"Cust1"}`), before)
	r.drain()
	if got := r.mentions("secret"); len(got) > 0 {
		t.Errorf("left in %q", got)
	}
	r.put(secret(4, "contact.changed"))
	r.drain()
	if got := r.mentions("secret"); len(got) == 0 {
		t.Error("an event received after the lifting has lost its values")
	}
	r.verify()
}

// A redacted event says the same, whether the erasure is still in force when it is
// applied or not.
func TestErase_liftedBeforeARetry(t *testing.T) {
	t.Parallel()
	for name, quarantined := range entryKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1)
			r.run(r.worker.Run)
			mend := quarantined(r, "contact.changed")
			key := contact.Key{Tenant: "Cust1", ID: 7}
			if a := r.erase(key); a.Redacted != 1 || a.Quarantined != 1 {
				t.Errorf("%+v", a)
			}
			if err := erasure.Lift(t.Context(), r.Pool, key, author); err != nil {
				t.Fatal(err)
			}
			mend()
			if err := quarantine.Retry(t.Context(), r.service, "tester", 1, verifier); err != nil {
				t.Fatal(err)
			}
			r.drain()
			if got := r.texts(`select concat_ws(' ', c.name, 'name' = any (c.pending_columns), c.soft_deleted, a.erased_columns) from contacts c join contact_audit_log a using (contact_id) where a.outcome is not null`); len(got) != 1 || got[0] != "t t {deleted,name}" {
				t.Errorf("applied as %q", got)
			}
			r.verify()
		})
	}
}

// A redacted body can't be verified any more: it was when it came, under the
// tenant of the entry, and is nobody else's. What was not verified under the
// contact's tenant is left to the operator.
func TestErase_leavesWhatWasNotVerified(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	body := append([]byte("\ufeff"), secretEvent("contact.deleted", "", received.Add(-time.Hour))...)
	d := inbox.Delivery{Body: body, ReceivedAt: received, Reason: "is not JSON, as an older version reads it", Signature: signature.Sign("of another tenant", body)}
	if _, err := r.inbox.Put(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if a := r.erase(contact.Key{Tenant: "Cust1", ID: 7}); len(a.Unattributed) != 1 || a.Quarantined != 0 {
		t.Errorf("%+v", a)
	}
	if _, err := event.Parse(body, received); err != nil {
		t.Fatal(err)
	}
	if err := quarantine.Retry(t.Context(), r.service, "tester", 1, verifier); err == nil {
		t.Error("retried under a tenant that did not sign it")
	}
	if got := r.texts(`select concat_ws(' ', accepted) from event_accounting`); len(got) != 0 {
		t.Errorf("accepted %q", got)
	}
}

// An entry of which nothing can be kept says so.
func TestErase_ofWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.put([]byte(`{"EventId":"secret","Event":"contact.deleted","PrimaryKey":7,"ContextIdentifier":"Cust1","Timestamp":"2026-01-01T00:00:00Z"}`))
	if a := r.erase(contact.Key{Tenant: "Cust1", ID: 7}); a.Quarantined != 1 || a.Redacted != 0 {
		t.Errorf("%+v", a)
	}
	if got := r.texts(`select concat_ws(' ', reason, resolution, octet_length(body)) from quarantined_deliveries`); got[0] != "EventId (values erased) discarded 0" {
		t.Errorf("entry %q", got)
	}
	if got := r.mentions("secret"); len(got) > 0 {
		t.Errorf("left in %q", got)
	}
}

// What is not queued for a contact loses its values as it comes, once the contact
// is erased, also where the two run at the same time: no erasure has to be repeated
// for it. That must hold at every default isolation.
func TestErase_besidePut(t *testing.T) {
	t.Parallel()
	key := contact.Key{Tenant: "Cust1", ID: 7}
	const head = `{"EventId":"00000000-0000-4000-8000-000000000009","Timestamp":"2026-01-01T00:00:00Z","PrimaryKey":7,"ContextIdentifier":"Cust1","FieldValues":{"name":"secret"}`
	kinds := map[string]struct {
		body  []byte
		table string // that it goes to
		kept  string // of the entry
	}{
		"ignored, an unknown event":       {[]byte(head + `,"Event":"contact.merged"}`), "webhook_bodies", ""},
		"ignored, by its entity":          {[]byte(head + `,"Event":"x.merged","Entity":"Contact"}`), "webhook_bodies", ""},
		"ignored, without a time":         {[]byte(head + `,"Event":"contact.merged","Timestamp":"secret"}`), "webhook_bodies", ""},
		"malformed":                       {[]byte(head + `,"Event":"contact.changed","Changes":"secret"}`), "quarantined_deliveries", "Changes (values erased) discarded 0"},
		"not JSON":                        {[]byte(head + `,"Event":"contact.changed",secret`), "quarantined_deliveries", "the body (values erased) discarded 0"},
		"malformed, by its entity":        {[]byte(head + `,"Event":"x.merged","Event":"x.merged","Entity":"Contact"}`), "quarantined_deliveries", "Event (values erased) discarded 0"},
		"not JSON, by its entity":         {[]byte(head + `,"Event":"x.merged","Entity":"contact",secret`), "quarantined_deliveries", "the body (values erased) discarded 0"},
		"to a receiver with a slow clock": {secretEvent("contact.deleted", "", received.Add(48*time.Hour)), "quarantined_deliveries", "Timestamp (values erased) 1"},
		"repeated":                        {[]byte(head + `,"Event":"contact.merged"}`), "duplicate_deliveries", ""},
	}
	orders := map[string]func(r *rig, table string, put, erase func()){
		"put, then erased":        func(_ *rig, _ string, put, erase func()) { put(); erase() },
		"erased, then put":        func(_ *rig, _ string, put, erase func()) { erase(); put() },
		"erased while a put ends": func(r *rig, table string, put, erase func()) { r.overlap(table, put, erase) },
		// The record of the action is the last thing that an erasure writes.
		"put while an erasure ends": func(r *rig, _ string, put, erase func()) { r.overlap("operator_actions", erase, put) },
	}
	for name, kind := range kinds {
		for order, run := range orders {
			for _, level := range []string{"read committed", "repeatable read", "serializable"} {
				t.Run(name+": "+order+" at "+level, func(t *testing.T) {
					t.Parallel()
					r := newRigAt(t, 1, level)
					if kind.table == "duplicate_deliveries" {
						r.put(kind.body)
					}
					run(r, kind.table, func() { r.put(kind.body) }, func() {
						if _, err := erasure.Erase(context.Background(), r.Pool, key, erasure.Options{Author: author}); err != nil {
							t.Error(err)
						}
					})
					if got := r.mentions("secret"); len(got) > 0 {
						t.Errorf("left in %q", got)
					}
					if got := r.texts(`select body_sha256::text from duplicate_deliveries where body_sha256 <> ''`); len(got) > 0 {
						t.Errorf("%d hashes of repeated deliveries are left", len(got))
					}
					want, rows := []string{"1"}, r.texts(`select count(*)::text from webhook_events`)
					if kind.kept != "" {
						want = []string{kind.kept}
						rows = r.texts(`select concat_ws(' ', reason, resolution, least(1, octet_length(body))) from quarantined_deliveries`)
					}
					if diff := cmp.Diff(want, rows); diff != "" {
						t.Errorf("rows (-want +got):\n%s", diff)
					}
					// Somebody else's is kept whole.
					r.put(bytes.ReplaceAll(kind.body, []byte(`"PrimaryKey":7`), []byte(`"PrimaryKey":8`)))
					if got := r.mentions("secret"); len(got) == 0 {
						t.Error("another contact's values are gone")
					}
					if got := r.texts(`select count(*)::text from event_accounting where not balanced`); got[0] != "0" {
						t.Errorf("%s tenants do not balance", got[0])
					}
				})
			}
		}
	}
}
