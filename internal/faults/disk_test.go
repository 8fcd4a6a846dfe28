package faults

import (
	"net/http"
	"os"
	"syscall"
	"time"
)

// diskFaults are what can happen to the disk under the spool.
var diskFaults = []fault{
	{name: "disk full under the spool", run: diskFull},
	{name: "spool at its limit", run: spoolFull},
	{name: "one tenant's burst fills its part of the spool", run: tenantFull},
}

// diskFull fills a disk of half a megabyte while the database is away.
func diskFull(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.newService("mirror", db.url(""))
	l.smallDisk(mirror.dataDir, "size=512k")
	mirror.start()
	load := l.traffic(mirror.webhook())
	load.answered(100, "accepted")
	db.end(syscall.SIGQUIT)
	load.answered(100, "spooled")
	load.refused(50)
	l.await("readyz says that nothing can be kept", patience, func() bool { return !mirror.isReady() })
	db.start()
	load.answered(100, "accepted")
	l.settle(load, db, mirror)
}

// refused waits for n attempts answered 503.
func (t *traffic) refused(n int) {
	t.lab.Helper()
	t.lab.await("deliveries are answered 503", patience, func() bool {
		return t.count(func() int { return t.statuses[http.StatusServiceUnavailable] }) >= n
	})
}

// smallSpool is a service that may spool a mebibyte.
func (l *lab) smallSpool(db *server) *service {
	mirror := l.newService("mirror", db.url(""))
	mirror.env = []string{"CONTACTMIRROR_SPOOL_LIMIT=1MiB"}
	mirror.start()
	return mirror
}

// spoolFull fills the spool, and kills the mirror then: the next start finds it
// full.
func spoolFull(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.smallSpool(db)
	load := l.newTraffic(mirror.webhook())
	load.rate = 3 * usualRate
	load.start()
	load.answered(100, "accepted")
	db.end(syscall.SIGQUIT)
	load.refused(20)
	l.await("readyz says that nothing can be kept", patience, func() bool { return !mirror.isReady() })
	mirror.end(syscall.SIGKILL)
	mirror.launch()
	load.refused(20)
	db.start()
	load.answered(100, "accepted")
	l.settle(load, db, mirror)
}

// tenantFull has one tenant fill its part of the spool: its own deliveries are
// refused then, and nobody else's.
func tenantFull(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.smallSpool(db)
	load := l.trafficOf(tenants[:1], mirror.webhook())
	load.rate = 3 * usualRate
	load.start()
	load.answered(100, "accepted")
	db.end(syscall.SIGQUIT)
	load.refused(20)
	for n := range 50 {
		if got := load.offer(eventBody(tenants[1], eventID(n), time.Now(), int64(n+1), n)); got != "spooled" {
			l.Errorf("another tenant's delivery was answered %q, want spooled", got)
		}
	}
	if !mirror.isReady() {
		l.Error("readyz is not 200 while the spool has room for others")
	}
	db.start()
	load.answered(100, "accepted")
	l.settle(load, db, mirror)
}

// smallDisk mounts a file system in memory at dir.
func (l *lab) smallDisk(dir, size string) {
	l.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		l.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, size); err != nil {
		missing(l.T, "a small disk can't be mounted here: "+err.Error())
	}
	l.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			l.Errorf("unmount %s: %v", dir, err)
		}
	})
}
