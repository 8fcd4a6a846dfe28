package rebuild_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/rebuild"
	"contactmirror/internal/refold"
	"contactmirror/internal/simulator"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var received = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// rig is a database with the events of random lives, and a pool wide enough.
type rig struct {
	*pgtest.DB
	t     testing.TB
	pool  *pgxpool.Pool
	lives *simulator.Lives
}

func newRig(t testing.TB, db *pgtest.DB, contacts int) *rig {
	t.Helper()
	r := &rig{DB: db, t: t, lives: simulator.NewLives(21, []string{"Cust1", "Cust2"}, contacts, received.AddDate(0, -1, 0))}
	var err error
	if r.pool, err = pg.Open(r.URL, rebuild.Conns+4); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.pool.Close)
	return r
}

func (r *rig) queue(n int) {
	r.t.Helper()
	err := pgx.BeginFunc(context.Background(), r.pool, func(tx pgx.Tx) error {
		for range n {
			body := r.lives.Next()
			e, err := event.Parse(body, received)
			if err != nil {
				return err
			}
			if _, err := inbox.PutIn(context.Background(), tx, inbox.Delivery{Body: body, ReceivedAt: received, Event: &e}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// work runs a worker until stop is called.
func (r *rig) work() (stop func()) {
	worker := mirror.New(r.pool, slog.New(slog.DiscardHandler), 2)
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- worker.Run(ctx) }()
	worker.Wake()
	return func() {
		cancel()
		if err := <-stopped; err != nil {
			r.t.Error(err)
		}
	}
}

func (r *rig) apply(n int) {
	r.t.Helper()
	r.queue(n)
	stop := r.work()
	defer stop()
	r.drain()
}

func (r *rig) drain() {
	r.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); r.texts("select count(*)::text from sync_queue")[0] != "0"; {
		if time.Now().After(deadline) {
			r.t.Fatal("events are still queued")
		}
	}
}

func (r *rig) texts(query string) []string {
	r.t.Helper()
	rows, _ := r.pool.Query(context.Background(), query)
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
	return found
}

func (r *rig) exec(statement string) {
	r.t.Helper()
	if _, err := r.pool.Exec(context.Background(), statement); err != nil {
		r.t.Fatalf("%s: %v", statement, err)
	}
}

func (r *rig) run(options rebuild.Options) *rebuild.Result {
	options.Actor, options.Action = "tester", operator.Rebuild
	r.t.Helper()
	options.Wait = time.Minute
	result, err := rebuild.Run(context.Background(), r.pool, options)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

// mirrored is the mirror, first_seen_at included.
func (r *rig) mirrored() []string {
	return slices.Concat(
		r.texts("select (to_jsonb(c) - 'mirrored_at')::text from contacts c order by context_identifier, contact_id"),
		r.texts("select to_jsonb(t)::text from contact_tombstones t order by context_identifier, contact_id"),
	)
}

// Whatever was done to the mirror, it is as before, and rows that were right have
// not been written.
func TestRebuild(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.New(t), 60)
	r.apply(500)
	want := r.mirrored()
	written := func() []string {
		return r.texts("select concat_ws(' ', context_identifier, contact_id, xmin) from contacts order by context_identifier, contact_id")
	}
	before := written()
	if result := r.run(rebuild.Options{}); result.Different != 0 || result.Facts != 500 || result.Rows+result.Tombstones != 0 || !cmp.Equal(before, written()) {
		t.Errorf("of a mirror that is right: %+v", result)
	}
	for _, c := range []struct{ damage, want string }{
		{"update contacts set name = 'forged' where contact_id % 7 = 1", ""},
		{"delete from contacts where contact_id % 5 = 1", ""},
		{"truncate contacts", ""},
		{"truncate contact_tombstones", ""},
		{"insert into contacts select (jsonb_populate_record(c, '{\"contact_id\": 999999}')).* from contacts c limit 1", "0 1 0 0"},
		{"insert into contact_tombstones select context_identifier, contact_id, last_event_at, 1, last_event_ticks, last_event_id from contacts limit 1", "0 0 0 1"},
		{"update contact_tombstones set event_seq = 0, deleted_at = 'infinity' where contact_id = (select min(contact_id) from contact_tombstones)", "0 0 1 0"},
	} {
		r.exec(c.damage)
		damaged := r.mirrored()
		dry := r.run(rebuild.Options{DryRun: true})
		if dry.Different == 0 || dry.Rows+dry.RowsRemoved+dry.Tombstones+dry.TombstonesRemoved != 0 || !cmp.Equal(damaged, r.mirrored()) {
			t.Errorf("%s: dry run: %+v", c.damage, dry)
		}
		result := r.run(rebuild.Options{})
		if got := fmt.Sprint(result.Rows, result.RowsRemoved, result.Tombstones, result.TombstonesRemoved); c.want != "" && got != c.want || result.Different != dry.Different {
			t.Errorf("%s: wrote %s, want %s; %+v", c.damage, got, c.want, result)
		}
		if diff := cmp.Diff(want, r.mirrored()); diff != "" {
			t.Errorf("%s (-before +rebuilt):\n%s", c.damage, diff)
		}
	}
	if left := r.texts("select relname::text from pg_class where relname = 'rebuild_shadow'"); len(left) > 0 {
		t.Error("the shadow was left behind")
	}
}

// Only what is asked for is replayed.
func TestReplayScope(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.New(t), 40)
	r.apply(200)
	r.exec("select pg_sleep(0.01)")
	split := r.texts("select now()::text")[0]
	r.apply(100)
	at, err := time.Parse("2006-01-02 15:04:05.999999-07", split)
	if err != nil {
		t.Fatal(err)
	}
	r.exec("update contacts set name = 'forged'")
	r.exec("insert into contacts select (jsonb_populate_record(c, '{\"contact_id\": 999999}')).* from contacts c limit 1")
	damaged := r.mirrored()
	wants := func(what string, options rebuild.Options, query string) {
		t.Helper()
		options.DryRun, options.Logged = true, true
		var got []string
		options.Found = func(d refold.Difference) error {
			if d.Columns[0].Name != "name" || d.Columns[0].Stored != "forged" {
				t.Errorf("%s: %v", what, d)
			}
			got = append(got, fmt.Sprintf("%s %06d", d.Tenant, d.ContactID))
			return nil
		}
		r.run(options)
		slices.Sort(got)
		if diff := cmp.Diff(r.texts(query), got); diff != "" || len(got) == 0 {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	const live = "select concat_ws(' ', context_identifier, lpad(contact_id::text, 6, '0')) from contacts c where contact_id <> 999999 and "
	const order = ` order by context_identifier collate "C", contact_id`
	logged := " exists (select from contact_audit_log a where a.context_identifier = c.context_identifier and a.contact_id = c.contact_id and a.recorded_at "
	wants("all", rebuild.Options{}, live+"true"+order)
	wants("tenant", rebuild.Options{Scope: refold.Scope{Tenant: new("Cust2")}}, live+"context_identifier = 'Cust2'"+order)
	wants("since", rebuild.Options{Scope: refold.Scope{Since: &at}}, live+logged+" >= '"+split+"')"+order)
	wants("until", rebuild.Options{Scope: refold.Scope{Until: &at, Tenant: new("Cust1")}}, live+"context_identifier = 'Cust1' and "+logged+" < '"+split+"')"+order)
	var id int64
	if _, err := fmt.Sscan(r.texts("select contact_id::text from contacts where context_identifier = 'Cust1' order by contact_id limit 1")[0], &id); err != nil {
		t.Fatal(err)
	}
	one := refold.Scope{Tenant: new("Cust1"), ContactID: &id}
	wants("contact", rebuild.Options{Scope: one}, live+fmt.Sprintf("context_identifier = 'Cust1' and contact_id = %d", id)+order)
	if !cmp.Equal(damaged, r.mirrored()) {
		t.Error("a dry run has written")
	}
	one.Logged = true
	if result := r.run(rebuild.Options{Scope: one}); result.Rows != 1 {
		t.Errorf("replayed one: %+v", result)
	}
	if got := r.texts("select count(*)::text from contacts where name is distinct from 'forged' and contact_id <> 999999"); got[0] != "1" {
		t.Errorf("%s contacts are right again, want 1", got[0])
	}
	all := refold.Scope{Logged: true}
	r.run(rebuild.Options{Scope: all})
	if got := r.texts("select concat_ws(' ', count(*) filter (where name = 'forged'), max(contact_id)) from contacts"); got[0] != "1 999999" {
		t.Errorf("replaying all left %s, want only the row that the log knows nothing of", got[0])
	}
}

// The mirror comes out right while events are being applied to it, rebuild after
// rebuild.
func TestRebuildUnderTraffic(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.New(t), 80)
	r.apply(300)
	stop := r.work()
	defer stop()
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for range 30 {
			r.queue(20)
		}
	}()
	for feeding := true; feeding; {
		select {
		case <-fed:
			feeding = false
		default:
		}
		r.exec("update contacts set name = 'forged', number1 = null")
		r.run(rebuild.Options{})
	}
	r.drain()
	r.exec("update contacts set department = 'forged' where contact_id % 3 = 0")
	r.run(rebuild.Options{})
	if result := r.run(rebuild.Options{DryRun: true}); result.Different != 0 || result.Facts != 900 {
		t.Errorf("still different: %+v", result)
	}
}

func TestLockedShards(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.New(t), 10)
	r.apply(20)
	holder, err := r.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(context.Background()) }()
	if _, err := holder.Exec(t.Context(), "select from sync_shards where shard = 31 for update"); err != nil {
		t.Fatal(err)
	}
	r.exec("update contacts set name = 'forged'")
	before := r.mirrored()
	var locked *rebuild.LockedError
	if _, err := rebuild.Run(t.Context(), r.pool, rebuild.Options{Wait: 50 * time.Millisecond}); !errors.As(err, &locked) {
		t.Errorf("with a shard held: %v", err)
	}
	if !cmp.Equal(before, r.mirrored()) {
		t.Error("something was written")
	}
	if result := r.run(rebuild.Options{DryRun: true}); result.Facts != 20 {
		t.Errorf("a dry run waits for nobody: %+v", result)
	}
}

