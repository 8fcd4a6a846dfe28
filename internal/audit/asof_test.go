package audit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/contact"
	"contactmirror/internal/event"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/simulator"
)

// odd are values of columns in all forms that the decoder takes, some that it
// does not, and columns that SuperOffice does not send today.
var odd = map[string][]string{
	"name":                 {`"Bj\u00f8rge \"x\""`, `""`, `null`, `"[I:6]"`, `7`},
	"associate_id":         {`"[I:6]"`, `"-12"`, `6.0`, `"6.000"`, `null`, `9223372036854775807`, `"no"`, `true`},
	"source":               {`"[I:2]"`, `"3"`, `2147483648`, `-1.00`},
	"deleted":              {`true`, `false`, `"[I:1]"`, `"0"`, `2`, `null`, `"true"`},
	"xstop":                {`1`, `0`, `true`, `"False"`, `"[B:1]"`, `"[B:true]"`, `"[I:0]"`, `null`, `"yes"`},
	"registered":           {`"2020-02-16T17:50:17"`, `"0001-01-01T00:00:00"`, `"0001-01-01T00:00:00Z"`, `null`, `"10000-01-01T00:00:00"`, `"1759-12-31T23:00:00Z"`, `"2020-02-30T00:00:00"`},
	"updated":              {`"2025-05-14T10:48:07.8912039+02:00"`, `"2025-05-14T10:48:07.99-11:45"`, `"1969-12-31T23:59:59.9999999Z"`, `"2020-01-01T00:00:00+05:60"`, `"2020-01-01T00:00:00,0000Z"`, `"[DT:09/16/2025 14:22:14.9999999]"`},
	"DeletedDate":          {`"2026-10-05T10:00:00.1234567"`, `"0001-01-01T00:00:00"`, `"[DT:01/01/0001 00:00:00]"`, `null`, `"[DT:10/02/2026 14:22:14]"`, `"2026-10-01"`, `"1760-01-01T00:00:00"`, `"0001-01-01T08:00:00Z"`, `"1970-01-01T00:00:00"`},
	"dbi_last_modified":    {`"2020-02-29T23:59:59.5"`, `"0000-12-31T23:30:00-01:00"`, `"9999-12-31T23:59:59.9999999"`, `"2020-01-01T00:00:00+14:00"`, `"2020-01-01T00:00:00.1234567899999Z"`},
	"dbi_last_syncronized": {`"[DT:12/31/1999 23:59:59.1]"`, `"[DT:09/16/2025 14:22:14,0]"`, `"2020-01-01T12:00:00+05:30"`, `{}`},
	"contact_id":           {`1`},
}

// vary replaces some of a delivery's values by odd ones, and takes some out.
func vary(t testing.TB, random *rand.Rand, body []byte) []byte {
	t.Helper()
	var e map[string]json.RawMessage
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	values := map[string]json.RawMessage{}
	if given, ok := e["FieldValues"]; ok {
		if err := json.Unmarshal(given, &values); err != nil {
			t.Fatal(err)
		}
	}
	switch random.IntN(8) {
	case 0:
		clear(values)
	case 1:
		for name := range values {
			if random.IntN(2) == 0 {
				delete(values, name)
			}
		}
	case 2, 3:
		for name, forms := range odd {
			if random.IntN(2) == 0 {
				values[name] = json.RawMessage(forms[random.IntN(len(forms))])
			}
		}
	default:
		return body
	}
	e["FieldValues"], _ = json.Marshal(values)
	body, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// rows is a query's only column, one text a row.
func rows(t testing.TB, db *pgtest.DB, query string, args ...any) []string {
	t.Helper()
	found, _ := db.Pool.Query(t.Context(), query, args...)
	list, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return list
}

const (
	current = `select (to_jsonb(c) - 'first_seen_at' - 'mirrored_at')::text from contacts c order by context_identifier, contact_id`
	asOf    = `select to_jsonb(c)::text from contacts_as_of($1) c order by context_identifier, contact_id`
	knownAt = `select to_jsonb(c)::text from contacts_as_known_at($1) c order by context_identifier, contact_id`
)

// The fold in SQL is the fold: as of now it gives the mirror, as known at the
// end of each batch what the mirror was then, and as of any instant the fold of
// the facts up to it.
func TestAsOf(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			asOfLives(t, seed)
		})
	}
}

