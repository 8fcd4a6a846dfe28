package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"contactmirror/internal/chain"
	"contactmirror/internal/pg"
)

// Any row of the log that is altered, in any column, removed or inserted is
// found, whether or not there is a key, and whatever was adopted.
func TestTamperingIsFound(t *testing.T) {
	t.Parallel()
	key := testKey(t, "sixteen bytes or more")
	for name, c := range map[string]struct {
		keys [3]chain.Keys
		want string // rows without a key, with one, adopted
	}{
		"no key":  {want: "390 0 0"},
		"key":     {[3]chain.Keys{key, key, key}, "0 390 0"},
		"adopted": {[3]chain.Keys{nil, key, key}, "130 260 130"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 11)
			key := c.keys[2]
			for i, k := range c.keys {
				if i > 0 && len(k) > 0 && len(c.keys[i-1]) == 0 {
					r.adopt(k)
				}
				r.apply(130, k)
				r.value("select nextval('contact_audit_log_audit_seq_seq')::text") // leaves a gap to insert into
			}
			found := r.tampered(t, key, nil)
			if got := fmt.Sprint(found.Unkeyed, found.Keyed, found.Adopted); len(found.Breaks) > 0 || got != c.want {
				t.Fatalf("before tampering: %s, want %s: %v", got, c.want, found.Breaks)
			}
			rows, _ := r.Pool.Query(t.Context(), `select attname, format_type(atttypid, null), not attnotnull from pg_attribute
				where attrelid = 'contact_audit_log'::regclass and attnum > 0 and not attisdropped order by attnum`)
			columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
			if err != nil {
				t.Fatal(err)
			}
			rows, _ = r.Pool.Query(t.Context(), "select audit_seq from contact_audit_log order by audit_seq")
			numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range columns { // NULL is not empty, which random values seldom tell
				empty := map[string]string{"text[]": "'{}'", "text": "''", "jsonb": "'{}'", "bytea": `'\x'`}[c.Type]
				if !c.Nullable || empty == "" {
					continue
				}
				statement := fmt.Sprintf("update contact_audit_log set %[1]s = case when %[1]s is null then %[2]s::%[3]s end where audit_seq = %[4]d", c.Name, empty, c.Type, numbers[200])
				if found := r.tampered(t, key, &statement); found != nil && len(found.Breaks) == 0 {
					t.Errorf("not found: %s", statement)
				}
			}
			adopted := c.want == "130 260 130"
			rapid.Check(t, func(rt *rapid.T) {
				row := rapid.IntRange(0, len(numbers)-1).Draw(rt, "row")
				statement, named := tampering(rt, columns, numbers[row])
				found := r.tampered(rt, key, &statement)
				switch {
				case found == nil:
				case len(found.Breaks) == 0:
					rt.Fatalf("not found: %s", statement)
				case named && !(adopted && row < 130) && (found.Breaks[0].What != Altered || found.Breaks[0].Row.AuditSeq != numbers[row]):
					rt.Fatalf("%s: found %v", statement, found.Breaks)
				}
			})
		})
	}
}

type column struct {
	Name, Type string
	Nullable   bool
}

// tampered checks the chains after statement, which it rolls back. It returns
// nil where the statement changes nothing, or what PostgreSQL does not let be.
func (r *rig) tampered(t interface{ Fatal(...any) }, key chain.Keys, statement *string) (found *Chain) {
	rolledBack := errors.New("rolled back")
	err := pgx.BeginFunc(r.t.Context(), r.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(r.t.Context(), "set local session_replication_role = replica"); err != nil {
			return err
		}
		if statement != nil {
			tag, err := tx.Exec(r.t.Context(), *statement)
			if pg.DataFault(err) || pg.NumberTaken(err) || err == nil && tag.RowsAffected() == 0 {
				return rolledBack
			}
			if err != nil {
				return err
			}
		}
		stored, err := loadHeads(r.t.Context(), tx)
		if err != nil {
			return err
		}
		adoptions, err := loadAdoptions(r.t.Context(), tx)
		if err != nil {
			return err
		}
		checked, err := checkChains(r.t.Context(), tx, newChains(stored, adoptions, Options{Keys: key}), func() {})
		if err != nil {
			return err
		}
		found = &checked
		return rolledBack
	})
	if !errors.Is(err, rolledBack) {
		t.Fatal(err)
	}
	return found
}

