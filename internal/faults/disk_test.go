//go:build linux

package faults

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// diskFaults are what can happen to the disk under the spool.
var diskFaults = []fault{
	{name: "disk full under the spool", run: diskFull},
	{name: "disk full under PostgreSQL", run: databaseDiskFull},
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

// databaseDiskFull fills the disk of the database, with a file beside it.
func databaseDiskFull(l *lab) {
	db := l.newServer("postgres", nil)
	l.mountSmall(db.data, "size=160m,mode=700")
	l.give(db.data)
	l.fillFromTemplate(db)
	db.start()
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	load.answered(100, "accepted")
	ballast := filepath.Join(db.data, "ballast")
	l.fill(ballast)
	load.answered(pick(100, 1000), "spooled")
	if err := os.Remove(ballast); err != nil {
		l.Fatal(err)
	}
	if !db.answers() {
		db.start()
	}
	load.answered(50, "accepted")
	l.settle(load, db, mirror)
}

// fill writes a file until its disk is full.
func (l *lab) fill(path string) {
	l.Helper()
	file, err := os.Create(path)
	if err != nil {
		l.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // nobody reads it
	for block := make([]byte, 4<<10); err == nil; {
		_, err = file.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		l.Fatalf("fill the disk: %v", err)
	}
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

// spoolFull fills the spool while the database can be reached, but takes
// nothing. The mirror is killed then, and the next start finds the spool full.
func spoolFull(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.smallSpool(db)
	load := l.newTraffic(mirror.webhook())
	load.rate = 3 * usualRate
	load.start()
	load.answered(100, "accepted")
	db.set("default_transaction_read_only", "on")
	load.refused(20)
	l.await("readyz says that nothing can be kept", patience, func() bool { return !mirror.isReady() })
	mirror.end(syscall.SIGKILL)
	mirror.launch()
	load.refused(20)
	db.reset("default_transaction_read_only")
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

// smallDisk makes dir, on a small disk of its own.
func (l *lab) smallDisk(dir, size string) {
	l.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		l.Fatal(err)
	}
	l.mountSmall(dir, size)
}

// mountSmall mounts a file system in memory at dir.
func (l *lab) mountSmall(dir, size string) {
	l.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, size); err != nil {
		missing(l.T, "a small disk can't be mounted here: "+err.Error())
	}
	l.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			l.Errorf("unmount %s: %v", dir, err)
		}
	})
}
