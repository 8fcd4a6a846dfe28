package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/process"
	"contactmirror/internal/report"
	"contactmirror/internal/signature"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var at = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func info(id process.ID) process.Info {
	return process.Info{ID: id, Host: "one", PID: 7, Roles: []process.Role{process.Receive, process.Sync}, Version: "v1", StartedAt: at}
}

func newHeartbeat(db pg.DB, id process.ID, s *process.State) *process.Heartbeat {
	return process.New(db, info(id), func() process.State { return *s }, slog.New(slog.DiscardHandler))
}

func write(t *testing.T, h *process.Heartbeat) {
	t.Helper()
	if err := h.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func texts(t *testing.T, db *pgxpool.Pool, query string) []string {
	t.Helper()
	rows, _ := db.Query(t.Context(), query)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return values
}

func same(t *testing.T, name string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func minute(n int) time.Time { return at.Add(time.Duration(n) * time.Minute) }

// everything is a state in which nothing is zero.
func everything() process.State {
	return process.State{
		At: minute(9), AcceptedAt: minute(4), Refused: 6, RefusedSince: minute(5), SpoolingSince: minute(2),
		SpoolRecords: 3, SpoolBytes: 700, SpoolOldestAt: minute(1), SpoolMovedAsideFiles: 2, SpoolMovedAsideOldestAt: minute(0),
		Secrets: []signature.Use{
			{Tenant: "*", Ordinal: 1, NotAfter: minute(60)},
			{Tenant: "*", Ordinal: 2, LastMatched: minute(4)},
			{Tenant: "", Ordinal: 1, RefusedSince: minute(5)},
		},
		AppliedAt: minute(7), ApplyError: errors.New("no\x00 \xff"), ApplyFailingSince: minute(3),
		SpoolError: errors.New("spool"), SpoolFailingSince: minute(9),
		HorizonAdvancedAt: minute(6), HorizonError: errors.New("horizon"), HorizonFailingSince: minute(8),
	}
}

const (
	rows = `select (jsonb_strip_nulls(to_jsonb(p)) - 'process' - 'database_identity' - 'heartbeat_at' - 'host' - 'pid' - 'roles' - 'version' - 'started_at')::text
		from processes p order by process`
	secrets = `select concat_ws(' ', context_identifier, ordinal, coalesce(not_after at time zone 'UTC', 'infinity'),
		coalesce(matched_at at time zone 'UTC', '-infinity'), refused_since at time zone 'UTC')
		from process_secrets order by process, context_identifier, ordinal`
)

func TestHeartbeat_writesState(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := process.State{At: at}
	h := newHeartbeat(db.Pool, process.NewID(), &s)
	write(t, h)
	same(t, "zero state", texts(t, db.Pool, rows),
		`{"refused": 0, "observed_at": "2026-11-01T12:00:00+00:00", "spool_bytes": 0, "spool_records": 0, "spool_moved_aside_files": 0}`)
	same(t, "no secrets", texts(t, db.Pool, secrets), []string{}...)
	same(t, "heartbeat", texts(t, db.Pool, `select concat_ws(' ', host, pid, roles, version, started_at at time zone 'UTC', now() - heartbeat_at < '1 minute') from processes`),
		"one 7 {receive,sync} v1 2026-11-01 12:00:00 t")

	s = everything()
	s.SpoolError = nil // else the row keeps what was known of the spool
	write(t, h)
	same(t, "everything", texts(t, db.Pool, rows),
		`{"refused": 6, "applied_at": "2026-11-01T12:07:00+00:00", "accepted_at": "2026-11-01T12:04:00+00:00", `+
			`"apply_error": "no� �", "observed_at": "2026-11-01T12:09:00+00:00", "spool_bytes": 700, `+
			`"horizon_error": "horizon", "refused_since": "2026-11-01T12:05:00+00:00", "spool_records": 3, `+
			`"spooling_since": "2026-11-01T12:02:00+00:00", "spool_oldest_at": "2026-11-01T12:01:00+00:00", `+
			`"apply_failing_since": "2026-11-01T12:03:00+00:00", "horizon_advanced_at": "2026-11-01T12:06:00+00:00", `+
			`"horizon_failing_since": "2026-11-01T12:08:00+00:00", "spool_moved_aside_files": 2, `+
			`"spool_moved_aside_oldest_at": "2026-11-01T12:00:00+00:00"}`)
	same(t, "secrets", texts(t, db.Pool, secrets),
		" 1 infinity -infinity 2026-11-01 12:05:00", "* 1 2026-11-01 13:00:00 -infinity", "* 2 infinity 2026-11-01 12:04:00")

	s.Secrets = []signature.Use{{Tenant: "*", Ordinal: 1, LastMatched: minute(8)}}
	write(t, h)
	same(t, "after a rotation", texts(t, db.Pool, secrets), "* 1 infinity 2026-11-01 12:08:00")
}

// The report has every column of the table, with its value.
func TestProcesses_reportsEveryColumn(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := everything()
	for v, i := reflect.ValueOf(s), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("%s is zero: it would be missed", v.Type().Field(i).Name)
		}
	}
	write(t, newHeartbeat(db.Pool, process.NewID(), &s))
	reported, err := report.Processes(t.Context(), db.Pool)
	if err != nil || len(reported) != 1 {
		t.Fatalf("%+v, %v", reported, err)
	}
	asJSON, err := json.Marshal(reported[0])
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	if err := json.Unmarshal(asJSON, &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "secrets")
	if err := json.Unmarshal([]byte(texts(t, db.Pool, `select to_jsonb(p)::text from processes p`)[0]), &want); err != nil {
		t.Fatal(err)
	}
	for name, value := range want {
		if value == nil {
			t.Errorf("%s is not written", name)
		}
	}
	instants := cmp.Transformer("instant", func(s string) any {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			return t.UnixNano()
		}
		return []byte(s)
	})
	if diff := cmp.Diff(want, got, instants); diff != "" {
		t.Errorf("the report (-table +report):\n%s", diff)
	}
}

