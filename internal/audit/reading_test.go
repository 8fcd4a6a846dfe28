package audit_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/audit"
	"contactmirror/internal/contact"
	"contactmirror/internal/event"
	"contactmirror/internal/pgtest"
)

// written are values of each type in every form that is read, and some that are
// nearly one.
var written = map[contact.Type][]string{
	contact.Bigint: {
		"0", "6", "-12", "6.0", "6.000", "-0", "-0.0", "[I:6]", "[I:-6.0]", "9223372036854775807", "-9223372036854775808",
		"9223372036854775808", "999999999999999999", "1000000000000000000", "06", "+6", "6.", ".0", "6.5", "6e2", "", " 6", "[I:]", "[F:6]",
		"6.000000000000000000000000000000", "6.0000000000000000000000000000000", "６", "[I:[I:6]]", "true", "1_000", "-", "--6", "NaN", "Infinity",
	},
	contact.Integer: {"0", "2147483647", "-2147483648", "2147483648", "-2147483649", "999999999", "1000000000", "[I:2]", "true", "False", "[B:1]", "2.00", "07"},
	contact.Boolean: {
		"0", "1", "true", "false", "True", "False", "TRUE", "t", "yes", "on", "1.0", "[B:1]", "[I:0]", "[B:true]", "[I:False]", "[B:]", "[I:[B:1]]", " 1", "2",
	},
	contact.Timestamptz: {
		"2020-02-16T17:50:17", "2020-02-16T17:50:17Z", "2025-05-14T10:48:07.8912039+02:00", "2025-05-14T10:48:07.99-11:45",
		"2025-05-14T10:48:07.891203999999Z", "1969-12-31T23:59:59.9999999Z", "1899-12-31T23:59:59.9999999-14:00", "2024-02-29T00:00:00",
		"2000-02-29T23:59:59.9999996", "1900-02-29T00:00:00", "2023-02-29T00:00:00", "0000-02-29T00:00:00", "2020-04-31T00:00:00",
		"2020-01-01T00:00:00+05:60", "2020-01-01T00:00:00,0000Z", "2020-01-01T00:00:00.Z", "2020-01-01T00:00:00.", "2020-01-01T00:00:00+14:00",
		"2020-01-01T00:00:00+14:01", "2020-01-01T24:00:00", "2020-01-01T23:59:60", "2020-01-01 00:00:00", "2020-01-01T00:00", "2020-01-01",
		"0001-01-01T00:00:00", "0001-01-01T00:00:00Z", "0001-01-01T08:00:00Z", "0001-01-01T02:00:00+02:00", "0000-12-31T23:30:00-01:00",
		"0001-01-02T23:59:59.9999999", "0001-01-03T00:00:00", "0001-01-03T00:00:00+00:01", "1759-12-30T23:59:59.9999999", "1759-12-31T00:00:00",
		"1760-01-01T00:00:00", "1760-01-02T00:00:00", "1760-01-02T00:00:00.0000009", "1760-01-02T00:00:00.000001", "1760-01-02T01:00:00+01:00",
		"9999-12-31T23:59:59.9999999", "9999-12-31T23:59:59.9999999-00:01", "10000-01-01T00:00:00", "-0001-01-01T00:00:00",
		"[DT:09/16/2025 14:22:14]", "[DT:09/16/2025 14:22:14.0000000]", "[DT:01/01/1760 12:00:00]", "[DT:01/01/0001 00:00:00]",
		"[DT:09/16/2025 14:22:14,0]", "[DT:09/16/2025 14:22:14Z]", "[DT:16/09/2025 14:22:14]", "[DT:09/16/2025T14:22:14]", "[DT:09/16/2025 14:22:141]",
		"[DT:09/16/2025 14:22:14.1.2]", "[DT:2025-09-16T14:22:14]", "[D:09.11.2017]", "now", "infinity", "-infinity", "epoch", "allballs", "",
	},
}

// mutate changes a few characters of s.
func mutate(random *rand.Rand, s string) string {
	alphabet := []rune("00112345699-+.:,/TZtz[]DIBFe _\n\t٣é")
	runes := []rune(s)
	for range 1 + random.IntN(3) {
		i, r := random.IntN(len(runes)+1), alphabet[random.IntN(len(alphabet))]
		switch random.IntN(4) {
		case 0:
			runes = slices.Insert(runes, i, r)
		case 1:
			if i < len(runes) {
				runes = slices.Delete(runes, i, i+1)
			}
		default:
			if i < len(runes) {
				runes[i] = r
			}
		}
	}
	return string(runes)
}

