package contact_test

import (
	"testing"
	"time"

	"contactmirror/internal/contact"
)

func TestDecode_readsWhatTheTypeAllows(t *testing.T) {
	t.Parallel()
	instant := func(s string) contact.Value {
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return contact.MicrosValue(at.UnixMicro())
	}
	str := func(s string) contact.Scalar { return contact.Scalar{Kind: contact.String, Text: s} }
	num := func(s string) contact.Scalar { return contact.Scalar{Kind: contact.Number, Text: s} }
	boolean := func(s string) contact.Scalar { return contact.Scalar{Kind: contact.Bool, Text: s} }
	const unreadable = "unreadable"
	occurred := contact.TicksOf(time.Date(2025, 5, 14, 10, 0, 0, 0, time.UTC))
	tests := []struct {
		column string
		in     contact.Scalar
		want   any // a contact.Value, or unreadable
	}{
		{"country_id", num("826"), contact.IntValue(826)},
		{"country_id", num("-1"), contact.IntValue(-1)},
		{"country_id", num("6.0"), contact.IntValue(6)},
		{"country_id", num("6.5"), unreadable},
		{"country_id", num("6e2"), unreadable},
		{"country_id", num("1e400"), unreadable},
		{"country_id", num("9223372036854775807"), contact.IntValue(1<<63 - 1)},
		{"country_id", num("9223372036854775808"), unreadable},
		{"country_id", str("826"), contact.IntValue(826)},
		{"country_id", str("+826"), unreadable},
		{"country_id", str("0826"), unreadable},
		{"country_id", str(" 826"), unreadable},
		{"country_id", str(""), unreadable},
		{"country_id", str("[I:6]"), contact.IntValue(6)},
		{"country_id", str("[F:6]"), unreadable},
		{"country_id", str("[I:]"), unreadable},
		{"country_id", boolean("true"), unreadable},
		{"country_id", contact.Scalar{}, contact.Value{}},
		{"country_id", contact.Scalar{Kind: contact.Composite}, unreadable},
		{"updatedCount", num("65535"), contact.IntValue(65535)},
		{"updatedCount", num("2147483648"), unreadable},
		{"deleted", num("1"), contact.IntValue(1)},
		{"deleted", boolean("true"), contact.IntValue(1)},
		{"deleted", boolean("false"), contact.IntValue(0)},
		{"deleted", str("true"), contact.IntValue(1)},
		{"deleted", str("[B:0]"), contact.IntValue(0)},
		{"deleted", str("yes"), unreadable},
		{"xstop", boolean("true"), contact.BoolValue(true)},
		{"xstop", num("0"), contact.BoolValue(false)},
		{"xstop", str("1"), contact.BoolValue(true)},
		{"xstop", str("[I:1]"), contact.BoolValue(true)},
		{"xstop", str("[B:0]"), contact.BoolValue(false)},
		{"xstop", num("2"), unreadable},
		{"name", str("[I:6]"), contact.TextValue("[I:6]")},
		{"name", str(""), contact.TextValue("")},
		{"name", num("6"), unreadable},
		{"updated", str("2025-05-14T10:48:07.8912039+02:00"), instant("2025-05-14T08:48:07.891203Z")},
		{"updated", str("2025-05-14T10:48:07.8912039Z"), instant("2025-05-14T10:48:07.891203Z")},
		{"updated", str("2020-02-16T17:50:17"), instant("2020-02-16T17:50:17Z")},
		{"updated", str("1969-12-31T23:59:59.9999999Z"), instant("1969-12-31T23:59:59.999999Z")},
		{"updated", str("[DT:09/16/2025 14:22:14.0000000]"), instant("2025-09-16T14:22:14Z")},
		{"updated", str("[DT:01/01/0001 00:00:00]"), contact.Value{}},
		{"updated", str("[D:09.11.2017]"), unreadable}, // day first or month first?
		{"updated", str("2025-05-14"), unreadable},
		{"updated", str("2025-02-30T00:00:00"), unreadable},
		{"updated", num("0"), unreadable},
		{"updated", str("2018.5-04-24T07:50:50Z"), unreadable},
		{"updated", str("9999-12-31T23:59:59.9999999-05:00"), unreadable}, // year 10000
		{"updated", str("2025-05-14T10:48:07,1Z"), unreadable},
		{"updated", str("2025-05-14T10:48:07.Z"), unreadable},
		{"updated", str("2025-05-14T10:48:07.1.2Z"), unreadable},
		{"updated", str("2025-05-14 10:48:07"), unreadable},
		{"updated", str("2025-05-14t10:48:07z"), unreadable},
		{"updated", str("2025-05-14T10:48"), unreadable},
		{"updated", str("2025-05-14T24:00:00"), unreadable},
		{"updated", str("2025-05-14T23:59:60"), unreadable},
		{"updated", str("2025-05-14T10:48:07+05:60"), unreadable},
		{"updated", str("2025-05-14T10:48:07+14:00"), instant("2025-05-13T20:48:07Z")},
		{"updated", str("2025-05-14T10:48:07+14:01"), unreadable},
		{"updated", str("2025-05-14T10:48:07-0200"), unreadable},
		{"updated", str("2025-05-14T10:48:07Z\n"), unreadable},
		{"updated", str("２025-05-14T10:48:07"), unreadable},
		{"updated", str("2024-02-29T10:48:07"), instant("2024-02-29T10:48:07Z")},
		{"updated", str("1900-02-29T10:48:07"), unreadable},
		{"updated", str("[DT:09/16/2025 14:22:14,0]"), unreadable},
		{"updated", str("[DT:09/16/2025 14:22:14Z]"), unreadable},
		{"updated", str("[DT:9/16/2025 14:22:14]"), unreadable},
		{"updated", str("0001-01-02T23:59:59.9999999"), contact.Value{}},
		{"updated", str("0001-01-03T00:00:00"), instant("0001-01-03T00:00:00Z")},
		{"updated", str("0000-12-31T23:00:00"), contact.Value{}},
		{"updated", str("1759-12-30T23:59:59.9999999"), instant("1759-12-30T23:59:59.999999Z")},
		{"updated", str("1759-12-31T00:00:00"), contact.Value{}},
		{"updated", str("1760-01-02T00:00:00"), contact.Value{}},
		{"updated", str("1760-01-02T00:00:01"), instant("1760-01-02T00:00:01Z")},
		{"DeletedDate", str("0001-01-01T00:00:00"), contact.Value{}},
		{"DeletedDate", str("0001-01-01T00:00:00+01:00"), contact.Value{}},
		{"DeletedDate", str("0001-01-01T00:00:00Zjunk"), unreadable},
		{"DeletedDate", str("1979-12-31T23:59:59.9999999"), unreadable},
		{"DeletedDate", str("1980-01-01T00:00:00"), instant("1980-01-01T00:00:00Z")},
		{"DeletedDate", str("2025-05-15T10:00:00"), instant("2025-05-15T10:00:00Z")},
		{"DeletedDate", str("2025-05-15T10:00:00.0000001"), unreadable},
		{"DeletedDate", str("[DT:05/15/2025 10:00:01]"), unreadable},
		{"DeletedDate", str("9999-12-31T23:59:59.9999999"), unreadable},
		{"updated", str("9999-12-31T23:59:59.9999999"), instant("9999-12-31T23:59:59.999999Z")},
		{"dbi_last_modified", str("2020-02-16T17:50:17.5"), instant("2020-02-16T17:50:17.5Z")},
	}
	for _, tt := range tests {
		c, ok := contact.BySource(tt.column)
		if !ok {
			t.Fatalf("no column %s", tt.column)
		}
		got, ok := contact.Decode(c, tt.in, occurred)
		if want, readable := tt.want.(contact.Value); ok != readable || ok && got != want {
			t.Errorf("Decode(%s, %+v) = %+v, %t, want %+v", tt.column, tt.in, got, ok, tt.want)
		}
	}
}

// Shard numbers are stored, so they may never change.
func TestShardIsPinned(t *testing.T) {
	t.Parallel()
	for key, want := range map[contact.Key]int16{
		{Tenant: "", ID: 1}:                 22,
		{Tenant: "Cust1234", ID: 994863}:    24,
		{Tenant: "Cust54321", ID: 18}:       24,
		{Tenant: "Bjørge æøå", ID: 1 << 40}: 20,
	} {
		if got := key.Shard(); got != want {
			t.Errorf("shard of %+v is %d, want %d", key, got, want)
		}
	}
	count := map[int16]int{}
	for id := range int64(32_000) {
		count[contact.Key{Tenant: "Cust1", ID: id}.Shard()]++
	}
	for shard, n := range count {
		if shard < 0 || shard >= contact.Shards || n < 800 || n > 1200 {
			t.Errorf("shard %d holds %d of 32,000 contacts, want about 1,000", shard, n)
		}
	}
}
