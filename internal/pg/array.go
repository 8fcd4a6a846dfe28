package pg

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Batches travel as arrays, one for each column. pgx encodes an array's elements
// one by one through an interface, at some 60 ns each, which is a fifth of what
// the program does for an event. What follows writes the same bytes without.

// useFastArrays has conn encode slices of the types below so.
func useFastArrays(conn *pgx.Conn) {
	m := conn.TypeMap()
	for _, oid := range []uint32{
		pgtype.TextArrayOID, pgtype.ByteaArrayOID, pgtype.Int2ArrayOID, pgtype.Int4ArrayOID, pgtype.Int8ArrayOID, pgtype.BoolArrayOID,
		pgtype.TimestampArrayOID, pgtype.TimestamptzArrayOID, pgtype.UUIDArrayOID,
	} {
		known, ok := m.TypeForOID(oid)
		if !ok {
			continue
		}
		if array, ok := known.Codec.(*pgtype.ArrayCodec); ok {
			m.RegisterType(&pgtype.Type{Name: known.Name, OID: oid, Codec: fastArray{array}})
		}
	}
}

// fastArray is an array's codec with another way to encode some slices in binary.
type fastArray struct{ *pgtype.ArrayCodec }

// PlanEncode is pgx's own for anything but those slices.
func (c fastArray) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if format == pgtype.BinaryFormatCode && fast(c.ElementType.OID, value) {
		return fastPlan(c.ElementType.OID)
	}
	return c.ArrayCodec.PlanEncode(m, oid, format, value)
}

// fast reports whether fastPlan encodes value as an array of elements.
func fast(element uint32, value any) bool {
	switch value.(type) {
	case []string, []*string, []pgtype.Text:
		return element == pgtype.TextOID
	case [][]byte:
		return element == pgtype.ByteaOID
	case []int16, []*int16:
		return element == pgtype.Int2OID
	case []pgtype.Int4:
		return element == pgtype.Int4OID
	case []int64, []*int64, []pgtype.Int8:
		return element == pgtype.Int8OID
	case []bool, []pgtype.Bool:
		return element == pgtype.BoolOID
	case []pgtype.Timestamp:
		return element == pgtype.TimestampOID
	case []time.Time, []*time.Time, []pgtype.Timestamptz:
		return element == pgtype.TimestamptzOID
	case []pgtype.UUID:
		return element == pgtype.UUIDOID
	}
	return false
}

// fastPlan encodes arrays whose elements have this OID.
type fastPlan uint32

// Encode appends value, a slice that [fast] has let pass.
func (p fastPlan) Encode(value any, buf []byte) ([]byte, error) {
	switch v := value.(type) {
	case []string:
		return array(buf, p, v, func(b []byte, s *string) []byte { return append(size(b, len(*s)), *s...) }), nil
	case []*string:
		return array(buf, p, v, func(b []byte, s **string) []byte {
			if *s == nil {
				return null(b)
			}
			return append(size(b, len(**s)), **s...)
		}), nil
	case []pgtype.Text:
		return array(buf, p, v, func(b []byte, s *pgtype.Text) []byte {
			if !s.Valid {
				return null(b)
			}
			return append(size(b, len(s.String)), s.String...)
		}), nil
	case [][]byte:
		return array(buf, p, v, func(b []byte, s *[]byte) []byte {
			if *s == nil {
				return null(b)
			}
			return append(size(b, len(*s)), *s...)
		}), nil
	case []int16:
		return array(buf, p, v, func(b []byte, n *int16) []byte { return smallint(b, *n) }), nil
	case []*int16:
		return array(buf, p, v, func(b []byte, n **int16) []byte {
			if *n == nil {
				return null(b)
			}
			return smallint(b, **n)
		}), nil
	case []pgtype.Int4:
		return array(buf, p, v, func(b []byte, n *pgtype.Int4) []byte {
			if !n.Valid {
				return null(b)
			}
			return binary.BigEndian.AppendUint32(size(b, 4), uint32(n.Int32))
		}), nil
	case []int64:
		return array(buf, p, v, func(b []byte, n *int64) []byte { return bigint(b, *n) }), nil
	case []*int64:
		return array(buf, p, v, func(b []byte, n **int64) []byte {
			if *n == nil {
				return null(b)
			}
			return bigint(b, **n)
		}), nil
	case []pgtype.Int8:
		return array(buf, p, v, func(b []byte, n *pgtype.Int8) []byte {
			if !n.Valid {
				return null(b)
			}
			return bigint(b, n.Int64)
		}), nil
	}
	return p.encodeOther(value, buf)
}