// asJSON is a value as contactmirror_value writes it, nil where it can't be read.
func asJSON(spec contact.Spec, v contact.Value, ok bool) *string {
	if !ok {
		return nil
	}
	text := "null"
	switch {
	case v.IsNull():
	case spec.Type == contact.Boolean:
		text = strconv.FormatBool(v.Bool())
	case spec.Type == contact.Timestamptz:
		text = strconv.Quote(v.Time().Format("2006-01-02T15:04:05.999999Z"))
	case spec.Type == contact.Timestamp:
		text = strconv.Quote(v.Time().Format("2006-01-02T15:04:05.999999"))
	default:
		text = strconv.FormatInt(v.Int(), 10)
	}
	return &text
}

// SQL reads exactly what Go reads, as the same values, and raises on nothing.
func TestDecode_readsAsSQLDoes(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	random := rand.New(rand.NewPCG(1, uint64(time.Now().Unix()/86400))) // other values each day
	var sources, values []string
	var expected []*string
	add := func(source string, s contact.Scalar, literal string) {
		column, _ := contact.BySource(source)
		v, ok := contact.Decode(column, s, 0)
		sources, values, expected = append(sources, source), append(values, literal), append(expected, asJSON(column.Spec(), v, ok))
	}
	taken := 0
	for source, kind := range map[string]contact.Type{
		"country_id": contact.Bigint, "source": contact.Integer, "deleted": contact.Integer, "xstop": contact.Boolean,
		"updated": contact.Timestamptz, "dbi_last_modified": contact.Timestamptz,
	} {
		texts := slices.Clone(written[kind])
		for range 6000 {
			texts = append(texts, mutate(random, written[kind][random.IntN(len(written[kind]))]))
		}
		for _, text := range texts {
			quoted, err := json.Marshal(text)
			if err != nil {
				t.Fatal(err)
			}
			add(source, contact.Scalar{Kind: contact.String, Text: text}, string(quoted))
			if expected[len(expected)-1] != nil {
				taken++
			}
			// As a number or a boolean only where it is taken: else it is not logged.
			kind := contact.Number
			if text == "true" || text == "false" {
				kind = contact.Bool
			}
			column, _ := contact.BySource(source)
			s := contact.Scalar{Kind: kind, Text: text}
			if _, ok := contact.Decode(column, s, 0); ok && json.Valid([]byte(text)) {
				add(source, s, text)
			}
		}
	}
	if taken < 3000 {
		t.Errorf("only %d values are read at all", taken)
	}
	rows, _ := db.Pool.Query(t.Context(), `
		select contactmirror_value(c.type, c.source_name, v.value)::text
		from unnest($1::text[], $2::jsonb[]) with ordinality v (source_name, value, place)
		join contact_columns c using (source_name)
		order by v.place`, sources, values)
	got, err := pgx.CollectRows(rows, pgx.RowTo[*string])
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(expected) {
		t.Fatalf("%d values of %d", len(got), len(expected))
	}
	show := func(s *string) string {
		if s == nil {
			return "unreadable"
		}
		return *s
	}
	for i := range expected {
		if show(got[i]) != show(expected[i]) {
			t.Errorf("%s %s: SQL reads %s, Go %s", sources[i], values[i], show(got[i]), show(expected[i]))
		}
	}
}