func TestHeartbeat_writesEveryRole(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for _, role := range process.Roles() {
		self := info(process.NewID())
		self.Roles = []process.Role{role}
		write(t, process.New(db.Pool, self, func() process.State { return process.State{At: at} }, slog.New(slog.DiscardHandler)))
	}
	same(t, "roles", texts(t, db.Pool, `select array_agg(r order by r)::text from processes, unnest(roles) r`), "{admin,receive,sync}")
}

func TestProcesses_constraints(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := everything()
	write(t, newHeartbeat(db.Pool, process.NewID(), &s))
	for _, tt := range []struct{ update, violates string }{
		{`processes set pid = 0`, "processes_pid"},
		{`processes set roles = '{}'`, "processes_roles"},
		{`processes set roles = '{receive,work}'`, "processes_roles"},
		{`processes set roles = '{receive,null}'`, "processes_roles"},
		{`processes set refused = -1`, "processes_refused"},
		{`processes set refused = 0`, "processes_refused"},
		{`processes set refused_since = null`, "processes_refused"},
		{`processes set spool_records = -1`, "processes_spool_records"},
		{`processes set spool_bytes = -1`, "processes_spool_bytes"},
		{`processes set spool_moved_aside_files = -1`, "processes_spool_moved_aside"},
		{`processes set spool_moved_aside_files = 0`, "processes_spool_moved_aside"},
		{`processes set spool_moved_aside_oldest_at = null`, "processes_spool_moved_aside"},
		{`processes set spool_error = null`, "processes_spool_error"},
		{`processes set spool_failing_since = null`, "processes_spool_error"},
		{`processes set apply_error = null`, "processes_apply_error"},
		{`processes set apply_failing_since = null`, "processes_apply_error"},
		{`processes set horizon_error = null`, "processes_horizon_error"},
		{`processes set horizon_failing_since = null`, "processes_horizon_error"},
		{`process_secrets set ordinal = -ordinal`, "process_secrets_ordinal"},
		{`process_secrets set not_before = not_after + interval '1 s'`, "process_secrets_validity"},
		{`process_secrets set process = gen_random_uuid()`, "process_secrets_process_fkey"},
	} {
		_, err := db.Pool.Exec(t.Context(), "update "+tt.update)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.ConstraintName != tt.violates {
			t.Errorf("update %s: %v, want a violation of %s", tt.update, err, tt.violates)
		}
	}
}

