package inbox_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/inbox"
	"contactmirror/internal/pgtest"
)

// In a restore, the row may be missing that says that a contact is erased. Nothing
// that would be stored with its values is stored then.
func TestPut_waitsForErasures(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	in := start(t, db.Pool)
	event := delivery(t, "Cust1", 7, 1)
	if got := put(t, in, event); got != inbox.Accepted {
		t.Fatalf("the event is %s", got)
	}
	tenant := "Cust1"
	deliveries := map[inbox.Result]inbox.Delivery{
		inbox.Duplicate: event,
		inbox.Ignored: parsed(t, `{"EventId":"00000000-0000-0000-0000-000000000002","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.merged",`+
			`"PrimaryKey":7,"ContextIdentifier":"Cust1","FieldValues":{"name":"secret"}}`),
		inbox.Quarantined: {
			Body:       []byte(`{"EventId":"secret","Event":"contact.changed","PrimaryKey":7,"ContextIdentifier":"Cust1","FieldValues":{"name":"secret"}}`),
			ReceivedAt: received, Reason: "EventId is no GUID", Tenant: &tenant,
		},
	}
	for _, statement := range []string{"drop index erasures_in_force", "alter table erasures drop constraint erasures_pkey"} {
		execute(t, db.Pool, statement)
		for want, d := range deliveries {
			if got, err := in.Put(context.Background(), d); err == nil || !strings.Contains(err.Error(), "a restore is under way") {
				t.Errorf("%s: put what would be %s: %s, %v, want an error about a restore", statement, want, got, err)
			}
		}
	}
	execute(t, db.Pool, `insert into erasures (audit_seq, context_identifier, contact_id, erased_at) values (1, 'Cust1', 7, now())`)
	execute(t, db.Pool, `alter table erasures add primary key (audit_seq)`)
	execute(t, db.Pool, `create unique index erasures_in_force on erasures (context_identifier, contact_id) where lifted_at is null`)
	for want, d := range deliveries {
		if got := put(t, in, d); got != want {
			t.Errorf("after the restore: %s, want %s", got, want)
		}
	}
	got := texts(t, db.Pool, `select concat_ws(' ',
		(select count(*) from webhook_bodies b join webhook_events e using (event_seq) where e.ignored),
		(select count(*) from duplicate_deliveries where body_sha256 <> ''),
		(select count(*) from quarantined_deliveries where body like '%secret%'),
		(select concat_ws(' ', (select count(*) from webhook_events where ignored), (select count(*) from duplicate_deliveries), (select count(*) from quarantined_deliveries))))`)
	if want := []string{"0 0 0 1 1 1"}; !cmp.Equal(got, want) {
		t.Errorf("bodies, hashes and quarantined bodies with values, and rows of each: %q, want %q", got, want)
	}
}
