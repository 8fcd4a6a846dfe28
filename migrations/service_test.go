package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/audit"
	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/process"
	"contactmirror/internal/quarantine"
	"contactmirror/internal/rebuild"
	"contactmirror/internal/report"
	"contactmirror/internal/settle"
	"contactmirror/internal/signature"
	"contactmirror/internal/verify"
	"contactmirror/migrations"
)

// service is a database with a pool that has the service's rights only.
type service struct {
	*pgtest.DB
	t     *testing.T
	pool  *pgxpool.Pool
	inbox *inbox.Inbox
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{DB: pgtest.New(t), t: t}
	role := roleName(t, s.DB, "service")
	grant(t, s.URL, migrations.Roles{Actor: "tester", Service: role, Create: true})
	var err error
	if s.pool, err = pg.Open(withParameter(t, s.URL, "role", role), 8); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.pool.Close)
	if got := texts(t, s.pool, "select current_user::text"); got[0] != role {
		t.Fatalf("works as %s, want %s", got[0], role)
	}
	worker := mirror.New(s.pool, slog.New(slog.DiscardHandler), 2)
	s.inbox = inbox.New(s.pool, worker.Wake)
	settler := settle.New(s.pool, slog.New(slog.DiscardHandler))
	worker.Observe = func(mirror.Batch) { settler.Wake() }
	s.run(worker.Run)
	s.run(s.inbox.Run)
	s.run(settler.Run)
	t.Cleanup(func() {
		if health := worker.Health(); health.Err != nil {
			t.Error(health.Err)
		}
	})
	return s
}

// run runs f until the test ends.
func (s *service) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	})
}

// put puts an event of contact 7; what stands in rest goes into its body.
func (s *service) put(name string, day int, rest string, want inbox.Result) {
	s.t.Helper()
	body := fmt.Sprintf(`{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-%02dT00:00:00Z","Event":%q,"PrimaryKey":7,"ContextIdentifier":"Cust1"%s}`,
		day, day, name, rest)
	d := inbox.Delivery{Body: []byte(body), ReceivedAt: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	if e, err := event.Parse(d.Body, d.ReceivedAt); err != nil {
		d.Reason = err.Error()
	} else {
		d.Event = &e
	}
	result, err := s.inbox.Put(s.t.Context(), d)
	if err != nil || result != want {
		s.t.Fatalf("%s of day %d: %q, %v; want %q", name, day, result, err, want)
	}
}

// until waits for a query to answer want; the worker sees to that within a poll.
func (s *service) until(query, want string) {
	s.t.Helper()
	var got string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if err := s.pool.QueryRow(s.t.Context(), query).Scan(&got); err != nil && !errors.Is(err, pgx.ErrNoRows) {
			s.t.Fatal(err)
		}
		if got == want {
			return
		}
	}
	s.t.Fatalf("%s is %q, want %q", query, got, want)
}

const outcomes = `select concat_ws(' ', queued, quarantined, applied, no_op, superseded, after_delete, balanced) from event_accounting`

// The service role receives, applies and repairs.
func TestServiceMay(t *testing.T) {
	t.Parallel()
	s := newService(t)
	if err := migrations.Check(t.Context(), s.pool); err != nil {
		t.Fatal(err)
	}
	if err := s.inbox.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.put("contact.created", 1, `,"FieldValues":{"name":"one"}`, inbox.Accepted)
	s.put("contact.created", 1, `,"FieldValues":{"name":"other bytes"}`, inbox.Duplicate)
	s.until(outcomes, "0 0 1 0 0 0 t")
	s.put("contact.changed", 20, `,"FieldValues":{"name":"two"}`, inbox.Accepted)
	s.until(outcomes, "0 0 2 0 0 0 t")
	s.put("contact.changed", 10, `,"FieldValues":{"name":"late"}`, inbox.Accepted)
	s.until(outcomes, "0 0 2 0 1 0 t")
	s.put("contact.deleted", 26, "", inbox.Accepted)
	s.until(outcomes, "0 0 3 0 1 0 t")
	s.put("contact.deleted", 25, "", inbox.Accepted) // an earlier one moves the tombstone
	s.until(`select concat_ws(' ', deleted_at at time zone 'UTC', (select count(*) from contacts)) from contact_tombstones`, "2026-01-25 00:00:00 0")
	s.put("contact.changed", 28, "", inbox.Accepted)
	s.until(outcomes, "0 0 4 0 1 1 t")
	s.put("test", 1, "", inbox.Ignored)

	current, entries, err := audit.History(t.Context(), s.pool, contact.Key{Tenant: "Cust1", ID: 7})
	if err != nil || current.HardDeletedAt == nil || len(entries) != 6 {
		t.Errorf("history: %+v, %d entries, %v", current, len(entries), err)
	}
	if tenants, err := audit.Tenants(t.Context(), s.pool, 7); err != nil || len(tenants) != 1 {
		t.Errorf("tenants: %v, %v", tenants, err)
	}
}

