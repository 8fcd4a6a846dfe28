package pg_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
)

type keyArgs struct {
	ContextIdentifier string
	ContactID         int64
}

// A declaration whose names do not match panics, and so fails in every program and
// test that imports it.
func TestNewQuery_panicsUnlessParametersAreFields(t *testing.T) {
	t.Parallel()
	type row struct{ A int64 }
	for name, c := range map[string]struct {
		declare func()
		message string
	}{
		"missing field":     {func() { pg.NewQuery[pg.NoArgs, row]("-- Asks.\nselect @a::bigint as a") }, "the parameter a has no field"},
		"missing parameter": {func() { pg.NewQuery[struct{ A int64 }, row]("-- Asks.\nselect 1::bigint as a") }, "the field A has no parameter"},
		"in a comment":      {func() { pg.NewQuery[struct{ A int64 }, row]("-- Asks @a.\nselect 1::bigint as a") }, "the field A has no parameter"},
		"unexported field":  {func() { pg.NewQuery[struct{ a int64 }, row]("-- Asks.\nselect @a::bigint as a") }, "the field a is not exported"},
		"same name":         {func() { pg.NewQuery[struct{ AB, Ab int64 }, row]("-- Asks.\nselect @ab::bigint as a") }, "has the name of another"},
		"sample that lacks one": {func() {
			pg.NewNamedCommand("-- Asks.\nselect @a::bigint, @b::bigint", pgx.StrictNamedArgs{"a": int64(1)})
		}, "argument b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if message := fmt.Sprint(recover()); !strings.Contains(message, c.message) || !strings.Contains(message, "Asks") {
					t.Errorf("panic %q, want %q", message, c.message)
				}
			}()
			c.declare()
		})
	}
}

// Every way to run a statement gives it the same arguments, in the order of its
// parameters, and returns all rows.
func TestStatement_takesArgumentsByName(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	ctx := t.Context()
	type args struct {
		ContactIDs []int64
		keyArgs
	}
	given := args{[]int64{7, 8}, keyArgs{"Cust1", 9}}
	type row struct {
		Tenant string
		ID     int64
	}
	want := []row{{"Cust1", 7}, {"Cust1", 8}, {"Cust1", 9}}
	const text = "select @context_identifier::text as tenant, id from unnest(@contact_ids::bigint[] || @contact_id::bigint) id order by id"
	check := func(what string, got []row, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
	query := pg.NewQuery[args, row](text)
	found, err := query.All(ctx, db.Pool, given)
	check("All", found, err)
	found, err = query.Commit(ctx, db.Pool, given)
	check("Commit", found, err)

	column := pg.NewColumn[args, string]("select concat(@context_identifier::text, @contact_id::bigint, @contact_ids::bigint[])")
	for what, one := range map[string]func() (string, error){
		"One":              func() (string, error) { return column.One(ctx, db.Pool, given) },
		"OneCustomPlan":    func() (string, error) { return column.OneCustomPlan(ctx, db.Pool, given) },
		"CommitCustomPlan": func() (string, error) { return column.CommitCustomPlan(ctx, db.Pool, given) },
	} {
		if got, err := one(); err != nil || got != "Cust19{7,8}" {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	stream := pg.NewStream[args](text, func(r *row) []any { return []any{&r.Tenant, &r.ID} })
	var streamed []row
	err = stream.Each(ctx, db.Pool, given, func(r *row) error { streamed = append(streamed, *r); return nil })
	check("Each", streamed, err)

	var (
		batch          pgx.Batch
		queued, inTurn []row
		values         = []string{"before"}
	)
	query.Queue(&batch, given, func(rows []row) error { queued = rows; return nil })
	column.QueueAppend(&batch, given, &values)
	stream.Queue(&batch, given, func(r *row) error { inTurn = append(inTurn, *r); return nil })
	pg.NewCommand[keyArgs]("select from generate_series(1, @contact_id::bigint) where @context_identifier::text = 'Cust1'").
		Queue(&batch, given.keyArgs).Exec(pg.Touched(9))
	pg.NewNamedCommand("select @a::text", pgx.StrictNamedArgs{"a": ""}).Queue(&batch, pgx.StrictNamedArgs{"a": "b"}).Exec(pg.Touched(1))
	err = db.Pool.SendBatch(ctx, &batch).Close()
	check("Queue of a query", queued, err)
	check("Queue of a stream", inTurn, err)
	if diff := cmp.Diff([]string{"before", "Cust19{7,8}"}, values); diff != "" {
		t.Errorf("QueueAppend (-want +got):\n%s", diff)
	}
}

// Arguments from a struct are no slower than those of a map, which pgx rewrites on
// each call.
func BenchmarkStatement_arguments(b *testing.B) {
	conn, err := pgtest.New(b).Pool.Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Release()
	const text = "-- The contact.\nselect name from contacts where context_identifier = @context_identifier::text and contact_id = @contact_id::bigint"
	b.Run("map", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			rows, _ := conn.Query(b.Context(), text, pgx.StrictNamedArgs{"context_identifier": "Cust1", "contact_id": int64(1)})
			if _, err := pgx.CollectRows(rows, pgx.RowTo[*string]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("struct", func(b *testing.B) {
		b.ReportAllocs()
		stmt := pg.NewColumn[keyArgs, *string](text)
		for b.Loop() {
			if _, err := stmt.All(b.Context(), conn, keyArgs{"Cust1", 1}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A batch whose connection broke before its first answer is an error.
func TestStream_brokenConnection(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	config := db.Pool.Config().ConnConfig
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // asks the server nothing before the batch
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := db.Pool.Exec(t.Context(), "select pg_terminate_backend($1, 10000)", conn.PgConn().PID()); err != nil {
		t.Fatal(err)
	}
	var batch pgx.Batch
	stream := pg.NewStream[pg.NoArgs]("-- A number.\nselect 1", func(n *int) []any { return []any{n} })
	stream.Queue(&batch, pg.NoArgs{}, func(*int) error { return nil })
	if err := conn.SendBatch(t.Context(), &batch).Close(); err == nil {
		t.Error("no error")
	}
}
