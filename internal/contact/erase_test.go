package contact_test

import (
	"testing"

	"contactmirror/internal/contact"
)

// Without its values a fact says of the same columns that they changed, and the
// same of the flag; folded, it leaves what was known and makes that pending.
func TestErase(t *testing.T) {
	t.Parallel()
	column := func(source string) contact.Column {
		c, ok := contact.BySource(source)
		if !ok {
			t.Fatal(source)
		}
		return c
	}
	name, country, deleted, date := column("name"), column("country_id"), column("deleted"), column("DeletedDate")
	for what, c := range map[string]struct {
		kind  contact.Kind
		given []contact.Cell
		flag  contact.Flag
	}{
		"changed, silent": {contact.Changed, []contact.Cell{{Column: name, Value: contact.TextValue("a")}}, contact.Silent},
		"changed, to deleted": {
			contact.Changed, []contact.Cell{{Column: deleted, Value: contact.IntValue(1)}, {Column: date, Value: contact.MicrosValue(5)}}, contact.IsDeleted,
		},
		"changed, restored": {contact.Changed, []contact.Cell{{Column: deleted, Value: contact.IntValue(0)}}, contact.NotDeleted},
		"created":           {contact.Created, nil, contact.NotDeleted},
		"soft-deleted":      {contact.SoftDeleted, []contact.Cell{{Column: deleted, Value: contact.IntValue(0)}}, contact.IsDeleted},
		"deleted":           {contact.Deleted, []contact.Cell{{Column: deleted, Value: contact.IntValue(1)}}, contact.Silent},
	} {
		f := contact.NewFact(contact.Order{Ticks: 100, Kind: c.kind}, nil, []string{"country_id", "x_own"}, c.given, 0)
		erased := f.Erase()
		again := erased.Erase()
		if len(erased.Given) != 0 || erased.Said() != f.Said() || erased.Unknown != f.Said() || !erased.Unknown.Has(country) {
			t.Errorf("%s: erased to %+v", what, erased)
		}
		if f.SoftDeleted() != c.flag || erased.SoftDeleted() != c.flag || again.SoftDeleted() != c.flag {
			t.Errorf("%s: flag %d, erased %d, want %d", what, f.SoftDeleted(), erased.SoftDeleted(), c.flag)
		}
		if len(f.Given) != len(c.given) {
			t.Errorf("%s: the fact itself has lost its values", what)
		}
	}
	var s contact.State
	first := contact.NewFact(contact.Order{Ticks: 1, Kind: contact.Changed}, nil, nil, []contact.Cell{{Column: name, Value: contact.TextValue("known")}}, 0)
	second := contact.NewFact(contact.Order{Ticks: 2, Kind: contact.Changed}, nil, nil, []contact.Cell{{Column: name, Value: contact.TextValue("erased")}}, 0)
	s.Merge([]contact.Fact{second.Erase(), first}, nil)
	if got := s.Row.Values[name]; got != contact.TextValue("known") || !s.Row.Pending.Has(name) {
		t.Errorf("name %v, pending %t", got, s.Row.Pending.Has(name))
	}
}