// The service settles and seals the logs through functions that act as the owner,
// and can't make them see other logs than the owner's.
func TestServiceMaySettle(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.put("contact.created", 1, "", inbox.Accepted)
	s.until(`select coalesce(h.audit_seq = (select max(audit_seq) from contact_audit_log), false)::text from log_horizon h`, "true")
	conn, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, statement := range []string{
		`create temporary table webhook_events as select 1000000::bigint as event_seq, 'Cust1' as context_identifier, false as ignored`,
		`create temporary table log_horizon as select 1 as id, 1000000::bigint as event_seq, 1000000::bigint as audit_seq`,
		`create function pg_temp.max(bigint) returns bigint language sql as 'select 1000000'`,
		`select * from advance_log_horizon()`,
		`select * from advance_log_horizon()`,
		`select seal_accounts(1000)`,
		`discard temp`,
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if got := texts(t, s.Pool, `select concat_ws(' ', a.accepted, s.event_seq < 1000, h.noted_event_seq < 1000) from sealed_accounts a, accounting_seal s, log_horizon h`); got[0] != "1 t t" {
		t.Errorf("sealed %q, want 1 t t", got)
	}
}

// verifier has no secret: events need none.
var verifier quarantine.Verifier

func TestServiceMayQuarantine(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.put("contact.changed", 1, `,"EventId":"twice"`, inbox.Quarantined)
	s.put("contact.changed", 1, `,"EventId":"twice"`, inbox.Quarantined)
	if _, err := s.Pool.Exec(t.Context(), `alter table contacts add constraint poison check (name <> 'poison')`); err != nil {
		t.Fatal(err)
	}
	s.put("contact.changed", 2, `,"FieldValues":{"name":"poison"}`, inbox.Accepted)
	s.until(outcomes, "0 1 0 0 0 0 t")
	if entries := s.quarantined(); len(entries) != 2 || entries[0].Deliveries != 2 {
		t.Fatalf("quarantine: %+v", entries)
	}
	var invalid *quarantine.StillInvalidError
	entries := s.quarantined()
	if err := quarantine.Retry(t.Context(), s.pool, "tester", entries[0].QuarantineSeq, verifier); !errors.As(err, &invalid) {
		t.Errorf("retry what can't be understood: %v", err)
	}
	if err := quarantine.Discard(t.Context(), s.pool, "tester", entries[0].QuarantineSeq); err != nil {
		t.Error(err)
	}
	if err := quarantine.Retry(t.Context(), s.pool, "tester", entries[1].QuarantineSeq, verifier); err != nil {
		t.Error(err)
	}
	s.until(`select attempts::text from quarantined_deliveries where event_seq is not null and resolved_at is null`, "2")
	if _, err := s.Pool.Exec(t.Context(), `alter table contacts drop constraint poison`); err != nil {
		t.Fatal(err)
	}
	if err := quarantine.Retry(t.Context(), s.pool, "tester", entries[1].QuarantineSeq, verifier); err != nil {
		t.Error(err)
	}
	s.until(outcomes, "0 0 1 0 0 0 t")
}

func (s *service) quarantined() []quarantine.Entry {
	s.t.Helper()
	entries, err := quarantine.List(s.t.Context(), s.pool, nil, false)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if d, err := quarantine.Show(s.t.Context(), s.pool, e.QuarantineSeq); err != nil || len(d.Body) == 0 {
			s.t.Fatalf("show %d: %v", e.QuarantineSeq, err)
		}
	}
	return entries
}

// The service role proves and repairs, too.
func TestServiceMayVerifyAndRebuild(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.put("contact.created", 1, `,"FieldValues":{"name":"one"}`, inbox.Accepted)
	s.until(outcomes, "0 0 1 0 0 0 t")
	pool, err := pg.Open(s.pool.Config().ConnString(), verify.Conns)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(t.Context(), `update contacts set name = 'two'`); err != nil {
		t.Fatal(err)
	}
	report, err := verify.Run(t.Context(), pool, verify.Options{})
	if err != nil || report.Differences() != 1 {
		t.Errorf("verify: %+v, %v", report, err)
	}
	result, err := rebuild.Run(t.Context(), pool, rebuild.Options{Actor: "tester", Action: operator.Rebuild, Wait: time.Minute})
	if err != nil || result.Rows != 1 {
		t.Errorf("rebuild: %+v, %v", result, err)
	}
	key, err := chain.NewKey([]byte("sixteen bytes or more"))
	if err != nil {
		t.Fatal(err)
	}
	worker := mirror.New(pool, slog.New(slog.DiscardHandler), 1)
	worker.AuditKeys = chain.Keys{key}
	s.run(worker.Run)
	s.until(`select (count(audit_break) = 32)::text from sync_shards`, "true") // the log had a row without a key
}

func TestServiceMayTellHowItIs(t *testing.T) {
	t.Parallel()
	s := newService(t)
	now := time.Now()
	state := process.State{
		At: now, RefusedSince: now, Refused: 1,
		Secrets: []signature.Use{{Tenant: signature.AnyTenant, Ordinal: 1}, {Tenant: "Cust1", Ordinal: 1, LastMatched: now}},
	}
	info := process.Info{ID: process.NewID(), Host: "one", PID: 7, Roles: []process.Role{process.Receive}, Version: "v", StartedAt: now}
	heartbeat := process.New(s.pool, info, func() process.State { return state }, slog.New(slog.DiscardHandler))
	for range 2 {
		if err := heartbeat.Write(t.Context()); err != nil {
			t.Fatal(err)
		}
		state.Secrets = state.Secrets[:1]
	}
	status, err := report.Read(t.Context(), s.pool)
	if err != nil || len(status.Processes) != 1 || len(status.Processes[0].Secrets) != 1 {
		t.Fatalf("status: %+v, %v", status, err)
	}
	if err := heartbeat.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	notifier := inbox.NewNotifier(s.pool)
	heard := make(chan struct{}, 1)
	s.run(func(ctx context.Context) error {
		err := inbox.Listen(ctx, s.pool.Config().ConnConfig, func() {
			select {
			case heard <- struct{}{}:
			default:
			}
		})
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	s.run(notifier.Run)
	for range 100 { // the listener may not be there for the first ones
		notifier.Queued()
		select {
		case <-heard:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Error("no notification was heard")
}
