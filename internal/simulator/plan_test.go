package simulator

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"contactmirror/internal/contact"
	"contactmirror/internal/event"
)

var start = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// allDials is a plan with something of everything.
func allDials() Dials {
	return Dials{
		Seed: 3, Tenants: []string{"sim-3-1", "sim-3-2"}, Contacts: 30, Events: 2000, Start: start,
		Mix:        Mix{Ties: 30, V10: 40, Burst: 10},
		Duplicates: 20, Reorder: 30, Span: 20, Tampered: 10, Malformed: 10, Delay: time.Second,
	}
}

func deliveries(dials Dials) (all []Delivery) {
	plan := NewPlan(dials)
	for d, ok := plan.Next(); ok; d, ok = plan.Next() {
		all = append(all, d)
	}
	return all
}

func TestPlanRepeats(t *testing.T) {
	t.Parallel()
	first := deliveries(allDials())
	if second := deliveries(allDials()); !slices.EqualFunc(first, second, sameDelivery) {
		t.Error("the same dials made other deliveries")
	}
	other := allDials()
	other.Seed++
	if slices.EqualFunc(first, deliveries(other), sameDelivery) {
		t.Error("another seed made the same deliveries")
	}
}

func sameDelivery(a, b Delivery) bool {
	return a.Kind == b.Kind && a.Tenant == b.Tenant && bytes.Equal(a.Body, b.Body) && bytes.Equal(a.Signed, b.Signed) &&
		a.Delay == b.Delay && a.Burst == b.Burst
}

// What goes wrong on the way changes nothing of what happens.
func TestPlanKeepsTheEvents(t *testing.T) {
	t.Parallel()
	calm := allDials()
	calm.Duplicates, calm.Reorder, calm.Tampered, calm.Malformed, calm.Delay = 0, 0, 0, 0, 0
	var want, got []string
	for _, d := range deliveries(calm) {
		want = append(want, string(d.Body))
	}
	for _, d := range deliveries(allDials()) {
		if d.Kind == Genuine {
			got = append(got, string(d.Body))
		}
	}
	if len(got) != calm.Events {
		t.Errorf("got %d events, want %d", len(got), calm.Events)
	}
	if slices.Equal(want, got) {
		t.Error("nothing was overtaken")
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Error("other events happened")
	}
}

func TestPlanHeedsItsDials(t *testing.T) {
	t.Parallel()
	dials := allDials()
	count := map[string]int{}
	seen := map[string]bool{}
	for _, d := range deliveries(dials) {
		e, err := event.Parse(d.Body, start.Add(365*24*time.Hour))
		switch d.Kind {
		case Genuine:
			count["genuine"]++
			seen[string(d.Body)] = true
		case Duplicate:
			count["duplicate"]++
		case Tampered:
			count["tampered"]++
			if err != nil || seen[string(d.Body)] || bytes.Equal(d.Body, d.Signed) {
				t.Errorf("tampered with: %v: %s", err, d.Body)
			}
			continue
		case Malformed:
			count["malformed"]++
			if err == nil {
				t.Errorf("not malformed: %s", d.Body)
			}
			continue
		}
		if err != nil || e.Tenant != d.Tenant || !bytes.Equal(d.Body, d.Signed) {
			t.Errorf("%v: %+v", err, d)
		}
		if d.Kind == Genuine {
			count[e.Name]++
			if e.Contact.FieldValues == nil {
				count["without values"]++
			}
			if d.Burst {
				count["burst"]++
			}
		}
	}
	for what, bounds := range map[string][2]int{
		"genuine": {2000, 2000}, "duplicate": {300, 500}, "tampered": {130, 270}, "malformed": {130, 270}, "burst": {100, 800},
		"without values": {500, 1200}, "contact.created": {200, 1500}, "contact.changed": {200, 1500},
		"contact.softdeleted": {50, 500}, "contact.deleted": {20, 300},
	} {
		if n := count[what]; n < bounds[0] || n > bounds[1] {
			t.Errorf("got %d %s, want %d to %d", n, what, bounds[0], bounds[1])
		}
	}
}

// Lives without a mix are what they were before there was one: other tests'
// seeds stand for cases that were found with them.
func TestLivesStayTheSame(t *testing.T) {
	t.Parallel()
	lives := NewLives(7, []string{"Cust1"}, 5, start)
	var last []byte
	for range 100 {
		last = lives.Next()
	}
	const want = `{"ChangedByAssociateId":6,"Changes":["contact_id","department","updated","updated_associate_id"],"ContextIdentifier":"Cust1","Entity":"contact","Event":"contact.changed","EventId":"f44fdcc8-2788-efd8-122a-ff211491c0ac","PrimaryKey":2,"Timestamp":"2020-01-01T00:02:31.3264433Z","WebhookName":"contact mirror"}`
	if got := string(last); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// What an event says of the recycle bin is what the life knows, however a date
// that is not set is spelled.
func TestLives_notSet(t *testing.T) {
	t.Parallel()
	lives := NewLives(1, []string{"Cust1"}, 40, start)
	spelled := map[string]bool{}
	for range 2000 {
		e, err := event.Parse(lives.Next(), start.AddDate(1, 0, 0))
		if err != nil {
			t.Fatal(err)
		}
		life := lives.last
		if !life.v11 || e.Contact.Fact.Order.Kind == contact.Deleted {
			continue
		}
		if says := e.Contact.Fact.SoftDeleted() == contact.IsDeleted; says != life.softDeleted {
			t.Fatalf("%s says deleted: %t, of a contact with %v", e.Name, says, life.values["DeletedDate"])
		}
		if len(e.Contact.Unreadable) > 0 {
			t.Fatalf("%v can't be read", e.Contact.Unreadable)
		}
		if !life.softDeleted {
			spelled[life.values["DeletedDate"].(string)] = true
		}
	}
	if len(spelled) != 8 {
		t.Errorf("only %d spellings: %v", len(spelled), spelled)
	}
}
