//go:build linux

package faults

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"time"
)

// processFaults are what can happen to the mirror's own processes.
var processFaults = []fault{
	{name: "mirror killed at random instants", run: killed},
	{name: "mirror killed while it spools and drains", run: killedDraining},
	{name: "mirror and PostgreSQL killed together", run: allKilled},
	{name: "deploy: two receivers behind one address, SIGTERM in turn", run: deployed},
	{name: "second SIGTERM ends at once", run: endedTwice},
	{name: "two processes with eight workers each, every event to both", run: sideBySide},
	{name: "wrong schema version", run: wrongSchema},
}

// instants are when the process dies, counted from when it was ready.
func (l *lab) instants(n int, latest time.Duration) []time.Duration {
	random := rand.New(rand.NewPCG(*seed, 2))
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = time.Duration(random.Int64N(int64(latest)))
	}
	return all
}

func killed(l *lab) {
	db := l.postgres("postgres", nil)
	wire := l.network(db.port)
	// A little latency makes the time between statement and answer, and between
	// claim and commit, long enough to be hit.
	wire.spoil("latency", `"latency": 3`)
	mirror := l.serve("mirror", mirrorURL("", wire.port))
	load := l.traffic(mirror.webhook())
	instants := l.instants(pick(8, 60), 400*time.Millisecond)
	for _, instant := range instants {
		<-time.After(instant)
		mirror.end(syscall.SIGKILL)
		mirror.start()
	}
	r := l.settle(load, db, mirror)
	r.remark = fmt.Sprintf("%d kills, which cut off %d requests", len(instants), load.statuses[0])
}

// killedDraining takes the database away before each kill and gives it back at
// about the same time.
func killedDraining(l *lab) {
	db := l.postgres("postgres", nil)
	wire := l.network(db.port)
	mirror := l.serve("mirror", mirrorURL("", wire.port))
	load := l.traffic(mirror.webhook())
	instants := l.instants(pick(6, 60), 500*time.Millisecond)
	filled := 0
	for i, instant := range instants {
		wire.cut()
		<-time.After(instant)
		if i%3 > 0 { // else the next start finds no database
			wire.connect()
			<-time.After(instant / 2)
		}
		if mirror.spooled() > 0 {
			filled++
		}
		mirror.end(syscall.SIGKILL)
		mirror.start()
		if i%3 == 0 {
			wire.connect()
		}
	}
	r := l.settle(load, db, mirror)
	r.remark = fmt.Sprintf("%d kills, %d of them with deliveries in the spool", len(instants), filled)
}

// allKilled kills everything at once, as near to a power cut as a test can come.
func allKilled(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	for range pick(2, 10) {
		load.answered(100, "accepted")
		db.signalAll(syscall.SIGKILL)
		mirror.end(syscall.SIGKILL)
		<-db.ended
		mirror.start() // is up first
		load.answered(20, "spooled")
		db.start()
	}
	l.settle(load, db, mirror)
}

func deployed(l *lab) {
	db := l.postgres("postgres", nil)
	both := []*service{l.serve("first", db.url("")), l.serve("second", db.url(""))}
	address := l.balancer(both...)
	load := l.traffic(address.URL + "/webhook")
	for range pick(1, 10) {
		for _, s := range both {
			load.answered(50, "accepted")
			s.terminate()
			s.start()
			l.await("the balancer has both", patience, func() bool { return address.has(both...) })
		}
	}
	l.settle(load, db, both...)
	for status, n := range load.statuses {
		if status != 200 {
			l.Errorf("%d attempts were answered %d (0: not at all), want each one answered 200 at the first", n, status)
		}
	}
}

// endedTwice has a client keep a request open, for which a single SIGTERM waits.
func endedTwice(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	load.answered(50, "accepted")
	conn, err := new(net.Dialer).DialContext(l.Context(), "tcp", mirror.address)
	if err != nil {
		l.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the process at its other end is gone
	half := "POST /webhook HTTP/1.1\r\nHost: mirror\r\nX-SuperOffice-Signature: none\r\nContent-Length: 100\r\n\r\nhalf"
	if _, err := io.WriteString(conn, half); err != nil {
		l.Fatal(err)
	}
	mirror.signal(syscall.SIGTERM)
	l.await("readyz says that the mirror ends", stopTime, func() bool { return !mirror.isReady() })
	if !mirror.alive() {
		l.Error("a single SIGTERM did not wait for a request under way")
	}
	mirror.signal(syscall.SIGTERM)
	mirror.wait(time.Second)
	mirror.start()
	l.settle(load, db, mirror)
}

// sideBySide has two processes receive the same events at the same time, and
// both apply them.
func sideBySide(l *lab) {
	db := l.postgres("postgres", nil)
	both := []*service{
		l.serve("first", db.url(""), "--workers=8"),
		l.serve("second", db.url(""), "--workers=8"),
	}
	load := l.newTraffic(both[0].webhook(), both[1].webhook())
	load.everywhere = true
	load.start()
	load.answered(pick(500, 5000), "accepted")
	both[0].end(syscall.SIGKILL)
	both[0].start()
	load.answered(pick(200, 2000), "accepted")
	l.settle(load, db, both...)
	if load.results["duplicate"] < load.results["accepted"]/2 {
		l.Errorf("got results %v, want about as many duplicates as accepted", load.results)
	}
}

// wrongSchema has the database come back with the schema of another version.
func wrongSchema(l *lab) {
	db := l.postgres("postgres", nil)
	db.exec("insert into goose_db_version (version_id, is_applied) values (99999, true)")
	mirror := l.newService("mirror", db.url(""))
	mirror.launch()
	l.refuses(mirror)

	db.end(syscall.SIGINT)
	mirror.start()
	load := l.traffic(mirror.webhook())
	load.answered(50, "spooled")
	db.start()
	l.refuses(mirror)

	db.exec("delete from goose_db_version where version_id = 99999")
	mirror.start()
	load.answered(50, "accepted")
	l.settle(load, db, mirror)
}

// refuses checks that the service ends by itself and says what to do.
func (l *lab) refuses(s *service) {
	l.Helper()
	if code := s.wait(patience); code != 1 {
		l.Errorf("serve ended with code %d, want 1", code)
	}
	if out := s.output(); !strings.Contains(out, "schema version 99999") {
		l.Errorf("serve ended and said %s, want it to name the schema version", exitLine([]byte(out)))
	}
}
