package contact_test

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"pgregory.net/rapid"

	"contactmirror/internal/contact"
)

// oids are PostgreSQL's numbers of the column types, and of their arrays.
var oids = map[contact.Type]struct{ element, array uint32 }{
	contact.Bigint:      {pgtype.Int8OID, pgtype.Int8ArrayOID},
	contact.Integer:     {pgtype.Int4OID, pgtype.Int4ArrayOID},
	contact.Boolean:     {pgtype.BoolOID, pgtype.BoolArrayOID},
	contact.Text:        {pgtype.TextOID, pgtype.TextArrayOID},
	contact.Timestamptz: {pgtype.TimestamptzOID, pgtype.TimestamptzArrayOID},
	contact.Timestamp:   {pgtype.TimestampOID, pgtype.TimestampArrayOID},
}

const (
	firstMicros = -210_866_803_200_000_000  // 4714-11-24 BC, the first day that PostgreSQL has
	lastMicros  = 9_223_371_244_800_000_000 // 294246-12-31
	yearZero    = -62_167_219_200_000_000   // the years that JSON has a form for
	year10000   = 253_402_300_800_000_000   //
)

// valueOf draws values that a column of type t can have in the database.
func valueOf(t contact.Type) *rapid.Generator[contact.Value] {
	var known *rapid.Generator[contact.Value]
	switch t {
	case contact.Bigint:
		known = rapid.Map(rapid.Int64(), contact.IntValue)
	case contact.Integer:
		known = rapid.Map(rapid.Int32(), func(n int32) contact.Value { return contact.IntValue(int64(n)) })
	case contact.Boolean:
		known = rapid.Map(rapid.Bool(), contact.BoolValue)
	case contact.Text:
		known = rapid.Map(rapid.String(), contact.TextValue)
	case contact.Timestamptz, contact.Timestamp:
		known = rapid.Map(rapid.OneOf(
			rapid.Int64Range(firstMicros, lastMicros),
			rapid.Int64Range(yearZero, year10000-1),
			rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64, 0, -1}),
		), contact.MicrosValue)
	}
	return rapid.OneOf(rapid.Just(contact.Value{}), known)
}

// Whatever a column holds is the same value after it was written and read, alone
// and in an array, in both of PostgreSQL's formats.
func TestValue_isWrittenAsItWasRead(t *testing.T) {
	t.Parallel()
	types := pgtype.NewMap()
	rapid.Check(t, func(t *rapid.T) {
		of := contact.Columns[rapid.IntRange(0, contact.NumColumns-1).Draw(t, "column")].Type
		values := rapid.SliceOfN(valueOf(of), 1, 5).Draw(t, "values")
		for _, format := range []int16{pgtype.TextFormatCode, pgtype.BinaryFormatCode} {
			argument := of.Array(len(values), func(i int) contact.Value { return values[i] })
			array, err := types.Encode(oids[of].array, format, argument, []byte{})
			if err != nil {
				t.Fatalf("encode %T in format %d: %v", argument, format, err)
			}
			var got []contact.Value
			if err := types.Scan(oids[of].array, format, array, &got); err != nil {
				t.Fatalf("scan an array of %s in format %d: %v", of, format, err)
			}
			if !reflect.DeepEqual(got, values) {
				t.Errorf("an array of %s in format %d: %+v, want %+v", of, format, got, values)
			}
			for _, want := range values {
				stored, err := types.Encode(oids[of].element, format, of.Argument(want), []byte{})
				if err != nil {
					t.Fatalf("encode a %s in format %d: %v", of, format, err)
				}
				got := contact.TextValue("of the row before")
				if err := types.Scan(oids[of].element, format, stored, &got); err != nil || got != want {
					t.Errorf("a %s in format %d: %+v, %v, want %+v", of, format, got, err, want)
				}
			}
		}
	})
}

// JSON has a column's value in PostgreSQL's form: a timestamp without a zone has
// none there, and infinity is a text.
func TestType_JSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of    contact.Type
		value contact.Value
		want  string
	}{
		{contact.Bigint, contact.Value{}, `null`},
		{contact.Bigint, contact.IntValue(math.MaxInt64), `9223372036854775807`},
		{contact.Integer, contact.IntValue(0), `0`},
		{contact.Boolean, contact.BoolValue(false), `false`},
		{contact.Text, contact.TextValue(""), `""`},
		{contact.Timestamptz, contact.MicrosValue(-1), `"1969-12-31T23:59:59.999999Z"`},
		{contact.Timestamp, contact.MicrosValue(1_500_000), `"1970-01-01T00:00:01.5"`},
		{contact.Timestamptz, contact.MicrosValue(math.MaxInt64), `"infinity"`},
		{contact.Timestamp, contact.MicrosValue(math.MinInt64), `"-infinity"`},
	} {
		got, err := json.Marshal(c.of.JSON(c.value))
		if err != nil || string(got) != c.want {
			t.Errorf("JSON of %s %+v is %s, %v, want %s", c.of, c.value, got, err, c.want)
		}
	}
}

// Every column's type has all conversions.
func TestColumns_haveTypesThatAreKnown(t *testing.T) {
	t.Parallel()
	for _, spec := range contact.Columns {
		if _, ok := oids[spec.Type]; !ok {
			t.Errorf("%s has the type %q", spec.Name, spec.Type)
			continue
		}
		null := contact.Value{}
		if spec.Type.Argument(null) == nil || spec.Type.Array(1, func(int) contact.Value { return null }) == nil {
			t.Errorf("%s: a %s has no form for the driver", spec.Name, spec.Type)
		}
	}
}