// An idle process costs one small update every few seconds, however many secrets
// it has.
func TestHeartbeat_writesOnlySecretsThatChanged(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := process.State{At: at, Secrets: []signature.Use{{Tenant: "*", Ordinal: 1}, {Tenant: "A", Ordinal: 1, LastMatched: at}}}
	h := newHeartbeat(db.Pool, process.NewID(), &s)
	write(t, h)
	const versions = `select concat_ws(' ', context_identifier, xmin) from process_secrets order by context_identifier`
	before := texts(t, db.Pool, versions)
	write(t, h)
	same(t, "unchanged", texts(t, db.Pool, versions), before...)
	s.Secrets[1].LastMatched = at.Add(time.Second)
	write(t, h)
	after := texts(t, db.Pool, versions)
	if after[0] != before[0] || after[1] == before[1] {
		t.Errorf("rows %v became %v", before, after)
	}
}

func TestHeartbeat_isReadByStatus(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	id := process.NewID()
	s := process.State{At: at, SpoolRecords: 1, SpoolOldestAt: at, Secrets: []signature.Use{
		{Tenant: " first by letters", Ordinal: 1}, {Tenant: signature.AnyTenant, Ordinal: 1, LastMatched: at},
	}}
	write(t, newHeartbeat(db.Pool, process.NewID(), &process.State{At: at}))
	write(t, newHeartbeat(db.Pool, id, &s))
	status, err := report.Read(t.Context(), db.Pool)
	if err != nil || len(status.Processes) != 2 {
		t.Fatalf("%+v, %v", status.Processes, err)
	}
	for _, r := range status.Processes {
		if r.Silent(status.Now) || !r.Silent(status.Now.Add(time.Minute)) {
			t.Errorf("silent: %+v at %v", r, status.Now)
		}
		if r.Process != string(id) {
			continue
		}
		if r.SpoolOldestAt == nil || !r.SpoolOldestAt.Equal(at) || len(r.Secrets) != 2 ||
			r.Secrets[0].ContextIdentifier != "*" || r.Secrets[0].MatchedAt == nil || r.Secrets[1].MatchedAt != nil {
			t.Errorf("%+v", r)
		}
	}
}

func TestHeartbeat_leaveKeepsTheRowOfAFullSpool(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	kept := process.State{At: at, Secrets: []signature.Use{{Tenant: "*", Ordinal: 1}}}
	emptied := kept
	stays, goes := newHeartbeat(db.Pool, process.NewID(), &kept), newHeartbeat(db.Pool, process.NewID(), &emptied)
	write(t, stays)
	write(t, goes)
	kept.SpoolRecords, kept.SpoolBytes = 2, 100
	for _, h := range []*process.Heartbeat{stays, goes} {
		if err := h.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "left", texts(t, db.Pool, `select spool_records::text from processes`), "2")
	same(t, "secrets of those left", texts(t, db.Pool, `select count(*)::text from process_secrets`), "1")

	kept = process.State{At: at, SpoolMovedAsideFiles: 1, SpoolMovedAsideOldestAt: at}
	if err := stays.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "left with files moved aside", texts(t, db.Pool, `select concat_ws(' ', spool_records, spool_moved_aside_files) from processes`), "0 1")
}

