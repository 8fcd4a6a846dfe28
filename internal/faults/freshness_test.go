//go:build linux

package faults

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/event"
)

// freshnessFaults are those in which complete_through could say too much. It is
// sampled all the time: it never goes back, and never passes a delivery that was
// answered 200 and is not applied.
var freshnessFaults = []fault{
	{name: "freshness: mirror restarted in an outage, with deliveries in the spool", run: freshInAnOutage},
	{name: "freshness: mirror stopped before an outage, and started in it", run: freshAfterAStop},
	{name: "freshness: two receivers, killed and stopped in turn", run: freshWithTwo},
}

// sampler watches complete_through.
type sampler struct {
	lab  *lab
	load *traffic
	db   *server
	// through is what was seen last, by tenant.
	through map[string]time.Time
	// checked is how many of the traffic's kept deliveries have been found applied, or
	// are in open.
	checked int
	open    []kept
	samples int

	cancel context.CancelFunc
	ended  chan struct{}
}

func (l *lab) sample(load *traffic, db *server) *sampler {
	ctx, cancel := context.WithCancel(context.Background())
	s := &sampler{lab: l, load: load, db: db, through: map[string]time.Time{}, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_ = s.look() // the database may be away
			}
		}
	}()
	l.Cleanup(s.stop)
	return s
}

func (s *sampler) stop() {
	s.cancel()
	<-s.ended
}

// look takes one sample, in one snapshot.
func (s *sampler) look() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.db.adminURL())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, "select context_identifier, complete_through from mirror_freshness where complete_through is not null")
		tenants, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct {
			Name    string
			Through time.Time
		}])
		if err != nil {
			return err
		}
		seen := map[string]time.Time{}
		for _, tenant := range tenants {
			seen[tenant.Name] = tenant.Through
		}
		passed := s.passed(seen)
		ids := make([]string, len(passed))
		for i, k := range passed {
			ids[i] = k.event.ID.String()
		}
		rows, _ = tx.Query(ctx, "select event_id::text || event from contact_audit_log where event_id = any ($1::uuid[])", ids)
		applied, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		s.judge(seen, passed, applied)
		return nil
	})
}

// passed are the deliveries that complete_through says are applied.
func (s *sampler) passed(seen map[string]time.Time) (passed []kept) {
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	for _, k := range append(s.open, s.load.kept[s.checked:]...) {
		if through, ok := seen[k.event.Tenant]; ok && k.answered.Before(through) {
			passed = append(passed, k)
		}
	}
	return passed
}

func (s *sampler) judge(seen map[string]time.Time, passed []kept, applied []string) {
	s.samples++
	there := map[string]bool{}
	for _, key := range applied {
		there[key] = true
	}
	through := map[string]bool{}
	for _, k := range passed {
		key := k.event.ID.String() + k.event.Name
		if through[key] = true; !there[key] {
			s.lab.Errorf("complete_through of %s is %v, and a delivery answered at %v is not applied", k.event.Tenant, seen[k.event.Tenant], k.answered)
		}
	}
	for tenant, at := range seen {
		if before, ok := s.through[tenant]; ok && at.Before(before) {
			s.lab.Errorf("complete_through of %s went back from %v to %v", tenant, before, at)
		}
		s.through[tenant] = at
	}
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	all := append(s.open, s.load.kept[s.checked:]...)
	s.checked, s.open = len(s.load.kept), nil
	for _, k := range all {
		if !through[k.event.ID.String()+k.event.Name] {
			s.open = append(s.open, k)
		}
	}
}

// settle settles the fault and waits until complete_through has passed everything.
func (s *sampler) settle(services ...*service) {
	s.lab.Helper()
	r := s.lab.settle(s.load, s.db, services...)
	last := time.Now()
	s.lab.await("complete_through passes the last delivery", patience, func() bool {
		return ask[bool](s.db, "select bool_and(complete_through > $1) from mirror_freshness", last)
	})
	s.stop()
	if err := s.look(); err != nil {
		s.lab.Fatal(err)
	}
	if len(s.open) > 0 || s.samples < 10 {
		s.lab.Errorf("%d samples; %d deliveries were not looked for, want none", s.samples, len(s.open))
	}
	r.remark = fmt.Sprintf("%d samples", s.samples)
}

// kept is a contact event that was answered 200, and when.
type kept struct {
	event    event.Event
	answered time.Time
}

// keep notes a delivery that was answered 200; the lock is held.
func (t *traffic) keep(body []byte) {
	if e, err := event.Parse(body, time.Now()); err == nil && !e.Ignored() {
		t.kept = append(t.kept, kept{e, time.Now()})
	}
}

func freshInAnOutage(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	fresh := l.sample(load, db)
	for i := range pick(2, 10) {
		load.answered(200, "accepted")
		db.end(syscall.SIGINT)
		load.answered(50, "spooled")
		if i%2 == 0 {
			mirror.terminate()
		} else {
			mirror.end(syscall.SIGKILL)
		}
		mirror.start()
		load.answered(100, "spooled")
		db.start()
	}
	load.answered(200, "accepted")
	fresh.settle(mirror)
}

// freshAfterAStop leaves no row of the mirror when it stops: the next start has none
// until it reaches the database, which is there for everybody else.
func freshAfterAStop(l *lab) {
	db := l.postgres("postgres", nil)
	wire := l.network(db.port)
	mirror := l.serve("mirror", mirrorURL("", wire.port))
	load := l.traffic(mirror.webhook())
	fresh := l.sample(load, db)
	for range pick(2, 10) {
		load.answered(200, "accepted")
		load.stop()
		mirror.terminate()
		wire.cut()
		mirror.start()
		load.resume()
		load.answered(100, "spooled")
		<-time.After(3 * time.Second) // a sample that says too much has its chance
		wire.connect()
		load.answered(100, "accepted")
	}
	fresh.settle(mirror)
}

func freshWithTwo(l *lab) {
	db := l.postgres("postgres", nil)
	both := []*service{l.serve("first", db.url("")), l.serve("second", db.url(""))}
	load := l.traffic(both[0].webhook(), both[1].webhook())
	fresh := l.sample(load, db)
	for i := range pick(4, 20) {
		load.answered(200, "accepted")
		s := both[i%2]
		if i%4 < 2 {
			s.end(syscall.SIGKILL)
		} else {
			s.terminate()
		}
		load.flow(100)
		s.start()
	}
	load.answered(200, "accepted")
	fresh.settle(both...)
}
