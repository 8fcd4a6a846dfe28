// Package inbox keeps every accepted event until the sync worker has dealt
// with it.
//
// It stands between receiving and applying: [Inbox.Put] returns once the
// delivery is committed, and deliveries that wait at the same moment share one
// commit. Putting the same event again is harmless and counted, so a Put whose
// answer was lost may simply be repeated. What can't be stored in time is an
// error, never a silent loss. Nothing here reads a queue row back; that is the
// worker's, and the table is all they share.
package inbox

import (
	"net/http"
	"time"

	"contactmirror/internal/event"
)

// Result is what became of a delivery; the words are the receiver's answers.
type Result string

// The results of [Inbox.Put]. All of them are durable when returned.
const (
	Accepted    Result = "accepted"
	Duplicate   Result = "duplicate"
	Ignored     Result = "ignored"
	Quarantined Result = "quarantined"
)

// Delivery is one verified request: an event, or the reason why it is none.
type Delivery struct {
	// Body is the request body; it must not be changed while Put runs.
	Body       []byte
	ReceivedAt time.Time
	// Retry is SuperOffice's retry counter, nil where it is no number.
	Retry *int32
	// Event is nil for a delivery that can't be understood. Then Reason says why,
	// and Tenant and Headers are kept with the bytes.
	Event   *event.Event
	Reason  string
	Tenant  *string
	Headers http.Header
}
