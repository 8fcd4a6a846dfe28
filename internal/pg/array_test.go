package pg_test

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgtype"
	"pgregory.net/rapid"

	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Arrays of all kinds are encoded to the byte as pgx itself encodes them.
func TestArraysAreEncodedAsByPgx(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	pool, err := pg.Open(db.URL, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	conn, err := pool.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	ours, theirs := conn.Conn().TypeMap(), pgtype.NewMap()

	text := rapid.String()
	number := rapid.Int64()
	valid := rapid.Bool()
	infinity := rapid.SampledFrom([]pgtype.InfinityModifier{pgtype.Finite, pgtype.Infinity, pgtype.NegativeInfinity})
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(-62_135_596_800_000_000, 253_402_300_799_999_999).Draw(t, "us")).UTC()
	})
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 5).Draw(t, "n")
		for oid, slice := range map[uint32][]any{
			pgtype.TextArrayOID: {
				draw(t, n, text), draw(t, n, rapid.Ptr(text, true)),
				draw(t, n, rapid.Custom(func(t *rapid.T) pgtype.Text { return pgtype.Text{String: text.Draw(t, "s"), Valid: valid.Draw(t, "v")} })),
			},
			pgtype.ByteaArrayOID: {draw(t, n, rapid.SliceOf(rapid.Byte()))},
			pgtype.Int2ArrayOID:  {draw(t, n, rapid.Int16()), draw(t, n, rapid.Ptr(rapid.Int16(), true))},
			pgtype.Int4ArrayOID: {
				draw(t, n, rapid.Custom(func(t *rapid.T) pgtype.Int4 {
					return pgtype.Int4{Int32: rapid.Int32().Draw(t, "n"), Valid: valid.Draw(t, "v")}
				})),
			},
			pgtype.Int8ArrayOID: {
				draw(t, n, number), draw(t, n, rapid.Ptr(number, true)),
				draw(t, n, rapid.Custom(func(t *rapid.T) pgtype.Int8 {
					return pgtype.Int8{Int64: number.Draw(t, "n"), Valid: valid.Draw(t, "v")}
				})),
			},
			pgtype.BoolArrayOID: {
				draw(t, n, valid),
				draw(t, n, rapid.Custom(func(t *rapid.T) pgtype.Bool { return pgtype.Bool{Bool: valid.Draw(t, "x"), Valid: valid.Draw(t, "v")} })),
			},
			pgtype.TimestampArrayOID: {
				draw(t, n, rapid.Custom(func(t *rapid.T) pgtype.Timestamp {
					return pgtype.Timestamp{Time: moment.Draw(t, "t"), InfinityModifier: infinity.Draw(t, "i"), Valid: valid.Draw(t, "v")}
				})),
			},
			pgtype.TimestamptzArrayOID: {
				draw(t, n, moment), draw(t, n, rapid.Ptr(moment, true)),
				draw(t, n, rapid.Custom(func(t *rapid.T) pgtype.Timestamptz {
					return pgtype.Timestamptz{Time: moment.Draw(t, "t"), InfinityModifier: infinity.Draw(t, "i"), Valid: valid.Draw(t, "v")}
				})),
			},
			pgtype.UUIDArrayOID: {
				draw(t, n, rapid.Custom(func(t *rapid.T) pgtype.UUID {
					return pgtype.UUID{Bytes: [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")), Valid: valid.Draw(t, "v")}
				})),
			},
		} {
			for _, value := range slice {
				got, err := ours.Encode(oid, pgtype.BinaryFormatCode, value, nil)
				want, err2 := theirs.Encode(oid, pgtype.BinaryFormatCode, value, nil)
				if err != nil || err2 != nil {
					t.Fatalf("%T: %v, %v", value, err, err2)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%T %v (-pgx +ours):\n%s", value, reflect.ValueOf(value), diff)
				}
			}
		}
	})
}

// draw draws n values of g; none of them is a slice that is nil.
func draw[T any](t *rapid.T, n int, g *rapid.Generator[T]) []T {
	return rapid.SliceOfN(g, n, n).Draw(t, reflect.TypeFor[T]().String())
}