// A value in the log that no decoder takes makes no report fail.
func TestReports_readAnyLoggedValue(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	put(t, db,
		said(7, 1, "created", `,"FieldValues":{"updated":"2026-01-01T00:00:00","deleted":0}`),
		said(7, 3, "changed", `,"FieldValues":{"updated":"2026-01-03T00:00:00"}`))
	drain(t, db)
	if _, err := db.Pool.Exec(t.Context(), `
		insert into contact_audit_log (shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks, received_at, recorded_at,
			changed_columns, field_values, unreadable_columns, irregular, soft_deleted, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain)
		select shard, context_identifier, contact_id, 'contact.softdeleted', gen_random_uuid(), occurred_at, occurred_ticks + row_number() over (), received_at,
			recorded_at, '{}', jsonb_build_object(c.source_name, v.value), '{}', true, true, false, 'applied', 'upserted', 0, 'fetch', chain_seq, chain
		from (select * from contact_audit_log order by occurred_ticks limit 1) a, contact_columns c, unnest($1::jsonb[]) v (value)`, []string{
		`"2020-01-01T00:00:00+05:60"`, `"2020-01-01T00:00:00,0000Z"`, `"[DT:09/16/2025 14:22:14,0]"`, `"[I:x]"`, `1e40`, `1.5`, `-1`, `true`, `"2"`,
		`""`, `"infinity"`, `{"a":1}`, `["[I:6]"]`, `null`,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Pool.Exec(t.Context(), `
		insert into contact_audit_log (shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks, received_at, recorded_at,
			changed_columns, field_values, unreadable_columns, irregular, soft_deleted, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain)
		select shard, context_identifier, contact_id, 'contact.changed', gen_random_uuid(), occurred_at, occurred_ticks + 1000000, received_at, recorded_at,
			'{}', (select jsonb_object_agg(source_name, '+05:60') from contact_columns where source_name <> 'name'), '{}', true, null, false, 'applied', 'upserted', 0, 'fetch', chain_seq, chain
		from contact_audit_log order by occurred_ticks limit 1`); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		`select * from contact_changes`, `select * from contact_timeline`, `select * from deleted_contacts`,
		`select * from contacts_as_of('2026-01-02 Z')`, `select * from contacts_as_of('2026-01-02 Z', 'Cust1', 7)`,
		`select * from contacts_as_known_at('-infinity')`, `select * from column_provenance('Cust1', 7)`,
	} {
		if _, err := db.Pool.Exec(t.Context(), query); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
	want(t, db, `select count(*)::text from contact_changes where value_known is distinct from (new_value is not null)`, "0")
	want(t, db, `select concat_ws(' ', value, pending) from column_provenance('Cust1', 7) where column_name = 'country_id'`, "t")
}

// notSet are spellings of "no date", the ones of SuperOffice and what conversions
// between zones make of them: zones that are so many hours apart.
func notSet(step int) []string {
	spellings := []string{
		"0001-01-01T00:00:00", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.0000000Z", "0001-01-01T08:00:00Z", "0001-01-01T02:00:00+02:00",
		"0001-01-02T13:59:59.9999999", "0001-01-01T00:00:00+14:00", "0001-01-02T00:00:00-14:00", "0000-12-31T10:00:00Z", "0000-12-31T23:30:00-01:00",
		"[DT:01/01/0001 00:00:00]", "[DT:01/01/0001 05:30:00.0000000]", "[DT:01/02/0001 00:00:00]",
		"1760-01-01T00:00:00", "1760-01-01T00:00:00Z", "1759-12-31T00:00:00", "1759-12-31T10:00:00.0000000Z", "1760-01-02T00:00:00Z",
		"[DT:01/01/1760 00:00:00]", "[DT:12/31/1759 23:00:00.0000000]",
	}
	for _, year := range []int{1, 1760} {
		at := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		for hours := -14; hours <= 14; hours += step {
			zone := time.FixedZone("", hours*3600)
			// In another zone, taken for UTC, and taken for local time.
			spellings = append(spellings,
				at.In(zone).Format("2006-01-02T15:04:05"), at.In(zone).Format("2006-01-02T15:04:05-07:00"),
				time.Date(year, 1, 1, 0, 0, 0, 0, zone).Format("2006-01-02T15:04:05-07:00"))
		}
	}
	return spellings
}

// A date that is not set is known and deletes nothing, one that can't be meant is
// unknown and decides nothing, whatever the kind of event.
func TestDelivery_deletedDate(t *testing.T) {
	t.Parallel()
	const unreadable, silent, deleted = "unreadable", "not set", "deleted"
	dates := map[string]string{ // of events of the first days of January 2026
		`null`: silent, `"2026-01-03T00:00:00"`: deleted, `"1980-01-01T00:00:00"`: deleted, `"[DT:01/02/2026 10:00:00]"`: deleted,
		`"1979-12-31T23:59:59.9999999Z"`: unreadable, `"1970-01-01T00:00:00"`: unreadable, `"1970-01-01T01:00:00+01:00"`: unreadable,
		`"1760-01-02T00:00:01"`: unreadable, `"1759-12-30T23:59:59Z"`: unreadable, `"0001-01-03T00:00:00"`: unreadable,
		`"9999-12-31T23:59:59.9999999"`: unreadable, `"2026-01-11T00:00:00.0000001"`: unreadable, `"[DT:01/01/1753 00:00:00]"`: unreadable,
		`"2026-01-01T00:00:00+05:60"`: unreadable, `"2026-01-01T00:00:00,0000Z"`: unreadable, `"[DT:01/01/2026 14:22:14,0]"`: unreadable,
		`"2026-01-01"`: unreadable, `"no date"`: unreadable, `0`: unreadable, `{}`: unreadable,
	}
	for _, spelling := range notSet(7) {
		dates[strconv.Quote(spelling)] = silent
	}
	const created, restored, kept, binned, given = 1, 2, 3, 4, 5 // the cases: an event each, of a contact each
	db := pgtest.New(t)
	type delivery struct {
		form        int
		means, date string
	}
	deliveries := map[int64]delivery{}
	var first, second [][]byte
	id := 0
	for date, means := range dates {
		for form := created; form <= given; form++ {
			id++
			deliveries[int64(id)] = delivery{form, means, date}
			values := fmt.Sprintf(`,"FieldValues":{"DeletedDate":%s,"deleted":0}`, date)
			alone := fmt.Sprintf(`,"FieldValues":{"DeletedDate":%s}`, date)
			switch form {
			case created:
				second = append(second, said(id, 10, "created", values))
			case restored: // a marker that says so ends the stretch in the recycle bin
				first = append(first, said(id, 4, "softdeleted", ""))
				second = append(second, said(id, 10, "changed", values))
			case kept: // an unreadable one alone leaves it
				first = append(first, said(id, 4, "softdeleted", ""))
				second = append(second, said(id, 10, "changed", alone))
			case binned:
				second = append(second, said(id, 10, "softdeleted", values))
			case given:
				second = append(second, said(id, 10, "changed", alone))
			}
		}
	}
	// For half of the contacts the earlier event comes last: then the facts are read
	// back from the log.
	put(t, db, second[:len(second)/2]...)
	drain(t, db)
	put(t, db, append(first, second[len(second)/2:]...)...)
	drain(t, db)

	type mirrored struct {
		ContactID                                    int64
		InBin, SinceThen, Pending, Unreadable, Given bool
	}
	found, _ := db.Pool.Query(t.Context(), `
		select contact_id, c.soft_deleted, coalesce(c.soft_deleted_at >= '2026-01-01 Z', true), c.pending_columns @> '{deleted_date}',
			'DeletedDate' = any (e.unreadable_columns), e.field_values ? 'DeletedDate'
		from contacts c
		join contact_timeline e using (context_identifier, contact_id)
		where e.occurred_at = '2026-01-10 Z'`)
	contacts, err := pgx.CollectRows(found, pgx.RowToStructByPos[mirrored])
	if err != nil || len(contacts) != len(deliveries) {
		t.Fatalf("%d contacts of %d: %v", len(contacts), len(deliveries), err)
	}
	for _, c := range contacts {
		d := deliveries[c.ContactID]
		unknown := d.means == unreadable
		if inBin := d.means == deleted || d.form == binned || d.form == kept && unknown; c.InBin != inBin {
			t.Errorf("form %d, %s: soft-deleted: %t", d.form, d.date, c.InBin)
		}
		if !c.SinceThen && d.means != deleted {
			t.Errorf("form %d, %s: soft-deleted since another year", d.form, d.date)
		}
		if c.Pending != unknown || c.Unreadable != unknown || c.Given == unknown {
			t.Errorf("form %d, %s: pending %t, in unreadable_columns %t, in field_values %t", d.form, d.date, c.Pending, c.Unreadable, c.Given)
		}
	}
	// history says the same of one whose date is not set.
	for contactID, d := range deliveries {
		if d.means != silent || d.form != created {
			continue
		}
		current, entries, err := audit.History(t.Context(), db.Pool, contact.Key{Tenant: "Cust1", ID: contactID})
		if err != nil || current.SoftDeleted || current.SoftDeletedAt != nil || len(entries) != 1 || *entries[0].Transition != "created" {
			t.Errorf("%s: history %+v %+v, %v", d.date, current, entries, err)
		}
		break
	}
	want(t, db, `select count(*)::text from contacts where deleted_date < '1980-01-01'`, "0")
	// The fold in SQL agrees.
	want(t, db, `select count(*)::text from contacts c join contacts_as_of('9999-01-01 Z') s using (context_identifier, contact_id)
		where (c.soft_deleted, c.soft_deleted_at, c.deleted_date, c.pending_columns) is distinct from (s.soft_deleted, s.soft_deleted_at, s.deleted_date, s.pending_columns)`, "0")
	if _, err := db.Pool.Exec(t.Context(), `update contacts set last_event_at = 'infinity', mirrored_at = 'infinity'`); err != nil {
		t.Fatal(err)
	}
	want(t, db, `select count(*)::text from contacts c join contacts_as_of('9999-01-01 Z') s using (context_identifier, contact_id)
		where (c.soft_deleted, c.soft_deleted_at, c.deleted_date, c.pending_columns) is distinct from (s.soft_deleted, s.soft_deleted_at, s.deleted_date, s.pending_columns)`, "0")
}

// Every date column reads "not set" as NULL, known.
func TestDelivery_notSet(t *testing.T) {
	t.Parallel()
	for _, spelling := range notSet(1) {
		for _, spec := range contact.Columns {
			if spec.Type != contact.Timestamptz && spec.Type != contact.Timestamp {
				continue
			}
			e, err := event.Parse(said(7, 10, "changed", fmt.Sprintf(`,"FieldValues":{"%s":"%s"}`, spec.Source, spelling)), received)
			if err != nil {
				t.Fatal(err)
			}
			if len(e.Contact.Unreadable) > 0 || len(e.Contact.Fact.Given) != 1 || !e.Contact.Fact.Given[0].Value.IsNull() {
				t.Errorf("%s %s: unreadable %v, given %+v", spec.Source, spelling, e.Contact.Unreadable, e.Contact.Fact.Given)
			}
		}
	}
}
