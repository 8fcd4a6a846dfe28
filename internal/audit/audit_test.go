package audit_test

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/audit"
	"contactmirror/internal/contact"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/simulator"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var received = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// apply stores the events of bodies and applies them, and returns them.
func apply(t *testing.T, db *pgtest.DB, bodies ...[]byte) (events []event.Event) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), db.Pool, func(tx pgx.Tx) error {
		for _, body := range bodies {
			e, err := event.Parse(body, received)
			if err != nil {
				return err
			}
			events = append(events, e)
			if _, err := inbox.PutIn(t.Context(), tx, inbox.Delivery{Body: body, ReceivedAt: received, Event: &e}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- mirror.New(db.Pool, slog.New(slog.DiscardHandler), 1).Run(ctx) }()
	for logged := 0; logged < len(bodies); {
		if err := db.Pool.QueryRow(t.Context(), `select count(*) from contact_audit_log`).Scan(&logged); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return events
}

// What is read back from the log is the fact that the event was: the fold of
// the log is the fold of the events.
func TestFactsComeBack(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	lives := simulator.NewLives(1, []string{"", "Cust1"}, 20, received.AddDate(0, -1, 0))
	bodies := [][]byte{[]byte(`{"EventId":"88f91933-edce-4c1a-8ded-ade8e2f72434","Timestamp":"2025-05-14T10:48:07.8912039Z","Event":"contact.changed",
		"PrimaryKey":18,"Changes":["name","x_own","soundEx"],"FieldValues":{"country_id":"[I:6]","xstop":"1","name":"Bj\u00f8rge \"x\" \ud83d\ude00",
		"updated":"2025-05-14T10:48:07.8912039+02:00","DeletedDate":null,"deleted":{},"category_idx":6.0,"y_own":1}}`)}
	for range 300 {
		bodies = append(bodies, lives.Next())
	}
	want := map[contact.Key][]contact.Fact{}
	for _, e := range apply(t, db, bodies...) {
		want[e.Contact.Key] = append(want[e.Contact.Key], e.Contact.Fact)
	}
	for key, facts := range want {
		got, err := audit.Facts(t.Context(), db.Pool, []contact.Key{{Tenant: "nobody's", ID: 1}, key})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got[0] != nil {
			t.Fatalf("facts of nobody's contact: %v", got)
		}
		canonical(facts)
		canonical(got[1])
		if diff := gocmp.Diff(facts, got[1], gocmp.AllowUnexported(contact.Value{})); diff != "" {
			t.Errorf("facts of %v (-event +log):\n%s", key, diff)
		}
	}
}

// canonical orders facts, and the cells in them, which jsonb does not keep.
func canonical(facts []contact.Fact) {
	slices.SortFunc(facts, func(a, b contact.Fact) int { return a.Order.Compare(b.Order) })
	for _, f := range facts {
		slices.SortFunc(f.Given, func(a, b contact.Cell) int { return cmp.Compare(a.Column, b.Column) })
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	body := func(id, second, kind, rest string) []byte {
		return []byte(`{"EventId":"00000000-0000-0000-0000-00000000000` + second + `","Timestamp":"2026-01-01T00:00:0` + second +
			`Z","Event":"contact.` + kind + `","PrimaryKey":` + id + `,"ContextIdentifier":"Cust1","ChangedByAssociateId":5` + rest + `}`)
	}
	apply(t, db,
		body("7", "3", "softdeleted", ""), body("7", "1", "created", `,"FieldValues":{"name":"Acme"}`), body("7", "2", "changed", `,"Changes":["department"]`),
		body("8", "1", "created", ""), body("8", "4", "deleted", ""))

	if got, err := audit.Tenants(t.Context(), db.Pool, 7); err != nil || !slices.Equal(got, []string{"Cust1"}) {
		t.Errorf("tenants of contact 7: %q, %v", got, err)
	}
	if got, err := audit.Tenants(t.Context(), db.Pool, 9); err != nil || len(got) != 0 {
		t.Errorf("tenants of contact 9: %q, %v", got, err)
	}
	now, entries, err := audit.History(t.Context(), db.Pool, contact.Key{Tenant: "Cust1", ID: 7})
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	for _, e := range entries {
		events = append(events, e.Event)
	}
	if want := []string{"contact.created", "contact.changed", "contact.softdeleted"}; !slices.Equal(events, want) {
		t.Errorf("events %q, want %q", events, want)
	}
	for i, want := range []struct {
		changed []string
		values  string
		deleted *bool
	}{{[]string{}, `{"name": "Acme"}`, new(false)}, {[]string{"department"}, "", nil}, {[]string{}, "", new(true)}} {
		e := entries[i]
		if diff := gocmp.Diff(want.changed, e.ChangedColumns) + gocmp.Diff(want.values, string(e.FieldValues)) + gocmp.Diff(want.deleted, e.SoftDeleted); diff != "" {
			t.Errorf("entry %d (-want +got):\n%s", i, diff)
		}
	}
	if !now.Live || !now.SoftDeleted || *now.Name != "Acme" || *now.LastChangedByAssociateID != 5 || len(now.PendingColumns) != 36 {
		t.Errorf("now %+v", now)
	}
	now, _, err = audit.History(t.Context(), db.Pool, contact.Key{Tenant: "Cust1", ID: 8})
	if err != nil || now.Live || now.HardDeletedAt == nil || now.HardDeletedAt.Second() != 4 {
		t.Errorf("a deleted contact: %+v, %v", now, err)
	}
	now, entries, err = audit.History(t.Context(), db.Pool, contact.Key{Tenant: "Cust1", ID: 9})
	if err != nil || now.Live || now.HardDeletedAt != nil || len(entries) != 0 {
		t.Errorf("a contact never seen: %+v, %d entries, %v", now, len(entries), err)
	}
}
