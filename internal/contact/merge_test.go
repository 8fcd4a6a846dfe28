package contact_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"contactmirror/internal/contact"
)

// life draws the facts of one contact: few ticks and few columns, so that ties,
// overwritten columns and several deletes are common.
func life(t *rapid.T) []contact.Fact {
	facts := rapid.SliceOfNDistinct(rapid.Custom(fact), 1, 14, func(f contact.Fact) contact.Order { return f.Order }).Draw(t, "facts")
	return facts
}

func fact(t *rapid.T) contact.Fact {
	kind := rapid.SampledFrom([]contact.Kind{
		contact.Created, contact.Changed, contact.Changed, contact.Changed, contact.SoftDeleted, contact.SoftDeleted, contact.Deleted,
	}).Draw(t, "kind")
	order := contact.Order{
		Ticks: contact.Ticks(rapid.Int64Range(1, 9).Draw(t, "ticks")) * 5, // half of them no whole microsecond
		Kind:  kind,
		ID:    contact.EventID{rapid.Byte().Draw(t, "id")},
	}
	names := rapid.SliceOfDistinct(rapid.SampledFrom([]string{
		"contact_id", "name", "country_id", "deleted", "DeletedDate", "no column of ours",
	}), rapid.ID).Draw(t, "changes")
	var given []contact.Cell
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"country_id", "name", "deleted", "DeletedDate"}), rapid.ID).Draw(t, "given") {
		c, _ := contact.BySource(name)
		given = append(given, contact.Cell{Column: c, Value: value(t, c)})
	}
	unreadable := contact.Set(0)
	if c, _ := contact.BySource("deleted"); rapid.Bool().Draw(t, "unreadable") &&
		!slices.ContainsFunc(given, func(cell contact.Cell) bool { return cell.Column == c }) {
		unreadable = contact.SetOf(c)
	}
	by := int64(order.ID[0])
	return contact.NewFact(order, &by, names, given, unreadable)
}

func value(t *rapid.T, c contact.Column) contact.Value {
	n := rapid.Int64Range(-1, 2).Draw(t, "value")
	switch {
	case n < 0:
		return contact.Value{}
	case c.Spec().Type == contact.Text:
		return contact.TextValue(fmt.Sprint(n))
	case c.Spec().Type == contact.Timestamptz:
		return contact.MicrosValue(1000 + n)
	}
	return contact.IntValue(n)
}

// oracle is the fold as a reader of the rules would do it by hand: each column,
// and the flag, for itself, over all facts at once.
func oracle(facts []contact.Fact) contact.State {
	facts = slices.SortedFunc(slices.Values(facts), func(a, b contact.Fact) int { return a.Order.Compare(b.Order) })
	for _, f := range facts {
		if f.Order.Kind == contact.Deleted {
			return contact.State{Life: contact.Gone, Last: f.Order}
		}
	}
	last := facts[len(facts)-1]
	s := contact.State{Life: contact.Live, Last: last.Order, ChangedBy: last.ChangedBy}
	for c := range contact.Column(contact.NumColumns) {
		pending := true
		for _, f := range facts {
			for _, cell := range f.Given {
				if cell.Column == c {
					s.Row.Values[c], pending = cell.Value, false
				}
			}
			if f.Unknown.Has(c) {
				pending = true
			}
		}
		if pending && c.Spec().Source != "contact_id" {
			s.Row.Pending |= contact.SetOf(c)
		}
	}
	deletedDate, _ := contact.BySource("DeletedDate")
	for i := len(facts) - 1; i >= 0; i-- {
		flag := facts[i].SoftDeleted()
		if flag == contact.NotDeleted {
			break
		}
		if flag != contact.IsDeleted {
			continue
		}
		dated := slices.ContainsFunc(facts[i:], func(f contact.Fact) bool {
			return slices.ContainsFunc(f.Given, func(c contact.Cell) bool { return c.Column == deletedDate && !c.Value.IsNull() })
		})
		s.Row.SoftDeleted = true
		if !dated {
			s.Row.SoftDeletedAt = facts[i].Order.Ticks.Micros()
			continue
		}
		for _, cell := range facts[i].Given {
			if cell.Column == deletedDate && !cell.Value.IsNull() {
				s.Row.SoftDeletedAt = cell.Value.Time().UnixMicro()
				return s
			}
		}
	}
	return s
}