// A process that can't open its spool does not know what is there: the row keeps what
// the process before knew, from its last heartbeat on, until the spool is open or the
// process is forgotten.
func TestHeartbeat_unavailableSpool(t *testing.T) {
	t.Parallel()
	const spooled = `select concat_ws(' ', spool_records, spool_bytes, spool_oldest_at at time zone 'UTC', spool_moved_aside_files,
		spool_moved_aside_oldest_at at time zone 'UTC', spool_error, spool_failing_since at time zone 'UTC') from processes`
	unavailable := process.State{At: minute(10), SpoolError: errors.New("no\x00 disk"), SpoolFailingSince: minute(10)}
	dated, old := unavailable, unavailable
	dated.SpoolOldestAt, old.SpoolOldestAt = minute(3), minute(-1)
	known := process.State{At: minute(9), SpoolRecords: 3, SpoolBytes: 700, SpoolOldestAt: minute(1), SpoolMovedAsideFiles: 2, SpoolMovedAsideOldestAt: minute(0)}
	for name, tt := range map[string]struct {
		states []process.State
		want   string
	}{
		"known":           {[]process.State{known, unavailable, unavailable}, "3 700 2026-11-01 12:01:00 2 2026-11-01 12:00:00 no\ufffd disk 2026-11-01 12:10:00"},
		"known, dated":    {[]process.State{known, old}, "3 700 2026-11-01 11:59:00 2 2026-11-01 12:00:00 no\ufffd disk 2026-11-01 12:10:00"},
		"empty":           {[]process.State{{At: minute(9)}, unavailable, unavailable}, "0 0 2026-11-01 12:08:58 0 no\ufffd disk 2026-11-01 12:10:00"},
		"empty, dated":    {[]process.State{{At: minute(9)}, dated}, "0 0 2026-11-01 12:03:00 0 no\ufffd disk 2026-11-01 12:10:00"},
		"unknown":         {[]process.State{unavailable, {At: minute(11), SpoolError: unavailable.SpoolError, SpoolFailingSince: minute(10)}}, "0 0 2026-11-01 12:09:58 0 no\ufffd disk 2026-11-01 12:10:00"},
		"unknown, dated":  {[]process.State{dated, dated}, "0 0 2026-11-01 12:03:00 0 no\ufffd disk 2026-11-01 12:10:00"},
		"available again": {[]process.State{known, unavailable, {At: minute(11)}}, "0 0 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			var s process.State
			h := newHeartbeat(db.Pool, process.NewID(), &s)
			for _, s = range tt.states {
				write(t, h)
			}
			same(t, "row", texts(t, db.Pool, spooled), tt.want)
			if err := h.Leave(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s.SpoolError != nil {
				same(t, "row that is left", texts(t, db.Pool, spooled), tt.want)
			} else {
				same(t, "row that is left", texts(t, db.Pool, spooled), []string{}...)
			}
		})
	}
}

// A database that refuses neither ends Run nor fills the log, and the row is
// written once it accepts.
func TestHeartbeat_runOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	rename := func(from, to string) {
		t.Helper()
		if _, err := db.Pool.Exec(t.Context(), "alter table "+from+" rename to "+to); err != nil {
			t.Fatal(err)
		}
	}
	rename("processes", "elsewhere")
	log, looked := &lines{}, make(chan struct{})
	h := process.New(db.Pool, info(process.NewID()), func() process.State {
		looked <- struct{}{}
		return process.State{At: at}
	}, slog.New(slog.NewTextHandler(log, nil)))
	h.SetInterval(time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	for range 3 {
		<-looked // so two heartbeats have failed
	}
	rename("elsewhere", "processes")
	for range 2 {
		<-looked
	}
	same(t, "rows", texts(t, db.Pool, `select count(*)::text from processes`), "1")
	cancel()
	for {
		select {
		case <-looked:
			continue
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		}
		break
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, `level=WARN msg="can't write the process's heartbeat"`) {
		t.Errorf("log:\n%s", text)
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
