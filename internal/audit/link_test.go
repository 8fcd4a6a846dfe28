package audit_test

import (
	"encoding/hex"
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/audit"
	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
)

func row() audit.Row {
	return audit.Row{
		AuditSeq: 1, EventSeq: new(int64(2)), Shard: 3, Tenant: "Cust1", ContactID: 4, Event: "contact.changed",
		EventID: pgtype.UUID{Bytes: [16]byte{5}, Valid: true}, OccurredAt: time.UnixMicro(6), OccurredTicks: 60,
		ReceivedAt: time.UnixMicro(7), RecordedAt: time.UnixMicro(8), ChangedColumns: []string{"name", "department"},
		UnreadableColumns: []string{"xstop"}, SoftDeleted: new(false), Outcome: new("applied"), Effect: contact.EffectUpserted, GivenColumns: 7, ChangedByAssociateID: new(int64(9)),
		WebhookName: new("hook"), Origin: "webhook", Salt: make([]byte, chain.SaltSize),
		FieldValues: json.RawMessage(`{"name":"a","deleted":1.50,"updated":null}`),
		LastKnown:   json.RawMessage(`{"pending_columns":["name"],"xstop":true}`),
	}
}

func key(t testing.TB) chain.Keys {
	t.Helper()
	key, err := chain.NewKey([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	return chain.Keys{key}
}

func link(t testing.TB, l *audit.Linker, r audit.Row, head chain.Head) chain.Head {
	t.Helper()
	head, err := l.Link(&r, head)
	if err != nil {
		t.Fatal(err)
	}
	if r.ChainSeq != head.Count || !slices.Equal(r.Chain, head.Link[:]) {
		t.Fatalf("the row has %d and %x of %v", r.ChainSeq, r.Chain, head)
	}
	return head
}

// The forms are stored for good.
func TestLinker_formsArePinned(t *testing.T) {
	t.Parallel()
	l, keyed := audit.NewLinker(nil), audit.NewLinker(key(t))
	r := row()
	c, err := l.Commit(&r)
	if err != nil {
		t.Fatal(err)
	}
	head := link(t, l, r, chain.Head{})
	next := link(t, keyed, r, head)
	for _, pin := range []struct {
		name string
		got  []byte
		want string
	}{
		{"commitment", c[:], "1d125f1626b1e28308625deb56d2a10b837bfd2eb9ffe06054575ee5da2ddca3"},
		{"link", head.Link[:], "0000000099ee49939cb57b3151589883c0c00a7d73dd169b8f3ae2abb867978c3c71819f"},
		{"keyed link", next.Link[:], "8c8e7f47dcce026e9fddae76a8bd513192a89449fac28ddb209d1010193dc7338a1a2133"},
	} {
		if got := hex.EncodeToString(pin.got); got != pin.want {
			t.Errorf("%s %s, want %s", pin.name, got, pin.want)
		}
	}
}

// change gives the field at p another value.
func change(t testing.TB, p any) {
	t.Helper()
	switch p := p.(type) {
	case *int16:
		*p++
	case *int64:
		*p++
	case **int64:
		*p = new(**p + 1)
	case *bool:
		*p = !*p
	case **bool:
		*p = new(!**p)
	case *string:
		*p += "x"
	case **string:
		*p = new(**p + "x")
	case *[]string:
		*p = append(slices.Clone(*p), "x")
	case *time.Time:
		*p = p.Add(time.Microsecond)
	case *pgtype.UUID:
		p.Bytes[15]++
	case *[]byte:
		*p = append([]byte(`{"x":`), append(*p, '}')...)
		if len(*p) == len(`{"x":}`) {
			*p = []byte(`{}`)
		}
	default:
		t.Fatalf("how does a %T change?", p)
	}
}

// Every column is covered by the link directly, or by the commitment that the link
// covers, or is part of the proof; and so is the row's place.
func TestLinker_coversEveryColumn(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]*audit.Linker{"no key": audit.NewLinker(nil), "key": audit.NewLinker(key(t))} {
		start := chain.Head{Count: 10, Link: chain.Link{35: 1}}
		seen := map[chain.Link]string{}
		note := func(change string, r audit.Row, head chain.Head) {
			t.Helper()
			link := link(t, l, r, head).Link
			if other, ok := seen[link]; ok {
				t.Errorf("%s: %s: has the link of %s", name, change, other)
			}
			seen[link] = change
		}
		note("no change", row(), start)
		for i, column := range audit.Columns(audit.Linked | audit.Committed) {
			r := row()
			change(t, r.Targets(audit.Linked | audit.Committed)[i])
			note(column, r, start)
		}
		for change, do := range map[string]func(*audit.Row){
			"salt": func(r *audit.Row) { r.Salt[0]++ }, "no event_seq": func(r *audit.Row) { r.EventSeq = nil }, "no tenant": func(r *audit.Row) { r.Tenant = "" },
			"one column": func(r *audit.Row) { r.ChangedColumns = []string{"namedepartment"} }, "fewer columns": func(r *audit.Row) { r.ChangedColumns = nil },
			"nothing unreadable": func(r *audit.Row) { r.UnreadableColumns = nil }, "moved column": func(r *audit.Row) {
				r.ChangedColumns, r.UnreadableColumns = r.ChangedColumns[:1], append(r.ChangedColumns[1:], r.UnreadableColumns...)
			},
			"silent": func(r *audit.Row) { r.SoftDeleted = nil }, "by nobody": func(r *audit.Row) { r.ChangedByAssociateID = nil },
			"empty webhook_name": func(r *audit.Row) { r.WebhookName = new("") }, "no webhook": func(r *audit.Row) { r.WebhookName = nil },
			"no values": func(r *audit.Row) { r.FieldValues = nil }, "moved values": func(r *audit.Row) { r.FieldValues, r.IDValues = nil, r.FieldValues },
		} {
			r := row()
			do(&r)
			note(change, r, start)
		}
		note("place", row(), chain.Head{Count: start.Count + 1, Link: start.Link})
		other := start
		other.Link[chain.LinkSize-1]++
		note("link before", row(), other)
	}
	// erased_columns is covered in place of the names in field_values.
	for _, column := range audit.Columns(audit.All) {
		n := 0
		for _, s := range []audit.Set{audit.Linked, audit.Committed, audit.Proof} {
			if slices.Contains(audit.Columns(s), column) {
				n++
			}
		}
		if n != 1 && column != "erased_columns" {
			t.Errorf("%s is covered in %d ways", column, n)
		}
	}
}

// An erased row has no values, and the link that it had.
func TestLinker_eraseKeepsTheLink(t *testing.T) {
	t.Parallel()
	l := audit.NewLinker(key(t))
	whole := row()
	whole.ChangedColumns = []string{"name", "any text", "department", "x_own"}
	want := link(t, l, whole, chain.Head{})
	erased := whole
	for range 2 { // it may be repeated
		if err := l.Erase(&erased); err != nil {
			t.Fatal(err)
		}
		for i, p := range erased.Targets(audit.Committed) {
			column := audit.Columns(audit.Committed)[i]
			if v := reflect.ValueOf(p).Elem(); !v.IsZero() && column != "changed_columns" {
				t.Errorf("%s is still %v", column, v)
			}
		}
		if !slices.Equal(erased.ChangedColumns, []string{"name", "department"}) || len(whole.ChangedColumns) != 4 {
			t.Errorf("erased: changed columns %v of %v", erased.ChangedColumns, whole.ChangedColumns)
		}
		if erased.Salt != nil || !slices.Equal(erased.ErasedColumns, []string{"deleted", "name", "updated"}) {
			t.Errorf("erased: %+v", erased)
		}
		if got := link(t, l, erased, chain.Head{}); got != want {
			t.Errorf("erased: link %v, want %v", got, want)
		}
	}
	for _, columns := range [][]string{{}, {"name"}, {"deleted", "name", "name"}, {"deleted", "name", "updated", "xstop"}} {
		altered := erased
		altered.ErasedColumns = columns
		if got := link(t, l, altered, chain.Head{}); got == want {
			t.Errorf("with the erased columns %v it has the same link", columns)
		}
	}
	for _, names := range [][]string{{}, {"name"}, {"department", "name"}, {"name", "department", "name"}} {
		altered := erased
		altered.ChangedColumns = names
		if got := link(t, l, altered, chain.Head{}); got == want {
			t.Errorf("with the changed columns %v it has the same link", names)
		}
	}
	none := row()
	none.FieldValues = nil
	if err := l.Erase(&none); err != nil || none.ErasedColumns == nil {
		t.Errorf("without values: erased to %v, %v", none.ErasedColumns, err)
	}
	bad := row()
	bad.IDValues = json.RawMessage(`{`)
	if _, err := l.Link(&bad, chain.Head{}); err == nil {
		t.Error("what is no JSON has a link")
	}
	erased.Commitment = erased.Commitment[1:]
	if _, err := l.Link(&erased, chain.Head{}); err == nil {
		t.Error("31 bytes are a commitment")
	}
}

// BenchmarkLink is what the chain costs an event: the commitment to the values
// of a version 11 event and the link.
func BenchmarkLink(b *testing.B) {
	for name, l := range map[string]*audit.Linker{"unkeyed": audit.NewLinker(nil), "keyed": audit.NewLinker(key(b))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r, head := row(), chain.Head{}
			r.FieldValues = json.RawMessage(`{"contact_id":18,"name":"Kattekjop AS","department":"Oslo","associate_id":5,"country_id":826,"business_idx":2,"category_idx":7,"orgNr":"974760673","updated":"2025-05-14T08:48:07.8912034Z","updated_associate_id":5,"updatedCount":4,"deleted":0,"DeletedDate":"0001-01-01T00:00:00"}`)
			r.LastKnown = nil
			var err error
			for b.Loop() {
				if head, err = l.Link(&r, head); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
