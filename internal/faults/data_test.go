//go:build linux

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// dataFaults are what events and clocks can do.
var dataFaults = []fault{
	{name: "an event that the database refuses", run: poison},
	{name: "an event that the inbox can't store", run: unstorable},
	{name: "the database's clock jumps", run: clockJumps},
	{name: "the source's clock is wrong", run: sourceClock},
}

// eventBody is a change of a tenant's contact id to country.
func eventBody(tenant, eventID string, at time.Time, id int64, country int) []byte {
	return fmt.Appendf(nil, `{"EventId":%q,"Timestamp":%q,"Changes":["country_id"],"Event":"contact.changed","PrimaryKey":%d,`+
		`"Entity":"contact","ContextIdentifier":%q,"FieldValues":{"country_id":%d}}`,
		eventID, at.UTC().Format("2006-01-02T15:04:05.9999999Z"), id, tenant, country)
}

// eventID is the nth of the test's own.
func eventID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// poison forbids one event in the log of a running mirror. It alone is set
// aside, its contact's later events are applied, and once the ban is lifted a
// retry puts it in its place.
func poison(l *lab) {
	db := l.postgres("postgres", nil)
	db.exec("alter table contact_audit_log add constraint poison check (event_id <> '" + eventID(2) + "')")
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	load.answered(100, "accepted")
	const id = 1_000_000
	now := time.Now().Add(-time.Hour)
	for n := 1; n <= 3; n++ {
		if got := load.offer(eventBody(tenants[0], eventID(n), now.Add(time.Duration(n)*time.Second), id, n)); got != "accepted" {
			l.Errorf("event %d was answered %q, want accepted", n, got)
		}
	}
	load.answered(100, "accepted")
	l.await("the event is set aside", patience, func() bool {
		return ask[int](db, "select count(*) from quarantined_deliveries where reason like '%poison%23514%'") == 1
	})
	l.await("its contact goes on", patience, func() bool {
		return ask[bool](db, "select exists (select from contacts where contact_id = $1 and country_id = 3)", int64(id))
	})
	db.exec("alter table contact_audit_log drop constraint poison")
	seq := ask[int64](db, "select quarantine_seq from quarantined_deliveries")
	l.run(l.contactmirror(db.url(""), "quarantine", "retry", fmt.Sprint(seq)))
	l.settle(load, db, mirror)
	if n := ask[int](db, "select count(*) from quarantined_deliveries where resolved_at is null"); n != 0 {
		l.Errorf("%d deliveries are in quarantine after the retry, want none", n)
	}
}

// unstorable forbids two events in the table of events: one comes while the
// database is there, and one through the spool, which must drain all the same,
// with what else may come through it. The bytes are kept.
func unstorable(l *lab) {
	db := l.postgres("postgres", nil)
	for n := range 2 {
		db.exec(fmt.Sprintf("alter table webhook_events add constraint banned%d check (event_id <> '%s')", n, eventID(n)))
	}
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	load.answered(100, "accepted")
	if got := load.offer(eventBody(tenants[0], eventID(0), time.Now(), 1_000_000, 1)); got != "quarantined" {
		l.Errorf("the event was answered %q, want quarantined", got)
	}
	db.end(syscall.SIGINT)
	load.answered(50, "spooled")
	if got := load.offer(eventBody(tenants[0], eventID(1), time.Now(), 1_000_000, 1)); got != "spooled" {
		l.Errorf("the event was answered %q, want spooled", got)
	}
	for _, body := range []string{`{"Event":"contact.changed"`, `{"Event":"person.created","EventId":"` + eventID(2) + `","PrimaryKey":1}`} {
		if got := load.offer([]byte(body)); got != "spooled" {
			l.Errorf("%s was answered %q, want spooled", body, got)
		}
	}
	load.answered(50, "spooled")
	db.start()
	l.settle(load, db, mirror)
	if n := ask[int](db, "select count(*) from quarantined_deliveries"); n != 3 {
		l.Errorf("%d deliveries are in quarantine, want the two that are banned and the one that is no JSON", n)
	}
	if n := ask[int](db, "select count(*) from webhook_events where ignored"); n != 1 {
		l.Errorf("%d events are ignored, want 1", n)
	}
}

// clockJumps moves the clock of the database's machine while it runs. The
// mirror's own can't be moved here: Go asks the kernel, not libc, and the kernel
// has one such clock for everybody.
func clockJumps(l *lab) {
	found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1") // the pattern is well formed
	if len(found) == 0 {
		missing(l.T, "there is no libfaketime on this machine: apt-get install faketime")
	}
	clock := filepath.Join(l.mkdir("clock"), "offset")
	l.write(clock, "+0\n")
	db := l.postgresAt(clock, found[0])
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	for _, offset := range []string{"+2h", "-2h", "+30d", "+0"} {
		load.answered(100, "accepted")
		l.write(clock, offset+"\n")
		load.flow(pick(50, 500))
	}
	l.settle(load, db, mirror)
}

// sourceClock delivers events whose time lies far off the receiver's: that is
// the same thing as a receiver's clock that has jumped the other way.
func sourceClock(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	load.answered(100, "accepted")
	now := time.Now()
	for i, c := range []struct {
		at   time.Time
		want string
	}{
		{now.Add(23 * time.Hour), "accepted"},
		{now.Add(25 * time.Hour), "quarantined"},
		{now.AddDate(1000, 0, 0), "quarantined"},
		{now.AddDate(-200, 0, 0), "accepted"},
		{time.Date(1752, 12, 31, 0, 0, 0, 0, time.UTC), "quarantined"},
		{now, "accepted"},
	} {
		if got := load.offer(eventBody(tenants[0], eventID(i), c.at, 1_000_000, i)); got != c.want {
			l.Errorf("an event of %s was answered %q, want %s", c.at.Format(time.RFC3339), got, c.want)
		}
	}
	load.flow(pick(50, 500))
	l.settle(load, db, mirror)
	if n := ask[int](db, "select count(*) from quarantined_deliveries"); n != 3 {
		l.Errorf("%d deliveries are in quarantine, want 3", n)
	}
}

// postgresAt starts a server whose clock is off by what the file clock says.
func (l *lab) postgresAt(clock, library string) *server {
	l.Helper()
	if _, err := os.Stat(library); err != nil {
		l.Fatal(err)
	}
	s := l.copyTemplate("postgres", nil)
	s.env = []string{
		"LD_PRELOAD=" + library, "FAKETIME_TIMESTAMP_FILE=" + clock, "FAKETIME_NO_CACHE=1",
		"FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1",
	}
	s.start()
	return s
}
