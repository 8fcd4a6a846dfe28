// Package faults is the proof that no fault loses, doubles or invents anything.
//
// It has no code but tests. They run the real binary as real processes against
// real PostgreSQL servers, poolers and broken networks, all started here and all
// on loopback, while a fake SuperOffice delivers with its real retries. Each
// test breaks one thing, heals it, and waits until everything has drained. Then
// the database is compared with what was answered 200: an event that is not
// there is lost, one that was applied twice is doubled, a row that differs from
// the fold of exactly the accepted events is wrong, and an answer that took
// longer than two seconds came too late. The table of all faults is printed at
// the end.
//
//	go test ./internal/faults -v                      # the quick version
//	go test ./internal/faults -v -timeout 60m -args -faults.long -faults.table=faults.md
//
// -faults.seed makes other lives and other instants, -faults.binary tests a
// binary that is there already. Everything runs on Linux, as root or not; a
// small disk is mounted as root only. PostgreSQL's clock can be moved, the
// mirror's can't: see clockJumps. A disk that lies about fsync, and a machine
// that loses its power, are beyond what can be done here: killing a process
// leaves the kernel's cache alone.
//
// Tools that a fault needs and that are missing skip it, loudly; where CI=true
// that is a failure.
package faults
