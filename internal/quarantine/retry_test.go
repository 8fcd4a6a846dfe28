package quarantine_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/quarantine"
	"contactmirror/internal/signature"
	"contactmirror/internal/verify"
)

func eventAt(tenant string, at time.Time) []byte {
	return fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-000000000001","Timestamp":%q,"Event":"contact.changed","PrimaryKey":7,"ContextIdentifier":%q}`,
		at.UTC().Format(time.RFC3339), tenant)
}

func parsed(t *testing.T, body []byte) *event.Event {
	t.Helper()
	e, err := event.Parse(body, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &e
}

// keep puts a delivery into quarantine as a receiver does that can't read it.
func keep(t *testing.T, db *pgtest.DB, d inbox.Delivery) {
	t.Helper()
	in := inbox.New(db.Pool, func(...string) {})
	run(t, in.Run)
	d.Reason = "for the test"
	if result, err := in.Put(t.Context(), d); err != nil || result != inbox.Quarantined {
		t.Fatal(result, err)
	}
}

func execute(t *testing.T, db *pgtest.DB, statement string) {
	t.Helper()
	if _, err := db.Pool.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// state is all that a retry may change of the only entry, and the account.
func state(t *testing.T, db *pgtest.DB) (s string) {
	t.Helper()
	err := db.Pool.QueryRow(t.Context(), `
		select concat_ws(' ', reason, attempts, resolution, (select count(*) from webhook_events), (select count(*) from sync_queue),
			(select bool_and(balanced) from event_accounting))
		from quarantined_deliveries`).Scan(&s)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A delivery that could not be read when it came is an event of the tenant that it
// names now only if a secret of that tenant, valid then, signed it.
func TestRetry_verifiesAgain(t *testing.T) {
	t.Parallel()
	received := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	keyring := signature.NewKeyring([]signature.Secret{{Key: "shared"}}, map[string][]signature.Secret{
		"A": {{Key: "a"}},
		"B": {{Key: "b"}, {Key: "expired since", NotAfter: received.Add(time.Hour)}, {Key: "expired before", NotAfter: received.Add(-time.Hour)}, {Key: "later", NotBefore: received.Add(time.Hour)}},
		"":  {{Key: "onsite"}},
	})
	tests := []struct {
		name     string
		tenant   string // that the body names
		key      string // that it is signed with; none for no signature
		verifier quarantine.Verifier
		ok       bool
	}{
		{"its tenant's secret", "B", "b", quarantine.Verifier{Keyring: keyring}, true},
		{"another tenant's secret", "B", "a", quarantine.Verifier{Keyring: keyring}, false},
		{"another tenant's secret, unsigned allowed", "B", "a", quarantine.Verifier{Keyring: keyring, AllowUnsigned: true}, false},
		{"the shared secret of a tenant with its own", "B", "shared", quarantine.Verifier{Keyring: keyring}, false},
		{"the shared secret of a tenant without", "C", "shared", quarantine.Verifier{Keyring: keyring}, true},
		{"a tenant's secret of a tenant without", "C", "b", quarantine.Verifier{Keyring: keyring}, false},
		{"the empty tenant's secret", "", "onsite", quarantine.Verifier{Keyring: keyring}, true},
		{"the shared secret of the empty tenant with its own", "", "shared", quarantine.Verifier{Keyring: keyring}, false},
		{"a secret that has expired since", "B", "expired since", quarantine.Verifier{Keyring: keyring}, true},
		{"a secret that had expired before", "B", "expired before", quarantine.Verifier{Keyring: keyring}, false},
		{"a secret that was not valid yet", "B", "later", quarantine.Verifier{Keyring: keyring}, false},
		{"a secret that is not configured", "B", "b", quarantine.Verifier{Keyring: signature.NewKeyring(nil, nil)}, false},
		{"no secret at all", "B", "b", quarantine.Verifier{}, false},
		{"no signature", "B", "", quarantine.Verifier{Keyring: keyring}, false},
		{"no signature, unsigned allowed", "B", "", quarantine.Verifier{Keyring: keyring, AllowUnsigned: true}, true},
		{"no secret, unsigned allowed", "B", "b", quarantine.Verifier{AllowUnsigned: true}, false},
		{"no secret and no signature, unsigned allowed", "B", "", quarantine.Verifier{AllowUnsigned: true}, true},
		{"no secret and no signature", "B", "", quarantine.Verifier{}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			body := append([]byte("\ufeff"), eventAt(test.tenant, received)...) // which an older version took for malformed
			d := inbox.Delivery{Body: body, ReceivedAt: received, Headers: http.Header{"User-Agent": {"x"}}}
			if test.key != "" {
				d.Signature = signature.Sign(test.key, body)
			}
			keep(t, db, d)
			err := quarantine.Retry(t.Context(), db.Pool, "tester", 1, test.verifier)
			if test.ok {
				if got, want := state(t, db), "for the test 1 retried 1 1 t"; err != nil || got != want {
					t.Errorf("%v, then %q, want %q", err, got, want)
				}
				return
			}
			var unverified *quarantine.UnverifiedError
			if !errors.As(err, &unverified) || unverified.Tenant != test.tenant || unverified.Unsigned != (test.key == "") || !strings.Contains(err.Error(), "retry 1:") {
				t.Errorf("error %v", err)
			}
			if got, want := state(t, db), "for the test 1 0 0"; got != want {
				t.Errorf("entry %q, want %q", got, want)
			}
		})
	}
}

// The same bytes make one entry, but each of its signatures was verified and answered
// 200 when it came: any of them is enough, at the time it first came.
func TestRetry_verifiesEverySignature(t *testing.T) {
	t.Parallel()
	first := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	keyring := signature.NewKeyring(nil, map[string][]signature.Secret{
		"A": {{Key: "a"}},
		"B": {{Key: "b"}, {Key: "later", NotBefore: first.Add(90 * time.Minute)}, {Key: "expired before", NotAfter: first.Add(-time.Hour)}},
	})
	tests := []struct {
		name string
		keys []string // that it is signed with, an hour apart; empty for no signature
		ok   [2]bool  // without and with unsigned deliveries allowed
	}{
		{"A's, then B's", []string{"a", "b"}, [2]bool{true, true}},
		{"B's, then A's", []string{"b", "a"}, [2]bool{true, true}},
		{"one of many", []string{"a", "x", "b", "y", "a"}, [2]bool{true, true}},
		{"none, then B's", []string{"", "b"}, [2]bool{true, true}},
		{"A's, then none", []string{"a", ""}, [2]bool{false, true}},
		{"A's, then another", []string{"a", "x"}, [2]bool{false, false}},
		{"A's, then B's that is valid by then", []string{"a", "x", "later"}, [2]bool{true, true}},
		{"A's, then B's that is not valid yet", []string{"a", "later"}, [2]bool{false, false}},
		{"A's, then B's that had expired", []string{"a", "expired before"}, [2]bool{false, false}},
		{"the same again", []string{"a", "a"}, [2]bool{false, false}},
	}
	body := append([]byte("\ufeff"), eventAt("B", first)...)
	for _, test := range tests {
		for _, together := range []bool{false, true} { // one after another, or in one commit
			t.Run(fmt.Sprintf("%s, together %t", test.name, together), func(t *testing.T) {
				t.Parallel()
				db := pgtest.New(t)
				in := inbox.New(db.Pool, func(...string) {})
				if !together {
					run(t, in.Run)
				}
				var puts errgroup.Group
				for i, key := range test.keys {
					d := inbox.Delivery{Body: body, ReceivedAt: first.Add(time.Duration(i) * time.Hour), Reason: "for the test"}
					if key != "" {
						d.Signature = signature.Sign(key, body)
					}
					puts.Go(func() error {
						_, err := in.Put(t.Context(), d)
						return err
					})
					if !together {
						if err := puts.Wait(); err != nil {
							t.Fatal(err)
						}
					}
				}
				if together {
					run(t, in.Run)
				}
				if err := puts.Wait(); err != nil {
					t.Fatal(err)
				}
				until(t, db.Pool, `select concat_ws(' ', count(*), sum(deliveries)) from quarantined_deliveries`, fmt.Sprint("1 ", len(test.keys)))
				var seq int64 // not always 1: of two that are stored at a time both draw a number
				if err := db.Pool.QueryRow(t.Context(), `select quarantine_seq from quarantined_deliveries`).Scan(&seq); err != nil {
					t.Fatal(err)
				}
				for allowed, ok := range test.ok {
					err := quarantine.Retry(t.Context(), db.Pool, "tester", seq, quarantine.Verifier{Keyring: keyring, AllowUnsigned: allowed == 1})
					if _, unverified := errors.AsType[*quarantine.UnverifiedError](err); unverified == ok || ok && err != nil {
						t.Errorf("retry where unsigned deliveries are allowed: %t: %v, want it done: %t", allowed == 1, err, ok)
					}
					if ok {
						until(t, db.Pool, account, "1 0 0 t")
						break
					}
				}
			})
		}
	}
}

// An erasure keeps of an entry neither signatures nor the signed bytes. What was
// verified under its tenant can still be retried, and nothing else can that could not
// be before.
func TestRetry_ofARedactedEntry(t *testing.T) {
	t.Parallel()
	other := signature.NewKeyring(nil, map[string][]signature.Secret{"A": {{Key: "a"}}})
	tests := []struct {
		name     string
		key      string // that it is signed with; empty for no signature
		erased   bool   // before it comes
		verifier quarantine.Verifier
		ok       bool
	}{
		{"signed", secret, false, quarantine.Verifier{Keyring: other}, true},
		{"signed, of a contact that was erased", secret, true, quarantine.Verifier{Keyring: other}, true},
		{"unsigned", "", false, verifier, false},
		{"unsigned, of a contact that was erased", "", true, verifier, false},
		{"unsigned, as allowed", "", false, quarantine.Verifier{AllowUnsigned: true}, true},
		{"unsigned, as allowed, of a contact that was erased", "", true, quarantine.Verifier{AllowUnsigned: true}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			erase := func() {
				_, err := erasure.Erase(t.Context(), db.Pool, contact.Key{Tenant: "B", ID: 7}, erasure.Options{Author: erasure.Author{Actor: "tester"}})
				if err != nil {
					t.Fatal(err)
				}
			}
			if test.erased {
				erase()
			}
			execute(t, db, `alter table webhook_events add constraint poison check (primary_key <> 7)`)
			in := inbox.New(db.Pool, func(...string) {})
			run(t, in.Run)
			body := eventAt("B", time.Now())
			d := inbox.Delivery{Body: body, ReceivedAt: time.Now(), Event: parsed(t, body)}
			if test.key != "" {
				d.Signature = signature.Sign(test.key, body)
			}
			if result, err := in.Put(t.Context(), d); err != nil || result != inbox.Quarantined {
				t.Fatal(result, err)
			}
			execute(t, db, `alter table webhook_events drop constraint poison`)
			if !test.erased {
				before := quarantine.Retry(t.Context(), db.Pool, "tester", 1, quarantine.Verifier{Keyring: other})
				if _, unverified := errors.AsType[*quarantine.UnverifiedError](before); !unverified {
					t.Errorf("before its erasure: %v", before)
				}
				erase()
			}
			entry, err := quarantine.Show(t.Context(), db.Pool, 1)
			if err != nil || entry.BytesRemovedAt == nil || len(entry.Headers)+len(entry.Signatures) > 0 || len(entry.Body) == 0 {
				t.Errorf("entry %+v, %v", entry, err)
			}
			err = quarantine.Retry(t.Context(), db.Pool, "tester", 1, test.verifier)
			unverified, is := errors.AsType[*quarantine.UnverifiedError](err)
			if test.ok && err != nil || !test.ok && (!is || !unverified.Unsigned) {
				t.Errorf("retry: %v, want it done: %t", err, test.ok)
			}
			if test.ok {
				until(t, db.Pool, account, "1 0 0 t")
			}
		})
	}
}

// A delivery whose event has come meanwhile is a repeated one when it is retried.
func TestRetry_ofAnEventThatHasCome(t *testing.T) {
	t.Parallel()
	received := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	ignored := func(rest string) []byte {
		return []byte(`{"Event":"person.changed","ContextIdentifier":"B"` + rest + `}`)
	}
	tests := map[string]struct {
		body, came []byte
		erased     bool
	}{
		"the same bytes":           {body: eventAt("B", received), came: eventAt("B", received)},
		"other bytes":              {body: append([]byte("\ufeff"), eventAt("B", received)...), came: eventAt("B", received)},
		"of an erased contact":     {body: eventAt("B", received), came: eventAt("B", received), erased: true},
		"an ignored event":         {body: ignored(`,"EventId":"00000000-0000-0000-0000-000000000001","PrimaryKey":7`), came: ignored(`,"PrimaryKey":7,"EventId":"00000000-0000-0000-0000-000000000001"`)},
		"an ignored one, by bytes": {body: ignored(``), came: ignored(``)},
		"one without a PrimaryKey": {body: ignored(`,"EventId":"00000000-0000-0000-0000-000000000001"`), came: ignored(`,"EventId":"00000000-0000-0000-0000-000000000001"`)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			d := inbox.Delivery{Body: test.body, ReceivedAt: received, Tenant: new("B"), Signature: signature.Sign(secret, test.body)}
			keep(t, db, d)
			in := inbox.New(db.Pool, func(...string) {})
			run(t, in.Run)
			if _, err := in.Put(t.Context(), inbox.Delivery{Body: test.came, ReceivedAt: time.Now(), Event: parsed(t, test.came)}); err != nil {
				t.Fatal(err)
			}
			hash := sha256.Sum256(test.body)
			want := fmt.Sprintf("%x", hash[:])
			if test.erased {
				_, err := erasure.Erase(t.Context(), db.Pool, contact.Key{Tenant: "B", ID: 7}, erasure.Options{Author: erasure.Author{Actor: "tester"}})
				if err != nil {
					t.Fatal(err)
				}
				want = ""
			}
			if err := quarantine.Retry(t.Context(), db.Pool, "tester", 1, verifier); err != nil {
				t.Fatal(err)
			}
			got := ""
			err := db.Pool.QueryRow(t.Context(), `
				select string_agg(concat_ws(' ', event_seq = (select event_seq from webhook_events), received_at = $1, retry is null, encode(body_sha256, 'hex')), '; ')
				from duplicate_deliveries`, received).Scan(&got)
			if want = "t t t " + want; err != nil || got != want {
				t.Errorf("repeated deliveries %q, %v, want %q", got, err, want)
			}
			if got := state(t, db); !strings.Contains(got, " retried 1 ") || !strings.HasSuffix(got, " t") {
				t.Errorf("entry %q", got)
			}
		})
	}
}

