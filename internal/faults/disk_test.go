//go:build linux

package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
	{name: "spool segments that can't be read, or not all of them", run: unreadableSegments},
	{name: "spool directory removed while the database is away", run: spoolRemoved},
	{name: "mirror killed while it spools, and started on a read-only disk", run: readOnlyData},
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

// unreadableSegments starts the mirror with a directory, a link, a named pipe and
// damaged copies of a segment among its segments, while the database is away. The
// rest drains, the receiver returns to the database, and the mirror is not
// complete until an operator has dealt with those files.
func unreadableSegments(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	load.answered(100, "accepted")
	began := time.Now()
	db.end(syscall.SIGQUIT)
	load.answered(outage(), "spooled")
	mirror.end(syscall.SIGKILL)
	damaged := l.spoil(mirror)
	mirror.start()
	load.answered(50, "spooled")
	db.start()
	load.answered(100, "accepted")
	l.settle(load, db, mirror)

	var files []struct {
		Name            string `json:"name"`
		UnreadableBytes int    `json:"unreadable_bytes"`
	}
	list := l.contactmirror(db.url(""), "spool", "list", "--json", "--data-dir", mirror.dataDir)
	out, err := list.Output()
	if err == nil {
		err = json.Unmarshal(out, &files)
	}
	if err != nil || len(files) != damaged {
		l.Fatalf("%d files are moved aside, %v, want %d:\n%s", len(files), err, damaged, out)
	}
	held := func() bool {
		return ask[bool](db, fmt.Sprintf(`select bool_and(coalesce(complete_through < '%s', true) and exists (select from unnest(held_by) h where h like 'spool%%'))
			from mirror_freshness`, began.Format(time.RFC3339Nano)))
	}
	l.await("the files hold the mirror back", patience, held)
	discard := []string{"spool", "discard", "--yes", "--data-dir", mirror.dataDir}
	for _, f := range files {
		discard = append(discard, f.Name)
	}
	l.run(l.contactmirror(db.url(""), discard...))
	l.await("nothing holds the mirror back", patience, func() bool { return !held() })
}

// spoil puts what can't be read among the segments of a service that has ended,
// and returns how many files that are.
func (l *lab) spoil(s *service) (files int) {
	l.Helper()
	dir := filepath.Join(s.dataDir, "spool")
	segments, err := filepath.Glob(filepath.Join(dir, "*.spool"))
	if err != nil || len(segments) == 0 {
		l.Fatalf("the spool has the segments %v, %v, want some", segments, err)
	}
	good, err := os.ReadFile(segments[0])
	if err != nil {
		l.Fatal(err)
	}
	last := bytes.LastIndex(good, []byte("cmr\x01"))
	flipped := bytes.Clone(good)
	flipped[last+5] ^= 1
	name := func(n int) string { return filepath.Join(dir, fmt.Sprintf("%020d.spool", n)) }
	if err := errors.Join(
		os.Mkdir(name(1), 0o700),
		os.Symlink("nowhere", name(2)),
		syscall.Mkfifo(name(3), 0o600),
		os.WriteFile(name(4), flipped, 0o600),
		os.WriteFile(name(5), good[:len(good)-1], 0o600),
		os.WriteFile(name(6), []byte("no segment"), 0o600),
	); err != nil {
		l.Fatal(err)
	}
	return 6
}

// spoolRemoved removes the directory of the spool under a mirror that writes to
// it, and kills the mirror once it has gone on.
func spoolRemoved(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	for range pick(2, 10) {
		load.answered(100, "accepted")
		db.end(syscall.SIGQUIT)
		load.answered(100, "spooled")
		if err := os.RemoveAll(filepath.Join(mirror.dataDir, "spool")); err != nil {
			l.Fatal(err)
		}
		load.answered(100, "spooled")
		mirror.end(syscall.SIGKILL)
		mirror.start()
		load.answered(50, "spooled")
		db.start()
	}
	load.answered(100, "accepted")
	l.settle(load, db, mirror)
}

// readOnlyData kills the mirror while the database is away, and starts it again on a
// disk that is read-only by then: it goes on without its spool, and is not complete
// until what is there has drained.
func readOnlyData(l *lab) {
	db := l.postgres("postgres", nil)
	mirror := l.newService("mirror", db.url(""))
	l.smallDisk(mirror.dataDir, "size=64m")
	remount := func(flags uintptr) {
		l.Helper()
		if err := syscall.Mount("", mirror.dataDir, "", syscall.MS_REMOUNT|flags, "size=64m"); err != nil {
			l.Fatal(err)
		}
	}
	mirror.start()
	load := l.traffic(mirror.webhook())
	for range pick(1, 5) {
		load.answered(100, "accepted")
		db.end(syscall.SIGQUIT)
		load.answered(outage(), "spooled")
		spooled := time.Now()
		mirror.end(syscall.SIGKILL)
		remount(syscall.MS_RDONLY)
		mirror.launch()
		load.refused(20)
		db.start()
		load.answered(100, "accepted")
		l.await("the row of the process says that its spool can't be opened", patience, func() bool {
			return ask[bool](db, "select count(*) = 1 from processes where spool_error is not null")
		})
		held := fmt.Sprintf("select bool_and(complete_through < '%s') from mirror_freshness", spooled.Format(time.RFC3339Nano))
		if !ask[bool](db, held) {
			l.Error("the mirror is complete through a moment at which deliveries were spooled that it lacks")
		}
		remount(0)
		l.await("nothing holds the mirror back", patience, func() bool { return !ask[bool](db, held) })
	}
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
