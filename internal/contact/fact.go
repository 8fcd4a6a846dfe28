package contact

import (
	"bytes"
	"cmp"
	"encoding/hex"
)

// Kind is what happened to a contact. The values are their rank in [Order]:
// of two facts at the same tick, the one that ends more wins.
type Kind uint8

// The four contact events that SuperOffice sends.
const (
	Created Kind = iota
	Changed
	SoftDeleted
	Deleted
)

var kindNames = [...]string{"contact.created", "contact.changed", "contact.softdeleted", "contact.deleted"}

// ParseKind finds the kind that SuperOffice calls name, case included.
func ParseKind(name string) (Kind, bool) {
	for k, n := range kindNames {
		if n == name {
			return Kind(k), true
		}
	}
	return 0, false
}

// String is SuperOffice's name, for example contact.changed.
func (k Kind) String() string { return kindNames[k] }

// EventID is the GUID that SuperOffice gives an event.
type EventID [16]byte

// String writes id in lower case with hyphens.
func (id EventID) String() string {
	var b [36]byte
	hex.Encode(b[:], id[:4])
	b[8] = '-'
	hex.Encode(b[9:], id[4:6])
	b[13] = '-'
	hex.Encode(b[14:], id[6:8])
	b[18] = '-'
	hex.Encode(b[19:], id[8:10])
	b[23] = '-'
	hex.Encode(b[24:], id[10:])
	return string(b[:])
}

// Order places a fact among the facts of its contact: by the source's clock,
// then by kind, then by id. SuperOffice's own samples show two events with one
// Timestamp and one EventId, so no two of the three suffice.
type Order struct {
	Ticks Ticks
	Kind  Kind
	ID    EventID
}

// Compare is -1, 0 or 1 as o comes before, is, or comes after other.
func (o Order) Compare(other Order) int {
	return cmp.Or(
		cmp.Compare(o.Ticks, other.Ticks),
		cmp.Compare(o.Kind, other.Kind),
		bytes.Compare(o.ID[:], other.ID[:]),
	)
}

// Key names a contact: its tenant (SuperOffice's ContextIdentifier) and its id
// there.
type Key struct {
	Tenant string
	ID     int64
}

// Compare is -1, 0 or 1 as k sorts before, with or behind other, by tenant.
func (k Key) Compare(other Key) int {
	return cmp.Or(cmp.Compare(k.Tenant, other.Tenant), cmp.Compare(k.ID, other.ID))
}

// Cell is a column with the value that a fact gives it.
type Cell struct {
	Column Column
	Value  Value
}

// Fact is what one event says of one contact.
type Fact struct {
	Order Order
	// ChangedBy is the associate who caused the event, nil when it does not say.
	ChangedBy *int64
	// Named is the columns that the event names in its Changes.
	Named Set
	// Given holds the values that the event carries, each column at most once.
	Given []Cell
	// Unknown is the columns that the event says have changed, or gives in a
	// form that can't be read, without a value: they become pending.
	Unknown Set
	// Erased is set where the values that the event gave were erased since. The
	// columns it gave then stand in Unknown, and Flag is what it said of the
	// soft-delete flag.
	Erased bool
	Flag   Flag
	// Irregular is set where the event names a column twice, or gives a column that
	// it does not name a value that can't be read or was erased. See
	// [Result.Irregular].
	Irregular bool
}

// NewFact makes a fact of what an event carries: the names in its Changes,
// those of its FieldValues that could be read, and the columns that could not.
// Names that are no column of SuperOffice's contact table say nothing here.
func NewFact(order Order, changedBy *int64, changes []string, given []Cell, unreadable Set) Fact {
	f := Fact{Order: order, ChangedBy: changedBy, Given: make([]Cell, 0, len(given))}
	for _, name := range changes {
		if c, ok := BySource(name); ok {
			f.Irregular = f.Irregular || f.Named.Has(c)
			f.Named |= SetOf(c)
		}
	}
	f.Irregular = f.Irregular || unreadable.Without(f.Named) != 0
	unknown := unreadable.With(f.Named)
	for _, cell := range given {
		unknown = unknown.Without(SetOf(cell.Column))
		if cell.Column != idColumn { // the id is what the fact is about
			f.Given = append(f.Given, cell)
		}
	}
	f.Unknown = unknown.Without(SetOf(idColumn))
	return f
}

// Erase is f without its values: it says of the same columns that they changed,
// and the same of the soft-delete flag.
func (f Fact) Erase() Fact {
	f.Unknown, f.Flag = f.Said(), f.SoftDeleted()
	f.Given, f.Erased, f.Irregular = nil, true, true
	return f
}

// GivenColumns is the columns that f gives a value.
func (f *Fact) GivenColumns() (given Set) {
	for _, cell := range f.Given {
		given |= SetOf(cell.Column)
	}
	return given
}

// Said is the columns that f says anything of.
func (f *Fact) Said() Set {
	return f.Unknown | f.GivenColumns()
}

// Flag is what a fact says of the soft-delete flag.
type Flag uint8

// The values of [Flag]. Silent leaves the flag as it was.
const (
	Silent Flag = iota
	NotDeleted
	IsDeleted
)

// SoftDeleted is what f says of the soft-delete flag. contact.softdeleted says
// deleted whatever its values, for SuperOffice keeps two markers and fills
// them as it likes; otherwise the values decide where they hold a marker (a
// contact.changed can restore); otherwise only contact.created says anything.
func (f *Fact) SoftDeleted() Flag {
	switch f.Order.Kind {
	case SoftDeleted:
		return IsDeleted
	case Deleted:
		return Silent
	}
	if f.Erased {
		return f.Flag
	}
	holds, set := false, false
	for _, cell := range f.Given {
		switch cell.Column {
		case deletedColumn:
			holds, set = true, set || cell.Value.Int() != 0
		case deletedDateColumn:
			holds, set = true, set || !cell.Value.IsNull()
		}
	}
	switch {
	case set:
		return IsDeleted
	case holds || f.Order.Kind == Created:
		return NotDeleted
	}
	return Silent
}

// deletedDate is the date since when the source counts the contact as
// soft-deleted, in microseconds, where f gives one.
func (f *Fact) deletedDate() (us int64, ok bool) {
	for _, cell := range f.Given {
		if cell.Column == deletedDateColumn && !cell.Value.IsNull() {
			return cell.Value.n, true
		}
	}
	return 0, false
}