// The tenant whose secret signed a delivery can't be seen from the entry: only
// what the body names now counts.
func TestRetry_asksTheTenantOfTheBody(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	received := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	body := eventAt("B", received)
	keep(t, db, inbox.Delivery{Body: body, ReceivedAt: received, Tenant: new("A"), Signature: signature.Sign("a", body)})
	keyring := signature.NewKeyring(nil, map[string][]signature.Secret{"A": {{Key: "a"}}, "B": {{Key: "b"}}})
	var unverified *quarantine.UnverifiedError
	if err := quarantine.Retry(t.Context(), db.Pool, "tester", 1, quarantine.Verifier{Keyring: keyring}); !errors.As(err, &unverified) || unverified.Tenant != "B" {
		t.Errorf("retry: %v", err)
	}
}

// An event that the database refused keeps its signature, tenant and all, so that
// it can be retried.
func TestRetry_ofAnEventThatTheDatabaseRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `alter table webhook_events add constraint poison check (primary_key <> 7)`); err != nil {
		t.Fatal(err)
	}
	in := inbox.New(db.Pool, func(...string) {})
	run(t, in.Run)
	body := eventAt("B", time.Now())
	d := inbox.Delivery{Body: body, ReceivedAt: time.Now(), Signature: signature.Sign(secret, body)}
	d.Event = parsed(t, body)
	if result, err := in.Put(t.Context(), d); err != nil || result != inbox.Quarantined {
		t.Fatal(result, err)
	}
	entry, err := quarantine.Show(t.Context(), db.Pool, 1)
	if err != nil || entry.ContextIdentifier == nil || *entry.ContextIdentifier != "B" {
		t.Errorf("entry %+v, %v", entry, err)
	}
	if diff := cmp.Diff(map[string][]string{http.CanonicalHeaderKey(signature.Header): {d.Signature}}, entry.Headers); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	// Refused again, it counts one more attempt, and keeps no other entry waiting.
	err = quarantine.Retry(t.Context(), db.Pool, "tester", 1, verifier)
	if _, invalid := errors.AsType[*quarantine.StillInvalidError](err); !invalid {
		t.Errorf("refused again: %v, want a StillInvalidError", err)
	}
	if entry, err := quarantine.Show(t.Context(), db.Pool, 1); err != nil || entry.Attempts != 2 || entry.ResolvedAt != nil {
		t.Errorf("refused again: %+v, %v", entry, err)
	}
	if _, err := db.Pool.Exec(t.Context(), `alter table webhook_events drop constraint poison`); err != nil {
		t.Fatal(err)
	}
	if err := quarantine.Retry(t.Context(), db.Pool, "tester", 1, verifier); err != nil {
		t.Error(err)
	}
	if got := state(t, db); !strings.HasSuffix(got, " 2 retried 1 1 t") {
		t.Errorf("entry %q", got)
	}
}