type known struct {
	at   time.Time
	rows []string
}

func asOfLives(t *testing.T, seed uint64) {
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `do $$ begin execute format('alter database %I set timezone = ''<+0530>-05:30''', current_database()); end $$`); err != nil {
		t.Fatal(err)
	}
	db.Pool.Reset()
	random := rand.New(rand.NewPCG(seed, 7))
	lives := simulator.NewLives(seed, []string{"", "Cust1", "Cust2"}, 25, received.AddDate(0, -1, 0))
	bodies := make([][]byte, 600)
	for i := range bodies {
		bodies[i] = vary(t, random, lives.Next())
	}
	random.Shuffle(len(bodies), func(i, j int) { bodies[i], bodies[j] = bodies[j], bodies[i] })

	facts := map[contact.Key][]contact.Fact{}
	var instants []contact.Ticks
	var moments []known
	for rest := bodies; len(rest) > 0; {
		n := min(1+random.IntN(200), len(rest))
		batch := slices.Concat(rest[:n], rest[:random.IntN(n)]) // some twice
		for _, e := range put(t, db, batch[:n]...) {
			facts[e.Contact.Key] = append(facts[e.Contact.Key], e.Contact.Fact)
			instants = append(instants, e.Contact.Fact.Order.Ticks)
		}
		put(t, db, batch[n:]...)
		drain(t, db)
		moment := known{rows: rows(t, db, current)}
		if err := db.Pool.QueryRow(t.Context(), `select clock_timestamp()`).Scan(&moment.at); err != nil {
			t.Fatal(err)
		}
		moments, rest = append(moments, moment), rest[n:]
	}
	if len(moments) < 3 {
		t.Fatal("too few batches to look back on")
	}

	compare := func(what string) {
		t.Helper()
		now := moments[len(moments)-1]
		if diff := gocmp.Diff(now.rows, rows(t, db, asOf, "9999-01-01 Z")); diff != "" {
			t.Errorf("%s: as of the end (-contacts +fold):\n%s", what, diff)
		}
		for i, moment := range moments {
			if diff := gocmp.Diff(moment.rows, rows(t, db, knownAt, moment.at)); diff != "" {
				t.Errorf("%s: as known after batch %d (-contacts then +fold):\n%s", what, i, diff)
			}
		}
		for range 8 {
			at := instants[random.IntN(len(instants))].Time().Add(time.Duration(random.IntN(3)-1) * time.Microsecond)
			if diff := gocmp.Diff(folded(t, facts, at), sorted(t, rows(t, db, asOf, at))); diff != "" {
				t.Errorf("%s: as of %v (-go +sql):\n%s", what, at, diff)
			}
		}
	}
	compare("with the mirror's rows")
	// And with none of them: then every row is folded from the log.
	if _, err := db.Pool.Exec(t.Context(), `update contacts set last_event_at = 'infinity', mirrored_at = 'infinity'`); err != nil {
		t.Fatal(err)
	}
	compare("from the log alone")
	// Nor does it matter in which order the rows of neighbouring batches are
	// numbered: transactions that run side by side number theirs by turns.
	if _, err := db.Pool.Exec(t.Context(), `
		alter table contact_audit_log disable trigger user;
		update contact_audit_log a
		set audit_seq = 1000000 + n.place
		from (
			select audit_seq, row_number() over (order by audit_seq + hashint8(audit_seq) % 150) as place
			from contact_audit_log
		) n
		where n.audit_seq = a.audit_seq;
		alter table contact_audit_log enable trigger user`); err != nil {
		t.Fatal(err)
	}
	compare("with rows numbered by turns")
	all := moments[len(moments)-1].rows
	for range 8 { // and of one contact it is the same row
		want := all[random.IntN(len(all))]
		got := rows(t, db, `select to_jsonb(c)::text from contacts_as_of('9999-01-01 Z',
			$1::jsonb ->> 'context_identifier', ($1::jsonb ->> 'contact_id')::bigint) c`, want)
		if diff := gocmp.Diff([]string{want}, got); diff != "" {
			t.Errorf("of one contact (-of all +of one):\n%s", diff)
		}
	}
}

