package bench

import (
	"encoding/binary"
	"hash/fnv"
	"strconv"
	"time"

	"contactmirror/internal/contact"
)

// Traffic is the events of contacts of one tenant, each contact's in order:
// created, then changed over and over, now and then put into the recycle bin and
// taken out again. They have the shape and the size of SuperOffice's own
// samples of version 11. The same event always has the same bytes.
type Traffic struct {
	// Tenant is the ContextIdentifier.
	Tenant string
	// Start is when the first event happens.
	Start time.Time
	// First is the id of the first contact, less one.
	First int64
}

// Event is one event of a [Traffic].
type Event struct {
	// Contact is the place of its contact, from 1.
	Contact int64
	// Number is its place among the contact's events, from 0.
	Number int
}

// Pace is the time between two events of a contact, at the source.
const Pace = time.Minute

// every is how many events of a contact make a round: the last but one of them
// puts it into the recycle bin, and the last takes it out.
const every = 16

// Ticks is when e happens.
func (t *Traffic) Ticks(e Event) contact.Ticks {
	return contact.TicksOf(t.Start.Add(time.Duration(e.Number)*Pace)) + contact.Ticks(e.Contact%1_000_000)
}

// Key is the contact of e.
func (t *Traffic) Key(e Event) contact.Key {
	return contact.Key{Tenant: t.Tenant, ID: t.First + e.Contact}
}

// Kind is what happens in e.
func (t *Traffic) Kind(e Event) contact.Kind {
	switch {
	case e.Number == 0:
		return contact.Created
	case e.Number%every == every-2:
		return contact.SoftDeleted
	}
	return contact.Changed
}

// ID is e's EventId: of its key and number, so that no other event has it.
func (t *Traffic) ID(e Event) contact.EventID {
	hash := fnv.New128a()
	_, _ = hash.Write([]byte(t.Tenant)) // never fails
	var place [16]byte
	binary.BigEndian.PutUint64(place[:], uint64(t.First+e.Contact))
	binary.BigEndian.PutUint64(place[8:], uint64(e.Number))
	_, _ = hash.Write(place[:])
	return contact.EventID(hash.Sum(nil))
}

const (
	allChanges = `"contact_id","name","department","number1","number2","associate_id","country_id","business_idx","category_idx",` +
		`"xstop","nomailing","registered","registered_associate_id","updated","updated_associate_id","text_id","userdef_id","orgNr",` +
		`"soundEx","source","userdef2_id","activeInterests","updatedCount","group_id"`
	someChanges   = `"contact_id","updated_associate_id","soundEx","updated","name","category_idx"`
	binnedChanges = `"contact_id","deleted","DeletedDate","updated","updated_associate_id"`
)

// AppendBody appends the body of e's delivery to b.
func (t *Traffic) AppendBody(b []byte, e Event) []byte {
	key, kind, at := t.Key(e), t.Kind(e), t.Ticks(e)
	changes := someChanges
	switch {
	case kind == contact.Created:
		changes = allChanges
	case kind == contact.SoftDeleted || e.Number%every == every-1 && e.Number > 0:
		changes = binnedChanges
	}
	deleted, date := "0", "0001-01-01T00:00:00"
	if kind == contact.SoftDeleted {
		deleted, date = "1", string(at.Time().AppendFormat(nil, "2006-01-02T15:04:05.000000"))
	}
	id := key.ID
	b = append(b, `{"EventId":"`...)
	b = append(b, t.ID(e).String()...)
	b = append(b, `","Timestamp":"`...)
	b = appendTime(b, at)
	b = append(append(append(b, `Z","Changes":[`...), changes...), `],"Event":"`...)
	b = append(append(b, kind.String()...), `","PrimaryKey":`...)
	b = strconv.AppendInt(b, id, 10)
	b = append(append(append(b, `,"Entity":"contact","ContextIdentifier":"`...), t.Tenant...), `","ChangedByAssociateId":`...)
	b = strconv.AppendInt(b, id%97, 10)
	b = append(b, `,"WebhookName":"contact mirror","FieldValues":{"activeInterests":`...)
	b = strconv.AppendInt(b, int64(e.Number)%5, 10)
	b = append(b, `,"associate_id":`...)
	b = strconv.AppendInt(b, id%97, 10)
	b = append(b, `,"business_idx":`...)
	b = strconv.AppendInt(b, id%11, 10)
	b = append(b, `,"category_idx":`...)
	b = strconv.AppendInt(b, int64(e.Number)%7, 10)
	b = append(b, `,"country_id":578,"deleted":`...)
	b = append(append(append(append(b, deleted...), `,"DeletedDate":"`...), date...), `","registered":"`...)
	b = append(t.Start.AppendFormat(b, "2006-01-02T15:04:05"), `","registered_associate_id":5,"source":0,"updated":"`...)
	b = append(appendTime(b, at), `Z","userdef2_id":0,"userdef_id":`...)
	return append(strconv.AppendInt(b, id, 10), `}}`...)
}

// appendTime appends at with seven digits behind the seconds.
func appendTime(b []byte, at contact.Ticks) []byte {
	b = at.Time().AppendFormat(b, "2006-01-02T15:04:05.000000")
	return append(b, byte('0'+at%10))
}