// The form of a redacted body is no sender's to use: such a delivery stays what it
// is, however it is signed.
func TestRetry_refusesARedactedBodyThatASenderWrote(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	in := inbox.New(db.Pool, func(...string) {})
	run(t, in.Run)
	without, ok := event.Redact(eventAt("B", time.Now()))
	if !ok {
		t.Fatal("the event can't be redacted")
	}
	tenant := "B"
	d := inbox.Delivery{Body: without, ReceivedAt: time.Now(), Reason: "is not JSON", Tenant: &tenant, Signature: signature.Sign(secret, without)}
	if result, err := in.Put(t.Context(), d); err != nil || result != inbox.Quarantined {
		t.Fatal(result, err)
	}
	err := quarantine.Retry(t.Context(), db.Pool, "tester", 1, verifier)
	if _, invalid := errors.AsType[*quarantine.StillInvalidError](err); !invalid {
		t.Errorf("%v, want a StillInvalidError", err)
	}
}

// A receiver whose clock is wrong quarantines good events. They can be retried as
// soon as the later of receipt and now allows it, and are applied then, whatever
// the clock said.
func TestRetry_judgesTheTimestampByTheLaterClock(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Now()
	tests := []struct {
		name             string
		received, occurs time.Time
		ok               bool
	}{
		{"the clock was two days behind", now.Add(-2 * day), now.Add(-time.Minute), true},
		{"the clock was years behind", time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC), now.Add(-time.Minute), true},
		{"the clock was ahead", now.Add(30 * day), now.Add(30 * day), true},
		{"the Timestamp is ahead of both", now.Add(-2 * day), now.Add(3 * day), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			w := mirror.New(db.Pool, slog.New(slog.DiscardHandler), 1)
			run(t, w.Run)
			body := eventAt("B", test.occurs)
			keep(t, db, inbox.Delivery{Body: body, ReceivedAt: test.received, Signature: signature.Sign(secret, body)})
			err := quarantine.Retry(t.Context(), db.Pool, "tester", 1, verifier)
			if !test.ok {
				var invalid *quarantine.StillInvalidError
				if !errors.As(err, &invalid) {
					t.Errorf("retry: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			until(t, db.Pool, account, "0 0 1 t")
			prove(t, db.URL)
		})
	}
}

// prove checks the chain, the mirror, the events and the account.
func prove(t *testing.T, url string) {
	t.Helper()
	pool, err := pg.Open(url, verify.Conns)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	report, err := verify.Run(t.Context(), pool, verify.Options{})
	if err != nil || report.Differences() > 0 {
		t.Errorf("verify: %v, %+v, %+v", err, report.Events, report.Accounts)
	}
}