// Facts that can't be read leave their contact alone.
func TestUnreadableFacts(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.New(t), 10)
	r.apply(50)
	err := pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "set local session_replication_role = replica")
		if err == nil {
			_, err = tx.Exec(t.Context(), "update contact_audit_log set field_values = '{\"name\": 5}' where audit_seq = 1")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	before := r.mirrored()
	if result := r.run(rebuild.Options{}); result.Unreadable != 1 || result.Different != 0 || !cmp.Equal(before, r.mirrored()) {
		t.Errorf("%+v", result)
	}
}

// BenchmarkRebuild makes a mirror anew that has lost every row, and one that is
// right. Most of the log is copies of what a worker has written, under other
// tenants.
func BenchmarkRebuild(b *testing.B) {
	r := newRig(b, pgtest.Durable(b), 400)
	r.apply(2000)
	r.exec(`
		insert into contact_audit_log (
			shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks, received_at, recorded_at, changed_columns, field_values,
			id_values, unreadable_columns, soft_deleted, hard_deleted, outcome, effect, given_columns, changed_by_associate_id, webhook_name, origin, last_known, chain_seq, chain
		)
		select shard, concat(context_identifier, ' ', n), contact_id, event, event_id, occurred_at, occurred_ticks, received_at, recorded_at, changed_columns, field_values,
			id_values, unreadable_columns, soft_deleted, hard_deleted, outcome, effect, given_columns, changed_by_associate_id, webhook_name, 'fetch', last_known, chain_seq, chain
		from contact_audit_log, generate_series(1, 99) n
		order by n, audit_seq`)
	r.exec("vacuum analyze contact_audit_log")
	for _, c := range []struct{ name, damage string }{{"empty", "truncate contacts, contact_tombstones"}, {"right", "select 1"}} {
		b.Run(c.name, func(b *testing.B) {
			var facts int64
			var took, folding, locked time.Duration
			for b.Loop() {
				r.exec(c.damage)
				began := time.Now()
				result := r.run(rebuild.Options{})
				took, facts = took+time.Since(began), facts+result.Facts
				folding, locked = folding+result.Folding, locked+result.Locked
			}
			b.ReportMetric(float64(facts)/took.Seconds(), "events/s")
			b.ReportMetric(float64(facts)/folding.Seconds(), "folded/s")
			b.ReportMetric(locked.Seconds()/float64(b.N), "locked-s/op")
		})
	}
}
