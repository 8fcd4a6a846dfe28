//go:build linux

package faults

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// serverFaults are what can happen to a PostgreSQL that stays the same.
var serverFaults = []fault{
	{name: "PostgreSQL stopped in immediate mode and restarted", run: stopped(syscall.SIGQUIT)},
	{name: "PostgreSQL stopped in fast mode and restarted", run: stopped(syscall.SIGINT)},
	{name: "postmaster killed and restarted", run: stopped(syscall.SIGKILL)},
	{name: "backends terminated, over and over", run: backendsTerminated},
	{name: "backend killed, so that the server recovers", run: backendKilled},
	{name: "database made read-only", run: readOnly},
	{name: "out of connections", run: outOfConnections},
	{name: "PostgreSQL hangs with its connections open", run: hangs},
	{name: "mirror stopped and started while PostgreSQL hangs", run: startedInAHang},
	{name: "contacts locked by somebody", run: locked("contacts")},
	{name: "webhook_events locked by somebody", run: locked("webhook_events")},
	{name: "database away at the start", run: awayAtStart},
}

// outage is how many deliveries a fault lasts for, at least.
func outage() int { return pick(200, 2000) }

// stopped stops the server by a signal to its postmaster.
func stopped(by syscall.Signal) func(*lab) {
	return func(l *lab) {
		db := l.postgres("postgres", nil)
		mirror := l.serve("mirror", db.url(""))
		load := l.traffic(mirror.webhook())
		for range pick(1, 3) {
			load.answered(100, "accepted")
			db.end(by)
			load.answered(outage(), "spooled")
			db.start()
		}
		l.settle(load, db, mirror)
	}
}

func backendsTerminated(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	load.answered(100, "accepted")
	for range pick(20, 200) {
		db.exec("select pg_terminate_backend(pid) from pg_stat_activity where usename = '" + role + "'")
		load.flow(10)
	}
	l.settle(load, db, mirror)
}

// backendKilled ends one backend by a signal that the postmaster must take for a
// crash: it throws all others out and recovers.
func backendKilled(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	for range pick(2, 10) {
		load.answered(50, "accepted")
		pid := ask[int](db, "select pid from pg_stat_activity where usename = $1 limit 1", role)
		witness, err := pgx.Connect(context.Background(), db.adminURL())
		if err != nil {
			l.Fatalf("connect: %v", err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			l.Fatalf("kill backend %d: %v", pid, err)
		}
		l.await("the server has noticed", patience, func() bool { return witness.Ping(context.Background()) != nil })
		_ = witness.Close(context.Background())
		l.await("the server has recovered", patience, db.answers)
		load.flow(50)
	}
	l.settle(load, db, mirror)
}

func readOnly(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	load.answered(100, "accepted")
	db.set("default_transaction_read_only", "on")
	load.answered(outage(), "spooled")
	db.reset("default_transaction_read_only")
	l.settle(load, db, mirror)
}

// outOfConnections takes every connection that the server has, and keeps the
// mirror from getting one.
func outOfConnections(l *lab) {
	db := l.postgres("postgres", settings{"max_connections": "30"})
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	load.answered(100, "accepted")
	taken := l.takeConnections(db)
	load.answered(outage(), "spooled")
	for _, conn := range taken {
		_ = conn.Close(context.Background())
	}
	l.settle(load, db, mirror)
}

// takeConnections is done when several rounds have found nothing more to take:
// the place of a backend that was thrown out is free only when that has ended.
func (l *lab) takeConnections(db *server) (taken []*pgx.Conn) {
	l.Helper()
	quiet := 0
	l.await("the mirror has no connection left", patience, func() bool {
		more := l.crowd(db)
		thrownOut := ask[int](db, `select count(pg_terminate_backend(pid)) from pg_stat_activity
			where usename = $1 and application_name <> 'crowd'`, role)
		taken = append(taken, more...)
		if quiet++; len(more)+thrownOut > 0 {
			quiet = 0
		}
		return quiet == 10
	})
	return taken
}

// crowd takes all connections that there are.
func (l *lab) crowd(db *server) (taken []*pgx.Conn) {
	l.Helper()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		conn, err := pgx.Connect(ctx, db.url("&application_name=crowd"))
		cancel()
		if err != nil {
			return taken
		}
		taken = append(taken, conn)
		l.Cleanup(func() { _ = conn.Close(context.Background()) })
	}
}

// hangs stops every process of the server: connections stay open, new ones are
// even taken by the kernel, and nobody answers.
func hangs(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	for range pick(1, 3) {
		load.answered(100, "accepted")
		db.signalAll(syscall.SIGSTOP)
		load.answered(outage(), "spooled")
		db.signalAll(syscall.SIGCONT)
	}
	l.settle(load, db, mirror)
}

// startedInAHang deploys a mirror in the middle of an outage in which
// connections succeed and nothing else does.
func startedInAHang(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	load.answered(100, "accepted")
	db.signalAll(syscall.SIGSTOP)
	load.answered(50, "spooled")
	mirror.terminate()
	mirror.start()
	load.answered(100, "spooled")
	db.signalAll(syscall.SIGCONT)
	l.settle(load, db, mirror)
}

// locked keeps everybody from a table.
func locked(name string) func(*lab) {
	return func(l *lab) {
		db := l.postgres("postgres", nil)
		mirror := l.serve("mirror", db.url(""))
		load := l.traffic(mirror.webhook())
		load.answered(100, "accepted")
		tx, err := db.connect().Begin(l.Context())
		if err != nil {
			l.Fatal(err)
		}
		if _, err := tx.Exec(l.Context(), "lock table "+name+" in access exclusive mode"); err != nil {
			l.Fatal(err)
		}
		load.flow(3 * outage())
		if err := tx.Commit(l.Context()); err != nil {
			l.Fatal(err)
		}
		l.settle(load, db, mirror)
	}
}

// awayAtStart starts the mirror first, and kills it before it has ever seen the
// database: the next start takes over the spool.
func awayAtStart(l *lab) {
	db := l.postgres("postgres", nil)
	db.end(syscall.SIGINT)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	load.answered(100, "spooled")
	if mirror.spooled() == 0 {
		l.Fatal("deliveries were answered spooled, and there is no segment: the suite looks in the wrong place")
	}
	mirror.end(syscall.SIGKILL)
	mirror.start()
	load.answered(100, "spooled")
	db.start()
	r := l.settle(load, db, mirror)
	r.remark = fmt.Sprintf("%d spooled", load.results["spooled"])
}
