package verify

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
)

// erasedRig has contacts that were erased, erased and lifted, and not erased, with facts
// before, between and after; repeated deliveries; and events without an EventId.
func erasedRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, 5)
	n := 0
	put := func(id int64, name string, at time.Time) {
		t.Helper()
		n++
		body := fmt.Appendf(nil, `{"EventId":"00000000-0000-4000-8000-%012d","Timestamp":"2026-01-01T00:00:%02dZ","Event":%q,"PrimaryKey":%d,"Entity":"contact","ContextIdentifier":"Cust1","Changes":["name"],"FieldValues":{"name":"Acme"}}`, n, n, name, id)
		e, err := event.Parse(body, received)
		if err != nil {
			t.Fatal(err)
		}
		if err := pgx.BeginFunc(t.Context(), r.Pool, func(tx pgx.Tx) error {
			_, err := inbox.PutIn(t.Context(), tx, inbox.Delivery{Body: body, ReceivedAt: at, Event: &e})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Pool.Exec(t.Context(), `insert into duplicate_deliveries (event_seq, received_at, retry, body_sha256)
			select event_seq, $1, 1, case when contactmirror_is_erased('Cust1', $2, $1) then '' else sha256($3) end from webhook_events order by event_seq desc limit 1`, at, id, body); err != nil {
			t.Fatal(err)
		}
	}
	author := erasure.Author{Actor: "tester"}
	key := func(id int64) contact.Key { return contact.Key{Tenant: "Cust1", ID: id} }
	erase := func(id int64) {
		t.Helper()
		if _, err := erasure.Erase(t.Context(), r.Pool, key(id), erasure.Options{Author: author, Reason: new("asked for")}); err != nil {
			t.Fatal(err)
		}
	}
	for id := int64(1); id <= 3; id++ {
		put(id, "contact.created", time.Now())
		put(id, "contact.merged", time.Now()) // ignored
	}
	r.apply(0, nil)
	erase(1)
	erase(2)
	put(1, "contact.changed", time.Now())
	put(2, "contact.changed", time.Now())
	r.apply(0, nil)
	late := time.Now()
	if err := erasure.Lift(t.Context(), r.Pool, key(2), author); err != nil {
		t.Fatal(err)
	}
	put(2, "contact.changed", late) // from a spool
	put(2, "contact.changed", time.Now())
	put(3, "contact.changed", time.Now())
	r.apply(0, nil)
	erase(1)
	return r
}

// What an erasure may blank, the register of erasures and repeated deliveries are held
// against the log: whatever is altered, removed or added in one of them is found.
func TestRun_findsTamperedErasures(t *testing.T) {
	t.Parallel()
	r := erasedRig(t)
	if report := r.run(Options{}); report.Differences() > 0 {
		t.Fatalf("before tampering: %v, %v, %v", report.Erasures, report.Duplicates, report.Chain.Breaks)
	}
	for _, table := range []string{"erasures", "contact_audit_log", "duplicate_deliveries", "operator_actions"} {
		r.tamper(`create table saved_`+table+` as select * from `+table, `alter table saved_`+table+` add unique (`+map[string]string{
			"erasures": "audit_seq", "contact_audit_log": "audit_seq", "duplicate_deliveries": "duplicate_seq", "operator_actions": "action_seq",
		}[table]+`)`)
	}
	const (
		blank  = ` field_values = null, given_columns = 0, id_values = null, last_known = null, salt = null, commitment = sha256('c'), erased_columns = '{name}' `
		newest = ` = (select max(audit_seq) from contact_audit_log where contact_id = 2 and outcome is not null) `
	)
	for tampering, want := range map[string]string{
		`delete from erasures where contact_id = 1`:                                                                                      "not in erasures",
		`delete from erasures where contact_id = 2`:                                                                                      "not in erasures",
		`update erasures set contact_id = 9 where contact_id = 1`:                                                                        "of another contact",
		`update erasures set context_identifier = 'Cust2' where contact_id = 1`:                                                          "of another contact",
		`update erasures set erased_at = erased_at + interval '1 us'`:                                                                    "another erased_at",
		`update erasures set lifted_at = now(), lifted_audit_seq = audit_seq + 1`:                                                        "another lifting",
		`update erasures set lifted_at = null, lifted_audit_seq = null`:                                                                  "another lifting",
		`update erasures set lifted_at = lifted_at - interval '1 hour'`:                                                                  "another lifting",
		`update erasures set reason = null where contact_id = 1`:                                                                         "another reason",
		`update erasures set reason = 'for fun' where contact_id = 2`:                                                                    "another reason",
		`insert into erasures select 1000, 'Cust1', 3, now()`:                                                                            "the log does not",
		`update erasures set audit_seq = 0 where contact_id = 1`:                                                                         "the log does not",
		`delete from operator_actions where contact_id = 1`:                                                                              "no such action",
		`delete from contact_audit_log where event = 'mirror.erased' and contact_id = 1`:                                                 "no erasure in the log",
		`delete from contact_audit_log where event = 'mirror.erasure_lifted'`:                                                            "another lifting",
		`delete from contact_audit_log where event = 'mirror.erased' and contact_id = 2`:                                                 "lifts no erasure",
		`update contact_audit_log set` + blank + `where contact_id = 3 and outcome is not null`:                                          "no erasure in the log",
		`update contact_audit_log set` + blank + `where audit_seq` + newest:                                                              "no erasure in the log",
		`update contact_audit_log set erased_columns = null where contact_id = 1`:                                                        "and it has them",
		`update contact_audit_log set erased_columns = null, field_values = '{"name": "Acme"}', salt = sha256('s') where contact_id = 2`: "and it has them",
		`insert into duplicate_deliveries values (1000, 99, now(), 0, sha256('d'))`:                                                      "no such event",
		`update duplicate_deliveries set event_seq = -1 where duplicate_seq = 1`:                                                         "no such event",
		`update duplicate_deliveries set body_sha256 = sha256('d')`:                                                                      "and its contact was erased",
		`update duplicate_deliveries set body_sha256 = ''`:                                                                               "its contact was not erased",
	} {
		r.tamper(`alter table contact_audit_log drop constraint if exists contact_audit_log_erased, drop constraint if exists contact_audit_log_salt`, tampering)
		report := r.run(Options{})
		if text := strings.Join(append(report.Erasures.Lines, report.Duplicates.Lines...), "\n"); !strings.Contains(text, want) || report.Differences() == 0 {
			t.Errorf("%s: found %q, want %q", tampering, text, want)
		}
		tenant := "Cust1"
		if one := r.run(Options{Tenant: &tenant}); one.Erasures.Wrong == 0 && one.Duplicates.Wrong == 0 && want != "no such event" {
			t.Errorf("%s is not found in its tenant alone", tampering)
		}
		for _, table := range []string{"erasures", "contact_audit_log", "duplicate_deliveries", "operator_actions"} {
			r.tamper(`delete from `+table, `insert into `+table+` select * from saved_`+table)
		}
	}
	if report := r.run(Options{}); report.Differences() > 0 {
		t.Errorf("put back: %v, %v", report.Erasures, report.Duplicates)
	}
}
