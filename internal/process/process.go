// Package process is the registry of running processes: each writes its row of
// the table processes every few seconds.
//
// Two things are known to a process only, and everybody else reads them there:
// how many accepted deliveries its spool holds, without which nobody can say up to
// when the mirror is complete, and that it refuses every delivery. The row of a
// process that stops in order with an empty spool is removed; after a crash it
// stays, and with it what it says of the spool.
//
// A heartbeat that fails is not retried: the next one replaces it. One costs a
// single statement, which updates a single row while no secret changes.
package process

import (
	"time"

	"contactmirror/internal/signature"
)

// Role is a part of the work that a process can do.
type Role string

// The roles. The table processes accepts no others.
const (
	Receive Role = "receive" // receives deliveries
	Sync    Role = "sync"    // applies events and advances the log horizon
	Admin   Role = "admin"   // serves pages, metrics and the change feed
)

// Roles returns every role.
func Roles() []Role { return []Role{Receive, Sync, Admin} }

// Info is what does not change while a process runs.
type Info struct {
	ID        ID
	Host      string
	PID       int
	Roles     []Role
	Version   string
	StartedAt time.Time
}

// State is what a process is doing at one moment. Zero times are written as NULL.
type State struct {
	// At is when the state was read. The spool's figures include every delivery
	// that was answered "spooled" before At and is not drained.
	At time.Time

	// The role receive.

	AcceptedAt    time.Time
	Refused       int64
	RefusedSince  time.Time // zero if and only if Refused is
	SpoolingSince time.Time
	SpoolRecords  int64
	SpoolBytes    int64
	SpoolOldestAt time.Time
	// Files moved aside hold deliveries that were answered "spooled" and can't be
	// drained. SpoolMovedAsideOldestAt is zero if and only if there are none.
	SpoolMovedAsideFiles    int
	SpoolMovedAsideOldestAt time.Time
	// While SpoolError is set, nothing is known of the spool: the row keeps what the
	// process before wrote, and the fields above but SpoolOldestAt are not written.
	SpoolError        error
	SpoolFailingSince time.Time // written only with SpoolError
	Secrets           []signature.Use

	// The role sync.

	AppliedAt           time.Time
	ApplyError          error
	ApplyFailingSince   time.Time // written only with ApplyError
	HorizonAdvancedAt   time.Time
	HorizonError        error
	HorizonFailingSince time.Time // written only with HorizonError
}