// Any arrival order and any batching of the same facts gives one state, which
// is the oracle's.
func TestMergeIsAFunctionOfTheSet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		facts := life(t)
		want := oracle(facts)
		arrival := rapid.Permutation(facts).Draw(t, "arrival")

		var got contact.State
		for rest := arrival; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "batch")
			batch, history := rest[:n], arrival[:len(arrival)-len(rest)]
			if !got.NeedsHistory(batch) {
				history = nil
			}
			before := got
			results := got.Merge(batch, slices.Clone(history))
			checkOutcomes(t, before, got, batch, results)
			checkEffects(t, before, got, batch, results)
			rest = rest[n:]
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(contact.Value{})); diff != "" {
			t.Fatalf("merged state differs from the fold of all facts (-want +got):\n%s", diff)
		}
	})
}

// checkOutcomes holds the outcomes of one batch against what it did.
func checkOutcomes(t *rapid.T, before, after contact.State, batch []contact.Fact, results []contact.Result) {
	applied := 0
	for i, r := range results {
		switch {
		case r.Outcome == contact.Applied:
			applied++
		case r.Outcome == contact.AfterDelete && (after.Life != contact.Gone || batch[i].Order.Compare(after.Last) < 0):
			t.Fatalf("%v is after_delete of %+v", batch[i].Order, after)
		case r.Outcome == contact.Superseded && after.Life == contact.Live && batch[i].Order.Compare(before.Last) > 0:
			t.Fatalf("%v is superseded, yet nothing came later", batch[i].Order)
		}
		if r.LastKnown != nil && batch[i].Order.Kind != contact.Deleted {
			t.Fatalf("%v has a last known row", batch[i].Order)
		}
	}
	if len(batch) > 1 {
		return
	}
	tombstoneMoved := before.Life == contact.Gone && before.Last != after.Last
	if changed := before.Row != after.Row || before.Life != after.Life || tombstoneMoved; changed != (applied == 1) {
		t.Fatalf("outcome %s of %+v, but changed is %t", results[0].Outcome, batch[0], changed)
	}
}

// checkEffects applies the effects of one batch, in the order of its facts, as a
// consumer does that knows nothing else.
func checkEffects(t *rapid.T, before, after contact.State, batch []contact.Fact, results []contact.Result) {
	type known struct{ exists, softDeleted bool }
	of := func(s contact.State) known {
		return known{s.Life == contact.Live, s.Row.SoftDeleted}
	}
	places := make([]int, len(batch))
	for i := range places {
		places[i] = i
	}
	slices.SortFunc(places, func(a, b int) int { return batch[a].Order.Compare(batch[b].Order) })
	consumer, unchanged := of(before), true
	for _, i := range places {
		effect := results[i].Effect
		switch effect {
		case contact.EffectUpserted:
			consumer.exists = true
		case contact.EffectSoftDeleted:
			consumer = known{exists: true, softDeleted: true}
		case contact.EffectRestored:
			if !consumer.softDeleted {
				t.Fatalf("%v restores a contact that is not soft-deleted", batch[i].Order)
			}
			consumer.softDeleted = false
		case contact.EffectDeleted:
			consumer = known{}
		case contact.EffectUnchanged:
		default:
			t.Fatalf("%v has the effect %q", batch[i].Order, effect)
		}
		unchanged = unchanged && effect == contact.EffectUnchanged
		if results[i].Outcome != contact.Applied && effect != contact.EffectUnchanged {
			t.Fatalf("%v is %s and has the effect %q", batch[i].Order, results[i].Outcome, effect)
		}
	}
	if consumer != of(after) {
		t.Fatalf("after the effects %+v, in the mirror %+v", consumer, of(after))
	}
	if unchanged && (before.Row != after.Row || before.Life != after.Life) {
		t.Fatalf("unchanged by its effects, but %+v became %+v", before, after)
	}
}

func at(ticks contact.Ticks, kind contact.Kind, changes []string, given ...contact.Cell) contact.Fact {
	return contact.NewFact(contact.Order{Ticks: ticks, Kind: kind}, nil, changes, given, 0)
}

