//go:build linux

package faults

import (
	"path/filepath"
	"strconv"
)

// restoreFaults are what restoring a backup can do to a mirror that runs.
var restoreFaults = []fault{
	{name: "sequences set back to their starts, as by a data-only restore", run: sequencesBehind},
	{name: "database dropped and restored under a running mirror", run: restored(dropDatabase, "--exit-on-error")},
	{name: "database dropped and restored in one transaction", run: restored(dropDatabase, "--single-transaction")},
	{name: "schema dropped and restored under a running mirror", run: restored(dropSchema, "--exit-on-error", "--schema=public")},
}

// sequencesBehind sets every sequence back, over and over. Rows that are there
// already are no event's fault.
func sequencesBehind(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	for n := range pick(5, 50) {
		load.answered(100, "accepted")
		db.exec("select setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) from pg_sequences")
		if got := load.offer([]byte(`{"Event":"contact.changed", ` + strconv.Itoa(n))); got != "quarantined" && got != "spooled" {
			l.Errorf("a delivery that is no JSON was answered %q, want quarantined or spooled", got)
		}
	}
	l.settle(load, db, mirror)
	if n := ask[int](db, "select count(*) from quarantined_deliveries where event_seq is not null"); n != 0 {
		l.Errorf("%d events are in quarantine, want none", n)
	}
	if got, want := ask[int](db, "select count(*) from quarantined_deliveries"), pick(5, 50); got != want {
		l.Errorf("%d deliveries are in quarantine, want the %d that are no JSON", got, want)
	}
	if refused, _ := filepath.Glob(filepath.Join(mirror.dataDir, "spool", "*.refused")); len(refused) > 0 {
		l.Errorf("the spool has set aside %q", refused)
	}
}

// restored takes a backup while events wait in the queue, drops what is there, and
// restores it while deliveries come in. The mirror goes on by itself.
func restored(drop func(*server), options ...string) func(*lab) {
	return func(l *lab) {
		db := l.postgres("postgres", nil)
		mirror := l.serve("mirror", db.url(""))
		load := l.trafficOf(tenants[:1], mirror.webhook())
		load.rate = 6 * usualRate
		load.start()
		load.answered(12_000, "accepted") // the worker skips what it has claimed, from some hundreds in a shard on
		held := db.connect()
		if _, err := held.Exec(l.Context(), "begin; select from sync_shards for update"); err != nil {
			l.Fatal(err)
		}
		load.answered(500, "accepted")
		load.stop()
		backup := filepath.Join(l.mkdir("backup"), "mirror.dump")
		l.run(l.asServer(filepath.Join(pgbin(l.T), "pg_dump"), "--format=custom", "--file="+backup, "--dbname="+db.adminURL()))
		waiting := ask[int](db, "select count(*) from sync_queue")
		_ = held.Close(l.Context())
		l.await("the worker has applied what the backup has waiting", patience, func() bool {
			return ask[bool](db, "select not exists (select from sync_queue)")
		})
		drop(db)
		load.rate = usualRate
		load.resume()
		load.answered(100, "spooled")
		l.run(l.asServer(filepath.Join(pgbin(l.T), "pg_restore"), append(options, "--dbname="+db.adminURL(), backup)...))
		load.answered(100, "accepted")
		l.settle(load, db, mirror)
		if waiting < 100 {
			l.Errorf("%d events waited in the queue of the backup, want some hundred", waiting)
		}
		if n := ask[int](db, "select count(*) from quarantined_deliveries"); n != 0 {
			l.Errorf("%d deliveries are in quarantine, want none", n)
		}
	}
}

func dropDatabase(s *server) {
	s.lab.Helper()
	for _, program := range [][]string{{"dropdb", "--force"}, {"createdb", "--owner=" + role}} {
		args := append(program[1:], "--host=127.0.0.1", "--port="+strconv.Itoa(s.port), "--username="+admin, mirrorBase)
		s.lab.run(s.lab.asServer(filepath.Join(pgbin(s.lab.T), program[0]), args...))
	}
}

func dropSchema(s *server) {
	s.lab.Helper()
	s.exec("drop schema public cascade", "create schema public authorization "+role)
}
