package freshness_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/event"
	"contactmirror/internal/freshness"
	"contactmirror/internal/inbox"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/process"
	"contactmirror/internal/report"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// tenants are those of the lives, and one of which nothing ever comes, which shows what
// holds for tenants that nothing names.
var tenants = []string{"A", "B", "C", "nobody"}

// delivery is one that a receiver answered 200.
type delivery struct {
	n       int
	tenant  string   // empty where it can't be read
	vouched []string // then: who may have signed it; nil for anybody
	except  []string
	at      time.Time // by the receiver's clock
	// exempt: complete_through may have passed it. Its receiver could not hold it.
	exempt bool
}

func (d *delivery) mayBeOf(tenant string) bool {
	if d.tenant != "" || d.vouched == nil {
		return d.tenant == "" || d.tenant == tenant
	}
	return slices.Contains(d.vouched, tenant) || slices.Contains(d.vouched, "*") && !slices.Contains(d.except, tenant)
}

// receiver is a data directory and the process that has it, if any.
type receiver struct {
	id      process.ID
	skew    time.Duration
	running bool
	cut     bool // from the database
	spool   []*delivery
	row     *row // nil where the database has none
}

// row is what the last heartbeat said.
type row struct{ observed, oldest time.Time }

// world is what really happens, and what complete_through should be by the rules,
// computed by other means than the database's.
type world struct {
	t         *testing.T
	db        *pgtest.DB
	random    *rand.Rand
	now       time.Time
	receivers []*receiver
	sent      int
	waiting   []*delivery // in the queue or in quarantine
	last      time.Time   // the last heartbeat of any receiver, as long as it counts
	through   map[string]time.Time
	late      int
}

func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Pool.Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
}

func (w *world) clock(r *receiver) time.Time { return w.now.Add(r.skew) }

func oldest(spool []*delivery) (at time.Time) {
	for _, d := range spool {
		if at.IsZero() || d.at.Before(at) {
			at = d.at
		}
	}
	return at
}

func (w *world) heartbeat(r *receiver) *process.Heartbeat {
	s := process.State{At: w.clock(r), SpoolRecords: int64(len(r.spool)), SpoolBytes: int64(len(r.spool)), SpoolOldestAt: oldest(r.spool)}
	info := process.Info{ID: r.id, Host: "host", PID: 1, Roles: []process.Role{process.Receive}, StartedAt: s.At}
	return process.New(w.db.Pool, info, func() process.State { return s }, slog.New(slog.DiscardHandler))
}

