package contact

import (
	"math"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// A *Value is a scan target for a column of any [Type]: pgx calls the method that
// fits the column's type. For texts that is ScanBytes, since in the text format pgx
// would give a column of any type to a [pgtype.TextScanner].
var (
	_ pgtype.Int64Scanner       = (*Value)(nil)
	_ pgtype.BoolScanner        = (*Value)(nil)
	_ pgtype.BytesScanner       = (*Value)(nil)
	_ pgtype.TimestamptzScanner = (*Value)(nil)
	_ pgtype.TimestampScanner   = (*Value)(nil)
)

// A stored time may be infinite, which no event can give. Like PostgreSQL, a Value
// has the greatest and the least number of microseconds for that, so it differs
// from all times that an event can give, and is written as it was read.
const (
	infinity         = math.MaxInt64
	negativeInfinity = math.MinInt64
)

// ScanInt64 implements [pgtype.Int64Scanner] for bigint and integer columns.
func (v *Value) ScanInt64(n pgtype.Int8) error {
	*v = Value{}
	if n.Valid {
		*v = IntValue(n.Int64)
	}
	return nil
}

// ScanBool implements [pgtype.BoolScanner].
func (v *Value) ScanBool(b pgtype.Bool) error {
	*v = Value{}
	if b.Valid {
		*v = BoolValue(b.Bool)
	}
	return nil
}

// ScanBytes implements [pgtype.BytesScanner] for text columns.
func (v *Value) ScanBytes(s []byte) error {
	*v = Value{}
	if s != nil {
		*v = TextValue(string(s))
	}
	return nil
}

// ScanTimestamptz implements [pgtype.TimestamptzScanner].
func (v *Value) ScanTimestamptz(t pgtype.Timestamptz) error {
	*v = scannedTime(t.Time, t.InfinityModifier, t.Valid)
	return nil
}

// ScanTimestamp implements [pgtype.TimestampScanner].
func (v *Value) ScanTimestamp(t pgtype.Timestamp) error {
	*v = scannedTime(t.Time, t.InfinityModifier, t.Valid)
	return nil
}

func scannedTime(t time.Time, modifier pgtype.InfinityModifier, valid bool) Value {
	switch {
	case !valid:
		return Value{}
	case modifier == pgtype.Infinity:
		return MicrosValue(infinity)
	case modifier == pgtype.NegativeInfinity:
		return MicrosValue(negativeInfinity)
	}
	return MicrosValue(t.UnixMicro())
}

// Argument is the value v of a column of type t as an argument for pgx.
func (t Type) Argument(v Value) any { return conversions[t].argument(v) }

// Array is n values of columns of type t as an argument for an array parameter: a
// slice of pgtype's structs, which pg encodes faster than pgx does.
func (t Type) Array(n int, value func(i int) Value) any { return conversions[t].array(n, value) }

var conversions = map[Type]conversion{
	Bigint:      convert(Value.int8),
	Integer:     convert(Value.int4),
	Boolean:     convert(Value.bool),
	Text:        convert(Value.text),
	Timestamptz: convert(Value.timestamptz),
	Timestamp:   convert(Value.timestamp),
}

type conversion struct {
	argument func(Value) any
	array    func(n int, value func(i int) Value) any
}

// convert makes the conversions of a type by that of a known value to the driver's
// type T, whose zero value is NULL.
func convert[T any](known func(Value) T) conversion {
	return conversion{
		argument: func(v Value) any {
			var element T
			if !v.IsNull() {
				element = known(v)
			}
			return element
		},
		array: func(n int, value func(i int) Value) any {
			elements := make([]T, n)
			for i := range elements {
				if v := value(i); !v.IsNull() {
					elements[i] = known(v)
				}
			}
			return elements
		},
	}
}

func (v Value) int8() pgtype.Int8 { return pgtype.Int8{Int64: v.n, Valid: true} }

func (v Value) int4() pgtype.Int4 { return pgtype.Int4{Int32: int32(v.n), Valid: true} }

func (v Value) bool() pgtype.Bool { return pgtype.Bool{Bool: v.Bool(), Valid: true} }

func (v Value) text() pgtype.Text { return pgtype.Text{String: v.s, Valid: true} }

func (v Value) timestamptz() pgtype.Timestamptz {
	return pgtype.Timestamptz{Time: v.Time(), InfinityModifier: v.infinity(), Valid: true}
}

func (v Value) timestamp() pgtype.Timestamp {
	return pgtype.Timestamp{Time: v.Time(), InfinityModifier: v.infinity(), Valid: true}
}

// infinity tells whether the time v is infinite.
func (v Value) infinity() pgtype.InfinityModifier {
	switch v.n {
	case infinity:
		return pgtype.Infinity
	case negativeInfinity:
		return pgtype.NegativeInfinity
	}
	return pgtype.Finite
}

// JSON is the value v of a column of type t for encoding/json, in the form from
// which PostgreSQL's jsonb_populate_record makes the same value. encoding/json has
// no form for years before 0 and after 9999.
func (t Type) JSON(v Value) any {
	switch v.kind {
	case intValue:
		return v.n
	case boolValue:
		return v.Bool()
	case textValue:
		return v.s
	case timeValue:
		switch infinite := v.infinity(); {
		case infinite != pgtype.Finite:
			return infinite.String()
		case t == Timestamp:
			return v.Time().Format("2006-01-02T15:04:05.999999")
		}
		return v.Time()
	}
	return nil
}
