package contact

// Life is where a contact stands between not seen and gone for good.
type Life uint8

// The values of [Life]. A soft-deleted contact is Live: it has a row.
const (
	Unseen Life = iota
	Live
	Gone
)

// Row is what the contacts table says of a contact, but for its key and for
// what is noted of its last event. Rows are comparable with ==.
type Row struct {
	// Values holds the last known value of each column; the id's stays NULL
	// here, for the key has it.
	Values [NumColumns]Value
	// Pending is the columns whose current value is not known.
	Pending     Set
	SoftDeleted bool
	// SoftDeletedAt is since when, in microseconds; 0 when not SoftDeleted. It is
	// the last set DeletedDate given during the current soft-deleted stretch, or
	// else the time of the stretch's first fact.
	SoftDeletedAt int64
}

// State is what is known of one contact. The zero value is a contact of which
// nothing has been seen.
type State struct {
	Life Life
	Row  Row
	// Last is the place of the last fact folded, and ChangedBy who caused it. Of
	// a contact that is Gone, Last is its hard delete.
	Last      Order
	ChangedBy *int64
}

// Apply folds f into s and reports whether that changed more than s.Last and
// s.ChangedBy. f must come after s.Last or be a hard delete, and s must not be
// Gone: nothing follows a hard delete. [State.Merge] has no such conditions.
func (s *State) Apply(f *Fact) (changed bool) {
	if f.Order.Kind == Deleted {
		*s = State{Life: Gone, Last: f.Order}
		return true
	}
	if s.Life == Unseen {
		s.Life, s.Row = Live, Row{Pending: everything}
		changed = true
	}
	s.Last, s.ChangedBy = f.Order, f.ChangedBy
	return s.Row.apply(f) || changed
}

func (r *Row) apply(f *Fact) (changed bool) {
	pending := r.Pending.With(f.Unknown)
	for _, cell := range f.Given {
		if r.Values[cell.Column] != cell.Value {
			r.Values[cell.Column], changed = cell.Value, true
		}
		pending = pending.Without(SetOf(cell.Column))
	}
	changed = changed || pending != r.Pending
	r.Pending = pending
	return r.applyFlag(f) || changed
}

func (r *Row) applyFlag(f *Fact) (changed bool) {
	flag, since := r.SoftDeleted, r.SoftDeletedAt
	switch f.SoftDeleted() {
	case NotDeleted:
		flag, since = false, 0
	case IsDeleted:
		if us, ok := f.deletedDate(); ok {
			since = us
		} else if !flag {
			since = f.Order.Ticks.Micros()
		}
		flag = true
	}
	changed = flag != r.SoftDeleted || since != r.SoftDeletedAt
	r.SoftDeleted, r.SoftDeletedAt = flag, since
	return changed
}