// store puts d into the database.
func (w *world) store(d *delivery) {
	w.t.Helper()
	if d.tenant == "" {
		w.exec(`insert into quarantined_deliveries (received_at, reason, vouched_for, vouched_except, body, body_sha256) values ($1, 'no JSON', $2, $3, '', sha256($4::text::bytea))`,
			d.at, d.vouched, d.except, fmt.Sprint(d.n))
	} else {
		body := fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.changed","PrimaryKey":%d,"ContextIdentifier":%q}`, d.n, d.n, d.tenant)
		e, err := event.Parse(body, d.at)
		if err != nil {
			w.t.Fatal(err)
		}
		err = pgx.BeginFunc(w.t.Context(), w.db.Pool, func(tx pgx.Tx) error {
			_, err := inbox.PutIn(w.t.Context(), tx, inbox.Delivery{Body: body, ReceivedAt: d.at, Event: &e})
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
		if d.at.Before(w.through[d.tenant]) {
			w.late++
		}
	}
	w.waiting = append(w.waiting, d)
}

// apply does what a worker does with d, or an operator with an entry in quarantine.
func (w *world) apply(d *delivery) {
	w.t.Helper()
	if d.tenant == "" {
		w.exec(`update quarantined_deliveries set resolved_at = now(), resolution = 'discarded' where body_sha256 = sha256($1::text::bytea)`, fmt.Sprint(d.n))
	} else {
		w.exec(`with claimed as (
				delete from sync_queue q using webhook_events e
				where e.event_seq = q.event_seq and e.primary_key = $1
				returning q.shard, e.*
			)
			insert into contact_audit_log (event_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks,
				received_at, recorded_at, changed_columns, unreadable_columns, hard_deleted, outcome, effect, given_columns, origin, chain_seq, chain)
			select event_seq, shard, context_identifier, primary_key, event, event_id, occurred_at, occurred_ticks,
				received_at, now(), '{}', '{}', false, 'applied', 'upserted', 0, 'webhook', 1, decode(repeat('00', 36), 'hex')
			from claimed`, d.n)
	}
	w.waiting = slices.DeleteFunc(w.waiting, func(other *delivery) bool { return other == d })
}

func (w *world) deliver(r *receiver) {
	w.sent++
	d := &delivery{n: w.sent, tenant: tenants[w.random.IntN(3)], at: w.clock(r)}
	if w.random.IntN(5) == 0 {
		kinds := []struct{ vouched, except []string }{{nil, nil}, {[]string{"A"}, nil}, {[]string{"*"}, []string{"A"}}, {[]string{"*", "A"}, []string{"A", "B"}}, {[]string{"B", "C"}, nil}}
		kind := kinds[w.random.IntN(len(kinds))]
		d.tenant, d.vouched, d.except = "", kind.vouched, kind.except
	}
	for _, tenant := range tenants {
		if d.mayBeOf(tenant) && d.at.Before(w.through[tenant]) { // its clock is behind
			d.exempt = true
		}
	}
	if r.cut {
		r.spool = append(r.spool, d)
	} else {
		w.store(d)
	}
}

// step does one thing to one receiver, or to what waits.
func (w *world) step() string {
	w.t.Helper()
	w.now = w.now.Add(time.Duration(w.random.IntN(3000)) * time.Millisecond)
	i := w.random.IntN(len(w.receivers))
	r := w.receivers[i]
	name := func(format string) string { return fmt.Sprintf(format, i) }
	switch choice := w.random.IntN(23); {
	case choice < 3 && !r.running:
		r.running = true
		return name("start %d")
	case choice < 8 && r.running:
		w.deliver(r)
		return name("deliver to %d")
	case choice < 11 && r.running && !r.cut:
		if err := w.heartbeat(r).Write(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		r.row = &row{w.clock(r), oldest(r.spool)}
		return name("heartbeat of %d")
	case choice < 13:
		r.cut = !r.cut
		return name("cut or connect %d")
	case choice < 15 && r.running && !r.cut && len(r.spool) > 0:
		j := w.random.IntN(len(r.spool))
		w.store(r.spool[j])
		r.spool = slices.Delete(r.spool, j, j+1)
		return name("drain %d")
	case choice == 15 && r.running:
		r.running = false
		return name("crash %d")
	case choice == 16 && r.running:
		r.running = false
		if r.cut {
			return name("stop %d, cut")
		}
		if err := w.heartbeat(r).Leave(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		if len(r.spool) > 0 {
			r.row = &row{w.clock(r), oldest(r.spool)}
		} else if r.row != nil {
			r.row = nil
			w.last = latest(w.last, w.clock(r))
		}
		return name("stop %d")
	case choice == 17 && !r.running && r.row != nil:
		w.exec(`update processes set heartbeat_at = now() - interval '1 hour' where process = $1`, string(r.id))
		if _, err := process.Forget(w.t.Context(), w.db.Pool, "tester", r.id, report.Silence); err != nil {
			w.t.Fatal(err)
		}
		r.row = nil
		for _, d := range r.spool {
			d.exempt = true // the operator has given it up
		}
		return name("forget %d")
	case choice == 18 && w.random.IntN(5) == 0:
		// What a dump brings into another database.
		w.exec(`update processes set database_identity = 'another'`)
		w.exec(`update freshness set database_identity = 'another'`)
		for _, r := range w.receivers {
			r.row = nil
			for _, d := range r.spool {
				d.exempt = true
			}
		}
		w.last = w.through["nobody"]
		return "restore"
	case choice > 18 && len(w.waiting) > 0:
		w.apply(w.waiting[w.random.IntN(len(w.waiting))])
		return "apply"
	}
	return ""
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if b.IsZero() || !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}

// expect is complete_through by the rules.
func (w *world) expect() map[string]time.Time {
	var received, spooled time.Time
	for _, r := range w.receivers {
		if r.row != nil {
			received = earliest(received, r.row.observed.Add(-2*time.Second))
			spooled = earliest(spooled, r.row.oldest)
			w.last = latest(w.last, r.row.observed.Add(-2*time.Second))
		}
	}
	if received.IsZero() {
		received = w.last
	}
	expected := maps.Clone(w.through)
	if received.IsZero() {
		return expected
	}
	for _, tenant := range tenants {
		at := earliest(received, spooled)
		for _, d := range w.waiting {
			if d.mayBeOf(tenant) {
				at = earliest(at, d.at)
			}
		}
		expected[tenant] = latest(w.through[tenant], at)
	}
	return expected
}

// read is complete_through as the database says.
func (w *world) read() map[string]time.Time {
	w.t.Helper()
	rows, _ := w.db.Pool.Query(w.t.Context(), `select n.name, coalesce(v.complete_through, t.complete_through, f.complete_through, '0001-01-01Z')
		from unnest($1::text[]) n (name)
		left join mirror_freshness v on v.context_identifier = n.name
		left join tenant_freshness t on t.context_identifier = n.name
		left join freshness f on true`, tenants)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct {
		Tenant  string
		Through time.Time
	}])
	if err != nil {
		w.t.Fatal(err)
	}
	got := map[string]time.Time{}
	for _, f := range found {
		got[f.Tenant] = f.Through.UTC()
	}
	return got
}

// pass brings complete_through up to date and compares it with the rules: it never goes
// back, passes nothing that a receiver, the queue or quarantine holds, and holds back no
// more than they do.
func (w *world) pass() {
	w.t.Helper()
	if err := freshness.Advance(w.t.Context(), w.db.Pool); err != nil {
		w.t.Fatal(err)
	}
	alive := slices.ContainsFunc(w.receivers, func(r *receiver) bool { return r.row != nil })
	for _, r := range w.receivers {
		if alive && r.row == nil {
			for _, d := range r.spool {
				d.exempt = true
			}
		}
	}
	expected, got := w.expect(), w.read()
	if diff := cmp.Diff(expected, got); diff != "" {
		w.t.Errorf("complete_through (-want +got):\n%s", diff)
	}
	known := slices.Clone(w.waiting)
	for _, r := range w.receivers {
		known = append(known, r.spool...)
	}
	for _, tenant := range tenants {
		if got[tenant].Before(w.through[tenant]) {
			w.t.Errorf("complete_through of %s went back from %v to %v", tenant, w.through[tenant], got[tenant])
		}
		for _, d := range known {
			if d.mayBeOf(tenant) && !d.exempt && d.at.Before(got[tenant]) {
				w.t.Errorf("complete_through of %s is %v, and delivery %d, received at %v, is not applied", tenant, got[tenant], d.n, d.at)
			}
		}
	}
	w.through = got
}

// Whatever becomes of receivers, complete_through keeps its two promises and is what
// the rules say: starts, crashes, restarts in an outage with deliveries in the spool,
// stops in order, forgotten processes, restores, several receivers, clocks that differ.
func TestAdvance_overRandomLives(t *testing.T) {
	t.Parallel()
	lives := 6
	if testing.Short() {
		lives = 1
	}
	for seed := range lives {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := &world{
				t: t, db: pgtest.New(t), random: rand.New(rand.NewPCG(uint64(seed), 15)),
				now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), through: map[string]time.Time{},
			}
			for _, tenant := range tenants {
				w.through[tenant] = time.Time{}
			}
			for _, skew := range []time.Duration{0, 0, 4 * time.Second, -7 * time.Second}[seed%3:] {
				w.receivers = append(w.receivers, &receiver{id: process.NewID(), skew: skew})
			}
			for n := range 250 {
				did := w.step()
				if did == "" {
					continue
				}
				if w.pass(); t.Failed() {
					t.Fatalf("after step %d: %s", n, did)
				}
			}
			var late int
			if err := w.db.Pool.QueryRow(context.Background(), `select coalesce(sum(late_deliveries), 0) from mirror_freshness`).Scan(&late); err != nil {
				t.Fatal(err)
			}
			if late != w.late {
				t.Errorf("%d late deliveries, want %d", late, w.late)
			}
			if w.through["nobody"].IsZero() || w.sent < 20 {
				t.Errorf("nothing was tested: %d deliveries, complete through %v", w.sent, w.through)
			}
		})
	}
}
