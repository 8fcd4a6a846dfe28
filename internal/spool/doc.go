// Package spool keeps deliveries in files while the inbox can't take them.
//
// An append returns once its bytes are on disk (fsync), and appends that wait
// at the same moment share one; what it returned for survives a kill, a power
// cut and any number of restarts. A file is a segment of records, each with its
// length and checksum: bytes that were being written when everything stopped
// are recognised and passed over, at whatever byte they end. Draining hands the
// records out, oldest segment first, and removes a segment once all of it has
// been taken, or sets it aside where something in it could not be read; a drain that is interrupted hands some of them out again, so
// whoever takes them must not mind.
//
// The spool is bounded, as a whole and for each tenant. It never drops a record
// to make room for another, and it does not know what is in them.
package spool
