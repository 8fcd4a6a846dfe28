package contact

import (
	"iter"
	"math/bits"
	"slices"
)

// Type says how a column's value is written by SuperOffice and kept here.
type Type string

// The column types, named as PostgreSQL names them.
const (
	Bigint      Type = "bigint"
	Integer     Type = "integer"
	Boolean     Type = "boolean"
	Text        Type = "text"
	Timestamptz Type = "timestamptz"
	// Timestamp is a wall clock without a zone: the two dbi_ dates are the
	// only ones that SuperOffice does not call UTC.
	Timestamp Type = "timestamp"
)

// Column is one of the mirrored columns, an index into [Columns].
type Column uint8

// Spec describes one mirrored column.
type Spec struct {
	// Source is SuperOffice's name, as it stands in Changes and FieldValues.
	Source string
	// Name is the column's name in the contacts table.
	Name string
	Type Type
}

// NumColumns is the number of columns of SuperOffice's contact table.
const NumColumns = 38

// Columns lists SuperOffice's contact table (its database reference, table
// number 5). Every other list of contact columns, in code, SQL or a test,
// derives from this one or is compared with it.
var Columns = [NumColumns]Spec{
	{"contact_id", "contact_id", Bigint},
	{"name", "name", Text},
	{"kananame", "kananame", Text},
	{"department", "department", Text},
	{"number1", "number1", Text},
	{"number2", "number2", Text},
	{"orgNr", "org_nr", Text},
	{"soundEx", "sound_ex", Text},
	{"dbi_key", "dbi_key", Text},
	{"associate_id", "associate_id", Bigint},
	{"country_id", "country_id", Bigint},
	{"business_idx", "business_idx", Bigint},
	{"category_idx", "category_idx", Bigint},
	{"registered_associate_id", "registered_associate_id", Bigint},
	{"updated_associate_id", "updated_associate_id", Bigint},
	{"text_id", "text_id", Bigint},
	{"mother_id", "mother_id", Bigint},
	{"userdef_id", "userdef_id", Bigint},
	{"userdef2_id", "userdef2_id", Bigint},
	{"group_id", "group_id", Bigint},
	{"tzLocationId", "tz_location_id", Bigint},
	{"ticketPriorityId", "ticket_priority_id", Bigint},
	{"supportLanguageId", "support_language_id", Bigint},
	{"supportAssociateId", "support_associate_id", Bigint},
	{"supportPersonId", "support_person_id", Bigint},
	{"dbi_agent_id", "dbi_agent_id", Bigint},
	{"source", "source", Integer},
	{"activeInterests", "active_interests", Integer},
	{"updatedCount", "updated_count", Integer},
	{"deleted", "deleted", Integer},
	{"activeErpLinks", "active_erp_links", Integer},
	{"xstop", "xstop", Boolean},
	{"nomailing", "nomailing", Boolean},
	{"registered", "registered", Timestamptz},
	{"updated", "updated", Timestamptz},
	{"DeletedDate", "deleted_date", Timestamptz},
	{"dbi_last_syncronized", "dbi_last_syncronized", Timestamp},
	{"dbi_last_modified", "dbi_last_modified", Timestamp},
}

var (
	bySource = index(func(s Spec) string { return s.Source })
	byName   = index(func(s Spec) string { return s.Name })

	// The columns that the fold itself reads.
	idColumn          = bySource["contact_id"]
	deletedColumn     = bySource["deleted"]
	deletedDateColumn = bySource["DeletedDate"]
)

func index(key func(Spec) string) map[string]Column {
	m := make(map[string]Column, NumColumns)
	for c, spec := range Columns {
		m[key(spec)] = Column(c)
	}
	return m
}

// Sent is the columns whose values SuperOffice sends with its events: a closed
// list since version 11, when it began to. Of all others events only say that they
// have changed; but a value of theirs would be taken as well.
var Sent = func() (sent Set) {
	for _, name := range []string{
		"associate_id", "country_id", "business_idx", "category_idx", "registered_associate_id", "userdef_id", "userdef2_id",
		"source", "activeInterests", "deleted", "registered", "updated", "DeletedDate",
	} {
		sent |= SetOf(bySource[name])
	}
	return sent
}()

// BySource finds the column that SuperOffice calls name, case included.
func BySource(name string) (Column, bool) {
	c, ok := bySource[name]
	return c, ok
}

// OfColumns returns those of names that are names of columns, in their order: names
// itself where all of them are.
func OfColumns(names []string) []string {
	isNone := func(name string) bool {
		_, is := bySource[name]
		return !is
	}
	if !slices.ContainsFunc(names, isNone) {
		return names
	}
	return slices.DeleteFunc(slices.Clone(names), isNone)
}

// ByName finds the column that the contacts table calls name.
func ByName(name string) (Column, bool) {
	c, ok := byName[name]
	return c, ok
}

// Spec describes c.
func (c Column) Spec() Spec { return Columns[c] }

// Set is a set of columns. The zero value is empty.
type Set uint64

// everything is what is pending in a row of which nothing is known yet: all
// columns but the id.
var everything = (Set(1)<<NumColumns - 1).Without(SetOf(idColumn))

// SetOf returns the set of the given columns.
func SetOf(columns ...Column) Set {
	var s Set
	for _, c := range columns {
		s |= 1 << c
	}
	return s
}

// Has reports whether c is in s.
func (s Set) Has(c Column) bool { return s&(1<<c) != 0 }

// With returns the union of s and other.
func (s Set) With(other Set) Set { return s | other }

// Without returns s less other.
func (s Set) Without(other Set) Set { return s &^ other }

// All yields the columns of s in the order of [Columns].
func (s Set) All() iter.Seq[Column] {
	return func(yield func(Column) bool) {
		for ; s != 0; s &= s - 1 {
			if !yield(Column(bits.TrailingZeros64(uint64(s)))) {
				return
			}
		}
	}
}

// Sources returns SuperOffice's names of the columns of s; nil where there are none.
func (s Set) Sources() (names []string) {
	for c := range s.All() {
		names = append(names, Columns[c].Source)
	}
	return names
}

// Names returns the names that the contacts table gives the columns of s. It
// is never nil.
func (s Set) Names() []string {
	names := make([]string, 0, bits.OnesCount64(uint64(s)))
	for c := range s.All() {
		names = append(names, Columns[c].Name)
	}
	return names
}
