// Package event reads SuperOffice webhook deliveries.
//
// [Parse] turns the verified bytes of one request into an [Event]: what the
// envelope says, and for a contact event the [contact.Fact] that the mirror
// folds. What can't be understood is an [InvalidError] that names the field;
// nothing is filled in. The same bytes always give the same event, so the sync
// worker reads the stored body again, with [ParseStored], rather than trust a
// second copy. Only who takes a delivery holds its Timestamp against a clock.
//
// [Redact] takes the values out of a body, and leaves an event that can still be
// applied.
//
// The package is pure and reads every shape that SuperOffice's documentation
// shows, with its oddities. It never sees a signature: until that is checked
// only [Scanned.Tenant] may be asked, to choose the secret.
package event
