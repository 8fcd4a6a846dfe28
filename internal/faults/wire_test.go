//go:build linux

package faults

import (
	"strings"
	"syscall"
)

// networkFaults are what can happen between the mirror and its database.
var networkFaults = []fault{
	{name: "network: latency of 300 ms each way, with jitter", run: spoiled("latency", `"latency": 300, "jitter": 200`)},
	{name: "network: connections reset", run: spoiled("reset_peer", `"timeout": 50`)},
	{name: "network: black hole", run: spoiled("timeout", `"timeout": 0`)},
	{name: "network: ends in the middle of answers", run: spoiled("limit_data", `"bytes": 3000`)},
	{name: "network: connections that close slowly", run: closesSlowly},
	{name: "network: cut", run: cut},
	{name: "PgBouncer in transaction mode, killed and restarted", run: poolerRestarts},
	{name: "PgBouncer met with prepared statements", run: poolerUnannounced},
}

// spoiled has the wire to the database do something for a while.
func spoiled(toxic, attributes string) func(*lab) {
	return func(l *lab) {
		db := l.postgres("postgres", nil)
		wire := l.network(db.port)
		mirror := l.serve("mirror", mirrorURL("", wire.port))
		load := l.traffic(mirror.webhook())
		for range pick(1, 3) {
			load.answered(100, "accepted")
			wire.spoil(toxic, attributes)
			load.flow(outage())
			wire.clean()
		}
		l.settle(load, db, mirror)
	}
}

// closesSlowly has the server die while the wire keeps that to itself.
func closesSlowly(l *lab) {
	db := l.postgres("postgres", nil)
	wire := l.network(db.port)
	mirror := l.serve("mirror", mirrorURL("", wire.port))
	load := l.traffic(mirror.webhook())
	load.answered(100, "accepted")
	wire.spoil("slow_close", `"delay": 3000`)
	db.end(syscall.SIGQUIT)
	load.answered(outage(), "spooled")
	db.start()
	wire.clean()
	l.settle(load, db, mirror)
}

func cut(l *lab) {
	db := l.postgres("postgres", nil)
	wire := l.network(db.port)
	mirror := l.serve("mirror", mirrorURL("", wire.port))
	load := l.traffic(mirror.webhook())
	for range pick(3, 20) {
		load.answered(30, "accepted")
		wire.cut()
		load.answered(50, "spooled")
		wire.connect()
	}
	l.settle(load, db, mirror)
}

func poolerRestarts(l *lab) {
	db := l.postgres("postgres", nil)
	pooler := l.bouncer(db)
	mirror := l.serve("mirror", mirrorURL("&default_query_exec_mode=exec", pooler.port))
	load := l.traffic(mirror.webhook())
	for range pick(1, 5) {
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			load.answered(100, "accepted")
			pooler.end(sig)
			load.flow(50)
			pooler.start()
		}
	}
	load.answered(50, "accepted")
	l.settle(load, db, mirror)
}

// poolerUnannounced forgets to tell the mirror of the pooler. That can't work,
// and the mirror says what to set; until that is done, the spool keeps what
// comes.
func poolerUnannounced(l *lab) {
	db := l.postgres("postgres", nil)
	pooler := l.bouncer(db)
	mirror := l.serve("mirror", mirrorURL("", pooler.port))
	load := l.traffic(mirror.webhook())
	l.await("the mirror says what to set", patience, func() bool {
		return strings.Contains(mirror.output(), "default_query_exec_mode=exec")
	})
	load.flow(100)
	mirror.terminate()
	mirror.url = mirrorURL("&default_query_exec_mode=exec", pooler.port)
	mirror.start()
	load.answered(50, "accepted")
	l.settle(load, db, mirror)
}