func cell(t *testing.T, source string, s contact.Scalar) contact.Cell {
	t.Helper()
	c, ok := contact.BySource(source)
	if !ok {
		t.Fatalf("no column %s", source)
	}
	v, ok := contact.Decode(c, s, math.MaxInt64)
	if !ok {
		t.Fatalf("%s can't be %+v", source, s)
	}
	return contact.Cell{Column: c, Value: v}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	name := func(s string) contact.Cell { return cell(t, "name", contact.Scalar{Kind: contact.String, Text: s}) }
	tests := []struct {
		name string
		past []contact.Fact
		fact contact.Fact
		want contact.Outcome
	}{
		{"first seen", nil, at(1, contact.Changed, nil), contact.Applied},
		{"first seen is a delete", nil, at(1, contact.Deleted, nil), contact.Applied},
		{"says nothing", []contact.Fact{at(1, contact.Created, nil)}, at(2, contact.Changed, nil), contact.NoOp},
		{"value known", []contact.Fact{at(1, contact.Created, nil, name("a"))}, at(2, contact.Changed, nil, name("a")), contact.NoOp},
		{"value new", []contact.Fact{at(1, contact.Created, nil, name("a"))}, at(2, contact.Changed, nil, name("b")), contact.Applied},
		{"value no longer known", []contact.Fact{at(1, contact.Created, nil, name("a"))}, at(2, contact.Changed, []string{"name"}), contact.Applied},
		{"late, overwritten", []contact.Fact{at(5, contact.Changed, nil, name("a"))}, at(2, contact.Changed, nil, name("b")), contact.Superseded},
		{"late, overwritten by an unknown value", []contact.Fact{at(1, contact.Changed, nil, name("a")), at(5, contact.Changed, []string{"name"})}, at(2, contact.Changed, []string{"name"}), contact.Superseded},
		{"late, the value behind a pending column", []contact.Fact{at(1, contact.Changed, nil, name("a")), at(5, contact.Changed, []string{"name"})}, at(2, contact.Changed, nil, name("b")), contact.Applied},
		{"late, another column", []contact.Fact{at(5, contact.Changed, []string{"department"})}, at(2, contact.Changed, nil, name("b")), contact.Applied},
		{"late, known already", []contact.Fact{at(1, contact.Created, nil, name("a")), at(5, contact.Changed, []string{"department"})}, at(2, contact.Changed, nil, name("a")), contact.NoOp},
		{"late restore after a later soft delete", []contact.Fact{at(1, contact.Created, nil), at(5, contact.SoftDeleted, nil)}, at(2, contact.Created, nil), contact.Superseded},
		{"after the delete", []contact.Fact{at(5, contact.Deleted, nil)}, at(6, contact.Changed, nil), contact.AfterDelete},
		{"second delete", []contact.Fact{at(5, contact.Deleted, nil)}, at(6, contact.Deleted, nil), contact.AfterDelete},
		{"earlier delete makes the tombstone", []contact.Fact{at(5, contact.Deleted, nil)}, at(4, contact.Deleted, nil), contact.Applied},
		{"before the delete", []contact.Fact{at(5, contact.Deleted, nil)}, at(4, contact.Changed, nil), contact.Superseded},
		{"delete before what is known", []contact.Fact{at(5, contact.Changed, nil)}, at(4, contact.Deleted, nil), contact.Applied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var s contact.State
			s.Merge(tt.past, nil)
			if got := s.Merge([]contact.Fact{tt.fact}, tt.past)[0].Outcome; got != tt.want {
				t.Errorf("outcome %s, want %s", got, tt.want)
			}
		})
	}
}

// A late soft delete without a date starts an earlier stretch, though a later
// one says the flag too.
func TestLateSoftDeleteMovesSince(t *testing.T) {
	t.Parallel()
	past := []contact.Fact{at(10, contact.Created, nil), at(500, contact.SoftDeleted, nil)}
	var s contact.State
	s.Merge(past, nil)
	if got := s.Row.SoftDeletedAt; got != 50 {
		t.Fatalf("soft-deleted at %d µs, want 50", got)
	}
	late := at(309, contact.SoftDeleted, nil)
	if got := s.Merge([]contact.Fact{late}, past)[0].Outcome; got != contact.Applied || s.Row.SoftDeletedAt != 30 {
		t.Errorf("outcome %s, soft-deleted at %d µs, want applied and 30 (309 ticks, cut)", got, s.Row.SoftDeletedAt)
	}
}

func TestHardDeleteKeepsLastKnown(t *testing.T) {
	t.Parallel()
	var s contact.State
	s.Merge([]contact.Fact{at(10, contact.Created, nil)}, nil)
	before := s
	r := s.Merge([]contact.Fact{at(20, contact.Deleted, nil)}, nil)[0]
	if r.LastKnown == nil || *r.LastKnown != before || s.Life != contact.Gone {
		t.Errorf("last known %+v of %+v, want %+v and a contact that is gone", r.LastKnown, s, before)
	}
	if r := s.Merge([]contact.Fact{at(30, contact.Deleted, nil)}, nil)[0]; r.LastKnown != nil {
		t.Errorf("a second delete knows a row: %+v", r.LastKnown)
	}
}