func (p fastPlan) encodeOther(value any, buf []byte) ([]byte, error) {
	switch v := value.(type) {
	case []bool:
		return array(buf, p, v, func(b []byte, x *bool) []byte { return boolean(b, *x) }), nil
	case []pgtype.Bool:
		return array(buf, p, v, func(b []byte, x *pgtype.Bool) []byte {
			if !x.Valid {
				return null(b)
			}
			return boolean(b, x.Bool)
		}), nil
	case []pgtype.Timestamp:
		return array(buf, p, v, func(b []byte, t *pgtype.Timestamp) []byte {
			if !t.Valid {
				return null(b)
			}
			return instant(b, t.Time, t.InfinityModifier)
		}), nil
	case []time.Time:
		return array(buf, p, v, func(b []byte, t *time.Time) []byte { return micros(b, *t) }), nil
	case []*time.Time:
		return array(buf, p, v, func(b []byte, t **time.Time) []byte {
			if *t == nil {
				return null(b)
			}
			return micros(b, **t)
		}), nil
	case []pgtype.Timestamptz:
		return array(buf, p, v, func(b []byte, t *pgtype.Timestamptz) []byte {
			if !t.Valid {
				return null(b)
			}
			return instant(b, t.Time, t.InfinityModifier)
		}), nil
	case []pgtype.UUID:
		return array(buf, p, v, func(b []byte, id *pgtype.UUID) []byte {
			if !id.Valid {
				return null(b)
			}
			return append(size(b, len(id.Bytes)), id.Bytes[:]...)
		}), nil
	}
	panic("pg: a slice that is not fast") // PlanEncode has looked
}

// array appends a one-dimensional array in PostgreSQL's binary format. A nil
// slice is NULL, as for pgx.
func array[T any](buf []byte, element fastPlan, values []T, each func([]byte, *T) []byte) []byte {
	if values == nil {
		return nil
	}
	buf = binary.BigEndian.AppendUint32(buf, 1)
	nulls := len(buf)
	buf = binary.BigEndian.AppendUint32(buf, 0)
	buf = binary.BigEndian.AppendUint32(buf, uint32(element))
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(values)))
	buf = binary.BigEndian.AppendUint32(buf, 1) // the first index
	for i := range values {
		at := len(buf)
		buf = each(buf, &values[i])
		if buf[at] == 0xff { // no element is longer than 2 GiB
			buf[nulls+3] = 1
		}
	}
	return buf
}

func size(b []byte, n int) []byte { return binary.BigEndian.AppendUint32(b, uint32(n)) }

func null(b []byte) []byte { return append(b, 0xff, 0xff, 0xff, 0xff) }

func smallint(b []byte, n int16) []byte { return binary.BigEndian.AppendUint16(size(b, 2), uint16(n)) }

func bigint(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(size(b, 8), uint64(n)) }

func boolean(b []byte, x bool) []byte {
	if x {
		return append(size(b, 1), 1)
	}
	return append(size(b, 1), 0)
}

// epoch is 2000-01-01 in microseconds since 1970, where PostgreSQL's times begin.
const epoch = 946_684_800_000_000

func micros(b []byte, t time.Time) []byte {
	return bigint(b, t.UnixMicro()-epoch)
}

// instant is t, or the end of time that modifier says.
func instant(b []byte, t time.Time, modifier pgtype.InfinityModifier) []byte {
	switch modifier {
	case pgtype.Infinity:
		return bigint(b, math.MaxInt64)
	case pgtype.NegativeInfinity:
		return bigint(b, math.MinInt64)
	}
	return micros(b, t)
}