// put stores the events of bodies, and returns them.
func put(t testing.TB, db *pgtest.DB, bodies ...[]byte) []event.Event {
	t.Helper()
	return putAt(t, db, received, bodies...)
}

// drain applies what is queued.
func drain(t testing.TB, db *pgtest.DB) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- mirror.New(db.Pool, slog.New(slog.DiscardHandler), 1).Run(ctx) }()
	for queued := 1; queued > 0; {
		// Waits for the batch under way.
		err := pgx.BeginFunc(t.Context(), db.Pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), "select from sync_shards order by shard for update"); err != nil {
				return err
			}
			return tx.QueryRow(t.Context(), "select count(*) from sync_queue").Scan(&queued)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// folded is the rows that the facts up to an instant make, as PostgreSQL writes
// them.
func folded(t testing.TB, facts map[contact.Key][]contact.Fact, at time.Time) []string {
	t.Helper()
	list := []string{}
	keys := make([]contact.Key, 0, len(facts))
	for key := range facts {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b contact.Key) int {
		if a.Tenant != b.Tenant {
			return strings.Compare(a.Tenant, b.Tenant)
		}
		return int(a.ID - b.ID)
	})
	for _, key := range keys {
		var until []contact.Fact
		for _, f := range facts[key] {
			if !f.Order.Ticks.Time().After(at) {
				until = append(until, f)
			}
		}
		var s contact.State
		s.Merge(until, nil)
		if s.Life != contact.Live {
			continue
		}
		row := map[string]any{
			"context_identifier": key.Tenant, "contact_id": key.ID, "soft_deleted": s.Row.SoftDeleted, "soft_deleted_at": nil,
			"pending_columns": s.Row.Pending.Names(), "last_event": s.Last.Kind.String(), "last_event_id": s.Last.ID.String(),
			"last_event_at": instant(s.Last.Ticks.Time()), "last_event_ticks": int64(s.Last.Ticks), "last_changed_by_associate_id": s.ChangedBy,
		}
		if s.Row.SoftDeleted {
			row["soft_deleted_at"] = instant(time.UnixMicro(s.Row.SoftDeletedAt))
		}
		for i, spec := range contact.Columns[1:] {
			row[spec.Name] = plainValue(spec.Type, s.Row.Values[i+1])
		}
		list = append(list, canonicalJSON(t, row))
	}
	return list
}

// sorted writes JSON objects as [canonicalJSON] does.
func sorted(t testing.TB, objects []string) []string {
	t.Helper()
	list := make([]string, len(objects))
	for i, text := range objects {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		var v map[string]any
		if err := decoder.Decode(&v); err != nil {
			t.Fatal(err)
		}
		list[i] = canonicalJSON(t, v)
	}
	return list
}

func canonicalJSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// instant is how PostgreSQL writes a timestamptz into JSON in the tests' zone.
func instant(at time.Time) string {
	return at.In(time.FixedZone("", 5*3600+1800)).Format("2006-01-02T15:04:05.999999-07:00")
}

func plainValue(t contact.Type, v contact.Value) any {
	switch {
	case v.IsNull():
		return nil
	case t == contact.Text:
		return v.Text()
	case t == contact.Boolean:
		return v.Bool()
	case t == contact.Timestamptz:
		return instant(v.Time())
	case t == contact.Timestamp:
		return v.Time().Format("2006-01-02T15:04:05.999999")
	}
	return v.Int()
}