// tampering is a random statement that alters row, removes it or inserts one
// like it. named is set where what was altered leaves no doubt which row it was.
func tampering(t *rapid.T, columns []column, row int64) (statement string, named bool) {
	switch rapid.IntRange(0, 9).Draw(t, "way") {
	case 0:
		return fmt.Sprintf("delete from contact_audit_log where audit_seq = %d", row), false
	case 1, 2:
		replaced := map[string]string{
			"audit_seq": rapid.SampledFrom([]string{
				"(select max(audit_seq) + 1 from contact_audit_log)", "-1",
				"(select min(n) from generate_series(1, 400) n where not exists (select from contact_audit_log where audit_seq = n))",
			}).Draw(t, "number"),
			"event_seq": "null",
			"chain_seq": rapid.SampledFrom([]string{"chain_seq", "chain_seq + 1", "null", "0", "(select audit_count + 1 from sync_shards s where s.shard = a.shard)"}).Draw(t, "place"),
			"outcome":   rapid.SampledFrom([]string{"outcome", "'superseded'"}).Draw(t, "outcome"),
		}
		var names, values []string
		for _, c := range columns {
			value := c.Name
			if other, ok := replaced[c.Name]; ok {
				value = other
			}
			names, values = append(names, c.Name), append(values, value)
		}
		return fmt.Sprintf("insert into contact_audit_log (%s) select %s from contact_audit_log a where audit_seq = %d", strings.Join(names, ", "), strings.Join(values, ", "), row), false
	}
	c := rapid.SampledFrom(columns).Draw(t, "column")
	value := otherValue(t, c)
	return fmt.Sprintf("update contact_audit_log a set %[1]s = %[2]s where audit_seq = %[3]d and %[1]s is distinct from %[2]s", c.Name, value, row),
		c.Name != "audit_seq" && c.Name != "chain_seq" && c.Name != "shard" && c.Name != "chain"
}

// otherValue is an expression for another value of a column.
func otherValue(t *rapid.T, c column) string {
	values := map[string][]string{
		"bigint":   {"%s + 1", "%s - 1", "-%s", "0", "coalesce(%s, 0) + 100000"},
		"smallint": {"((%s + 1) %% 32)::smallint", "32::smallint", "(-1)::smallint"},
		"text":     {"%s || 'x'", "upper(%s)", "''", "coalesce(%s, '') || ' '"},
		"uuid":     {"gen_random_uuid()"},
		"boolean":  {"not %s", "coalesce(not %s, true)", "false"},
		"timestamp with time zone": {
			"%s + interval '1 microsecond'", "%s - interval '1 day'", "'infinity'", "'-infinity'", "'0044-03-15 BC'",
		},
		"text[]": {"%s || 'name'", "%s[2:]", "array_prepend('', %s)", "'{NULL}'", "'[0:0]={name}'", "'{{name,name}}'", "'{}'"},
		"jsonb": {
			"'{}'", "'null'", `coalesce(%s, '{}') || '{"name":"other"}'`, "%s - 'name'", `coalesce(%s, '{}') || '{"deleted":1.5}'`, "'[]'", `jsonb_build_array(%s)`,
			"(select o.%s from contact_audit_log o where o.%[1]s is distinct from a.%[1]s order by o.audit_seq limit 1)",
		},
		"bytea": {"set_byte(%s, 0, get_byte(%[1]s, 0) # 1)", "set_byte(%s, octet_length(%[1]s) - 1, get_byte(%[1]s, octet_length(%[1]s) - 1) # 128)", `'\x'`, `%s || '\x00'`, "sha256(coalesce(%s, ''))"},
	}[c.Type]
	switch {
	case c.Name == "outcome":
		values = []string{"'applied'", "'no_op'", "'superseded'", "'after_delete'"}
	case c.Name == "origin":
		values = []string{"'fetch'", "'backfill'"}
	case len(values) == 0:
		t.Fatalf("column %s has the type %s, of which the test knows no values", c.Name, c.Type)
	}
	if c.Nullable {
		values = append(slices.Clip(values), "null")
	}
	value := rapid.SampledFrom(values).Draw(t, "value")
	if strings.Contains(value, "%") {
		value = fmt.Sprintf(value, c.Name)
	}
	return value
}
