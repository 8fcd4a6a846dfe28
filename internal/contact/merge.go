package contact

import "slices"

// Outcome is what became of a fact when it was merged. It depends on what had
// arrived before; the resulting state does not.
type Outcome string

// The values of [Outcome], as they stand in contact_audit_log.
const (
	// Applied facts changed what is known of the contact.
	Applied Outcome = "applied"
	// NoOp facts said what was known already.
	NoOp Outcome = "no_op"
	// Superseded facts arrived after later ones that say all they say, or
	// belong to a contact since hard-deleted.
	Superseded Outcome = "superseded"
	// AfterDelete facts come later in order than the contact's hard delete.
	AfterDelete Outcome = "after_delete"
)

// Effect is what merging a fact did to the contact as the mirror holds it. A
// consumer that applies effects in the order in which the facts were merged agrees
// with the mirror on whether the contact has a row and on the soft-delete flag.
type Effect string

// The values of [Effect], as they stand in contact_audit_log.
const (
	EffectUpserted Effect = "upserted"
	// EffectSoftDeleted is that the flag was set, or that the contact was first
	// seen with the flag set.
	EffectSoftDeleted Effect = "soft_deleted"
	EffectRestored    Effect = "restored"
	EffectDeleted     Effect = "deleted"
	// EffectErased is the effect of an erasure, which is no fact.
	EffectErased Effect = "erased"
	// EffectUnchanged is that at most the last event, or the time of the hard delete,
	// changed.
	EffectUnchanged Effect = "unchanged"
)

// effect is what a fact with this outcome did, which found a contact in the state
// life and flag, and left s.
func (s *State) effect(life Life, flag bool, outcome Outcome) Effect {
	switch {
	case outcome != Applied || life == Gone:
		return EffectUnchanged
	case s.Life == Gone:
		return EffectDeleted
	case s.Row.SoftDeleted && !flag:
		return EffectSoftDeleted
	case !s.Row.SoftDeleted && flag:
		return EffectRestored
	}
	return EffectUpserted
}

// Result is what became of one merged fact.
type Result struct {
	Outcome Outcome
	Effect  Effect
	// Noticed is the columns that changed although no event said so: the fact gives
	// them a value without naming them, and the last fact that named them or gave
	// them a value gave another one. It is right while no fact of the contact is
	// Irregular, whatever is merged later.
	Noticed Set
	// Irregular is set where what the facts of the contact noticed can't be told from
	// the state in which they arrive: this one is not later, by the source's clock,
	// than all that were merged before, or [Fact.Irregular].
	Irregular bool
	// LastKnown is the row that a hard delete took away; nil for any other fact,
	// and when no row was known.
	LastKnown *State
}

// NeedsHistory reports whether [State.Merge] of facts needs the facts folded
// into s before: whether one of them arrives after a later one.
func (s *State) NeedsHistory(facts []Fact) bool {
	return s.Life == Live && slices.ContainsFunc(facts, s.late)
}

// late facts belong between facts already folded. A hard delete never needs to
// know them: whatever they said, it ends them.
func (s *State) late(f Fact) bool {
	return f.Order.Kind != Deleted && f.Order.Compare(s.Last) < 0
}

// Merge folds facts, in any order, into s. history is the facts folded into s
// before, in any order; it may be nil when [State.NeedsHistory] says so.
// Results are in the order of facts.
//
// Facts merged in one call count as having arrived in the source's order.
func (s *State) Merge(facts, history []Fact) []Result {
	byOrder := make([]int, len(facts))
	for i := range byOrder {
		byOrder[i] = i
	}
	slices.SortFunc(byOrder, func(a, b int) int { return facts[a].Order.Compare(facts[b].Order) })

	results := make([]Result, len(facts))
	past := timeline{facts: history}
	for _, i := range byOrder {
		life, flag := s.Life, s.Row.SoftDeleted
		results[i] = s.merge(&facts[i], &past)
		results[i].Effect = s.effect(life, flag, results[i].Outcome)
	}
	return results
}

func (s *State) merge(f *Fact, past *timeline) Result {
	switch {
	case s.Life == Gone:
		outcome := s.mergeGone(f)
		return Result{Outcome: outcome, Irregular: outcome == Superseded}
	case f.Order.Kind == Deleted:
		var known *State
		if s.Life == Live {
			before := *s
			known = &before
		}
		s.Apply(f)
		return Result{Outcome: Applied, LastKnown: known}
	case s.Life == Live && s.late(*f):
		return Result{Outcome: past.insert(f, &s.Row), Irregular: true}
	}
	r := Result{Outcome: NoOp, Irregular: f.Irregular || s.Life == Live && f.Order.Ticks == s.Last.Ticks}
	if !r.Irregular {
		r.Noticed = s.notices(f)
	}
	if s.Apply(f) {
		r.Outcome = Applied
	}
	return r
}

// notices is the columns that f gives a value other than the known one without naming
// them. In a contact not seen before none is known.
func (s *State) notices(f *Fact) (noticed Set) {
	if s.Life != Live {
		return 0
	}
	for _, cell := range f.Given {
		if !f.Named.Has(cell.Column) && !s.Row.Pending.Has(cell.Column) && s.Row.Values[cell.Column] != cell.Value {
			noticed |= SetOf(cell.Column)
		}
	}
	return noticed
}

// mergeGone merges a fact of a contact that is hard-deleted already. The
// earliest hard delete counts.
func (s *State) mergeGone(f *Fact) Outcome {
	switch {
	case f.Order.Compare(s.Last) > 0:
		return AfterDelete
	case f.Order.Kind == Deleted:
		s.Last = f.Order
		return Applied
	}
	return Superseded
}

// timeline is the facts of a live contact, into which late ones are inserted,
// earlier ones first.
type timeline struct {
	facts  []Fact
	sorted bool
	// prefix is the fold of facts[:next], where the last insertion took place.
	prefix State
	next   int
}

// insert puts f into t and row, the fold of all of t, where f is not the last.
func (t *timeline) insert(f *Fact, row *Row) Outcome {
	if !t.sorted {
		t.facts = slices.SortedFunc(slices.Values(t.facts), func(a, b Fact) int { return a.Order.Compare(b.Order) })
		t.sorted = true
	}
	for t.next < len(t.facts) && t.facts[t.next].Order.Compare(f.Order) < 0 {
		t.prefix.Apply(&t.facts[t.next])
		t.next++
	}
	without, with := t.prefix, t.prefix
	with.Apply(f)
	t.facts = slices.Insert(t.facts, t.next, *f)

	for i := t.next + 1; i < len(t.facts); i++ {
		without.Apply(&t.facts[i])
		with.Apply(&t.facts[i])
		if with.Row == without.Row { // from here on the same facts say the same
			return t.fruitless(f)
		}
	}
	*row = with.Row
	return Applied
}

// fruitless tells the outcome of f, just inserted, that changed nothing.
func (t *timeline) fruitless(f *Fact) Outcome {
	said, flag := f.Said(), f.SoftDeleted() != Silent
	for i := t.next + 1; i < len(t.facts) && (said != 0 || flag); i++ {
		later := &t.facts[i]
		said = said.Without(later.Said())
		flag = flag && later.SoftDeleted() == Silent
	}
	if said == 0 && !flag {
		return Superseded
	}
	return NoOp
}
