package contact

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// ScalarKind tells the kinds of JSON scalar apart.
type ScalarKind uint8

// The kinds of [Scalar]. Composite stands for an object or an array, which no
// column can be.
const (
	Null ScalarKind = iota
	Bool
	Number
	String
	Composite
)

// Scalar is a value as the source wrote it: the literal of a number or of a
// boolean, or the content of a string.
type Scalar struct {
	Kind ScalarKind
	Text string
}

// Value is what is known of one column: NULL (the zero value), or a value of
// the column's [Type]. Values are comparable with ==. A *Value is a scan target
// for pgx; [Type.Argument] and [Type.Array] make arguments of Values.
type Value struct {
	kind valueKind
	n    int64
	s    string
}

type valueKind uint8

const (
	nullValue valueKind = iota
	intValue
	boolValue
	textValue
	timeValue
)

// IntValue is the value n of a bigint or integer column.
func IntValue(n int64) Value { return Value{kind: intValue, n: n} }

// TextValue is the value s of a text column.
func TextValue(s string) Value { return Value{kind: textValue, s: s} }

// BoolValue is the value b of a boolean column.
func BoolValue(b bool) Value {
	v := Value{kind: boolValue}
	if b {
		v.n = 1
	}
	return v
}

// MicrosValue is a timestamptz or timestamp, in microseconds since 1970-01-01.
func MicrosValue(us int64) Value { return Value{kind: timeValue, n: us} }

// IsNull reports whether v is NULL.
func (v Value) IsNull() bool { return v.kind == nullValue }

// Int is v as an integer; 0 when it is none.
func (v Value) Int() int64 { return v.n }

// Bool is v as a boolean; false when it is none.
func (v Value) Bool() bool { return v.n != 0 }

// Text is v as a text; "" when it is none.
func (v Value) Text() string { return v.s }

// Micros is v as a time in microseconds since 1970-01-01; 0 when it is none.
func (v Value) Micros() int64 { return v.n }

// Time is v as a time in UTC; 1970 when it is none.
func (v Value) Time() time.Time { return time.UnixMicro(v.n).UTC() }

// Decode reads s as the value that an event of the time occurred gives column c.
// It reports false when s can't be read as the column's type: then the value is
// unknown, not NULL. So is a DeletedDate before 1980, or more than a day after
// occurred.
//
// Accepted besides the plain JSON types are integers given as strings, 0 and 1
// for booleans, booleans for the deleted flag, dates that mean "not set" for
// NULL, and SuperOffice's moniker encoding ([I:6], [DT:09/16/2025 14:22:14],
// [B:1]), which its extra-table events use. The functions of the same types in
// SQL, contactmirror_value and what it calls, read the same values.
func Decode(c Column, s Scalar, occurred Ticks) (Value, bool) {
	switch {
	case s.Kind == Null:
		return Value{}, true
	case s.Kind == Composite:
		return Value{}, false
	}
	switch Columns[c].Type {
	case Bigint:
		return decodeInt(s, math.MinInt64, math.MaxInt64)
	case Integer:
		v, ok := decodeInt(s, math.MinInt32, math.MaxInt32)
		if !ok && c == deletedColumn {
			v, ok = decodeBool(s)
			v.kind = intValue
		}
		return v, ok
	case Boolean:
		return decodeBool(s)
	case Text:
		return TextValue(s.Text), s.Kind == String
	case Timestamptz, Timestamp:
		t, ok := decodeTime(s)
		switch {
		case !ok:
			return Value{}, false
		case !t.set():
			return Value{}, true
		case c == deletedDateColumn && !plausibleDeletedDate(t, occurred):
			return Value{}, false
		}
		return MicrosValue(t.Micros()), true
	}
	return Value{}, false
}

func decodeInt(s Scalar, least, most int64) (Value, bool) {
	if s.Kind == Bool {
		return Value{}, false
	}
	n, ok := parseInt(moniker(s, "I"))
	return IntValue(n), ok && n >= least && n <= most
}

// parseInt reads an integer as JSON writes one: no leading plus, no leading
// zeros, no fraction but zeros (6.0 is 6), and no more digits than one needs.
func parseInt(text string) (int64, bool) {
	if len(text) > 32 {
		return 0, false
	}
	if whole, fraction, found := strings.Cut(text, "."); found {
		if fraction == "" || strings.Trim(fraction, "0") != "" {
			return 0, false
		}
		text = whole
	}
	if digits := strings.TrimPrefix(text, "-"); digits == "" || digits[0] == '+' || len(digits) > 1 && digits[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// ParseInt reads s as an integer, given as a number or as a string.
func ParseInt(s Scalar) (int64, bool) {
	if s.Kind != Number && s.Kind != String {
		return 0, false
	}
	return parseInt(s.Text)
}

func decodeBool(s Scalar) (Value, bool) {
	switch moniker(s, "B", "I") {
	case "0", "false", "False":
		return BoolValue(false), true
	case "1", "true", "True":
		return BoolValue(true), true
	}
	return Value{}, false
}

// decodeTime reads a date by the grammar in time.go.
func decodeTime(s Scalar) (Ticks, bool) {
	if s.Kind != String {
		return 0, false
	}
	if inside := moniker(s, "DT"); inside != s.Text {
		return parseMoniker(inside)
	}
	return parseISO(s.Text)
}

// moniker returns the inside of a string like [I:6] when its letters are one of
// types, and the text of s itself otherwise.
func moniker(s Scalar, types ...string) string {
	inside, found := strings.CutPrefix(s.Text, "[")
	if !found || s.Kind != String || !strings.HasSuffix(inside, "]") {
		return s.Text
	}
	letters, value, found := strings.Cut(inside[:len(inside)-1], ":")
	if found {
		for _, t := range types {
			if letters == t {
				return value
			}
		}
	}
	return s.Text
}
