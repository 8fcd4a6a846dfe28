//go:build linux

package faults

import (
	"fmt"
	"syscall"
)

// failoverFaults are what can happen between a primary and its replica.
var failoverFaults = []fault{
	{name: "failover to a synchronous replica", run: failoverSynchronous},
	{name: "failover while the old primary hangs", run: failoverFromHang},
	{name: "failover to an asynchronous replica that is behind", run: failoverAsynchronous, lossAllowed: true},
	{name: "a consumer of /changes, and a failover that loses what it has read", run: failoverUnderConsumer, lossAllowed: true},
	{name: "synchronous replica away: commits hang", run: replicaAway},
}

const readWrite = "&target_session_attrs=read-write"

func failoverSynchronous(l *lab) {
	primary := l.postgres("primary", nil)
	replica := primary.standby(primary.port)
	primary.synchronous()
	mirror := l.serve("mirror", mirrorURL(readWrite, primary.port, replica.port))
	load := l.traffic(mirror.webhook())
	load.answered(pick(300, 3000), "accepted")
	primary.end(syscall.SIGKILL)
	load.answered(outage(), "spooled")
	replica.promote()
	l.settle(load, replica, mirror)
}

// failoverFromHang promotes the replica of a primary that does not die: its
// connections stay open, and it even takes new ones.
func failoverFromHang(l *lab) {
	primary := l.postgres("primary", nil)
	replica := primary.standby(primary.port)
	primary.synchronous()
	mirror := l.serve("mirror", mirrorURL(readWrite, primary.port, replica.port))
	load := l.traffic(mirror.webhook())
	load.answered(pick(100, 1000), "accepted")
	primary.signalAll(syscall.SIGSTOP)
	load.answered(50, "spooled")
	replica.promote()
	l.settle(load, replica, mirror)
}

// failoverAsynchronous cuts the replica off before the primary dies: what was
// committed meanwhile is what an asynchronous replica may lose.
func failoverAsynchronous(l *lab) {
	primary := l.postgres("primary", nil)
	link := l.network(primary.port)
	replica := primary.standby(link.port)
	mirror := l.serve("mirror", mirrorURL(readWrite, primary.port, replica.port))
	load := l.traffic(mirror.webhook())
	load.answered(pick(200, 2000), "accepted")
	link.cut()
	load.answered(50, "accepted")
	primary.end(syscall.SIGKILL)
	load.answered(outage(), "spooled")
	replica.promote()
	r := l.settle(load, replica, mirror)
	r.remark = fmt.Sprintf("lost %d of %d answered 200: what the replica had not got, 50 deliveries and more", r.lost, r.answered)
}

// failoverUnderConsumer loses the last rows of the log, which a consumer has read.
// Others take their numbers, so the consumer can't read on; it is refused, starts
// over, and ends with what the mirror holds.
func failoverUnderConsumer(l *lab) {
	primary := l.postgres("primary", nil)
	link := l.network(primary.port)
	replica := primary.standby(link.port)
	database, address := mirrorURL(readWrite, primary.port, replica.port), at(l.freePort())
	mirror := l.newService("mirror", database)
	mirror.env = []string{"CONTACTMIRROR_ADMIN_LISTEN=" + address}
	mirror.start()
	reader := l.consume(address, database)
	load := l.traffic(mirror.webhook())
	load.answered(pick(200, 2000), "accepted")
	link.cut()
	load.answered(100, "accepted")
	kept := ask[int64](replica, "select coalesce(max(audit_seq), 0) from contact_audit_log")
	l.await("the consumer has read what will be lost", patience, func() bool {
		_, seen, _ := reader.state()
		return seen > kept+20
	})
	primary.end(syscall.SIGKILL)
	load.answered(outage(), "spooled")
	replica.promote()
	r := l.settle(load, replica, mirror)
	reader.awaitEqual()
	contacts, _, restarts := reader.state()
	if restarts != 1 || contacts < 20 {
		l.Errorf("the consumer started over %d times and holds %d contacts, want once and 20 or more", restarts, contacts)
	}
	r.remark = fmt.Sprintf("lost %d of %d answered 200; the consumer was refused %d time, and ended equal", r.lost, r.answered, restarts)
}

func replicaAway(l *lab) {
	primary := l.postgres("primary", nil)
	replica := primary.standby(primary.port)
	primary.synchronous()
	mirror := l.serve("mirror", primary.url(""))
	load := l.traffic(mirror.webhook())
	for range pick(1, 3) {
		load.answered(100, "accepted")
		replica.end(syscall.SIGKILL)
		load.answered(outage(), "spooled")
		replica.start()
	}
	l.settle(load, primary, mirror)
}
