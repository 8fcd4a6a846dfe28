package simulator

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Lives makes the deliveries of random contact lives, in the order in which
// their events happen: contacts are created, changed, put into the recycle bin,
// restored, and deleted for good. The same seed and mix make the same lives.
type Lives struct {
	// Mix says what the lives are made of; nil leaves it to chance, and imports
	// nothing. It is to be set before the first event.
	Mix *Mix

	random   *rand.Rand
	tenants  []string
	contacts []*life
	// room is how many contacts live at a time.
	room  int
	clock time.Time
	next  int64
	last  *life // whose event was the last
	// importing is how many contacts the mass import under way has still to create,
	// and importer is whose it is.
	importing int
	importer  string
}

// Mix is what lives are made of, in percent but for Burst.
type Mix struct {
	Ties float64 // of events: at exactly the time of the contact's last one
	V10  float64 // of contacts: without FieldValues, as before SuperOffice 11
	// Burst is how many contacts a mass import creates in a row, about every fifth
	// of all events; 0 for none.
	Burst int
}

// life is one contact as the source knows it.
type life struct {
	tenant      string
	id          int64
	v11         bool // SuperOffice 11 and later send values
	created     time.Time
	values      map[string]any
	softDeleted bool
	unborn      bool
	lastTick    int64
	lastID      string
	lastIDKinds []string
}

// NewLives makes lives of the given tenants, room contacts at a time, that begin
// at start.
func NewLives(seed uint64, tenants []string, room int, start time.Time) *Lives {
	return &Lives{random: rand.New(rand.NewPCG(seed, 0)), tenants: tenants, room: room, clock: start}
}

// Next is the body of the next event's delivery.
func (l *Lives) Next() []byte {
	if l.imports() {
		return l.event(l.imported(), "contact.created")
	}
	l.clock = l.clock.Add(time.Duration(l.random.Int64N(int64(3 * time.Second))))
	i := l.random.IntN(l.room)
	for i >= len(l.contacts) {
		l.contacts = append(l.contacts, l.born())
	}
	c := l.contacts[i]
	kind := l.choose(c)
	body := l.event(c, kind)
	if kind == "contact.deleted" && l.random.IntN(4) > 0 {
		l.contacts[i] = l.born() // of the others the source goes on to speak
	}
	return body
}

// imports reports whether the next event is part of a mass import, which may
// begin with it.
func (l *Lives) imports() bool {
	if l.Mix == nil || l.Mix.Burst == 0 {
		return false
	}
	if l.importing == 0 && l.random.IntN(4*l.Mix.Burst) == 0 {
		l.importing, l.importer = l.Mix.Burst, l.tenants[l.random.IntN(len(l.tenants))]
	}
	return l.importing > 0
}

// imported is the next contact of the import under way. Of one that it takes the
// place of nothing more is heard.
func (l *Lives) imported() *life {
	l.importing--
	l.clock = l.clock.Add(time.Duration(l.random.Int64N(int64(20 * time.Millisecond))))
	c := l.born()
	c.tenant = l.importer
	if len(l.contacts) < l.room {
		l.contacts = append(l.contacts, c)
	} else {
		l.contacts[l.random.IntN(l.room)] = c
	}
	return c
}

func (l *Lives) born() *life {
	l.next++
	return &life{
		tenant: l.tenants[l.random.IntN(len(l.tenants))], id: l.next, v11: l.valued(),
		created: l.clock, unborn: true,
		values: map[string]any{
			"activeInterests": 0, "associate_id": l.small(), "business_idx": l.small(), "category_idx": l.small(),
			"country_id": l.small(), "deleted": 0, "DeletedDate": l.notSet(), "registered": l.clock.Format("2006-01-02T15:04:05"),
			"registered_associate_id": l.small(), "source": 0, "updated": nil, "userdef2_id": 0, "userdef_id": l.small(),
		},
	}
}

// valued draws whether a contact's events have values.
func (l *Lives) valued() bool {
	if l.Mix == nil {
		return l.random.IntN(3) > 0
	}
	return !chance(l.random, l.Mix.V10)
}

// tied draws whether an event happens at the time of its contact's last one.
func (l *Lives) tied() bool {
	if l.Mix == nil {
		return l.random.IntN(8) == 0
	}
	return chance(l.random, l.Mix.Ties)
}

// chance is true in so many percent of draws.
func chance(random *rand.Rand, percent float64) bool { return random.Float64()*100 < percent }

func (l *Lives) small() int { return l.random.IntN(40) }

// choose draws what happens to c next.
func (l *Lives) choose(c *life) string {
	if c.unborn && l.random.IntN(20) > 0 { // some were created before the hook was
		return "contact.created"
	}
	switch n := l.random.IntN(20); {
	case n == 0:
		return "contact.deleted"
	case n < 4 && !c.softDeleted:
		return "contact.softdeleted"
	}
	return "contact.changed"
}

// updatable are the columns that a change may touch; the first few have values
// in version 11, the others never do.
var updatable = []string{
	"associate_id", "business_idx", "category_idx", "country_id", "activeInterests",
	"name", "department", "orgNr", "number1", "soundEx", "xstop",
}

func (l *Lives) event(c *life, kind string) []byte {
	l.last = c
	changes := []string{"contact_id"}
	switch kind {
	case "contact.created":
		changes = append(changes, updatable...)
	case "contact.changed":
		changes = append(changes, l.change(c)...)
	case "contact.softdeleted":
		c.softDeleted = true
		c.values["deleted"], c.values["DeletedDate"] = 1, l.clock.Format("2006-01-02T15:04:05.9999999")
		changes = append(changes, "deleted", "DeletedDate")
	case "contact.deleted":
		changes = []string{}
	}
	if kind != "contact.deleted" {
		changes = append(changes, "updated", "updated_associate_id")
		c.values["updated"] = l.clock.Format("2006-01-02T15:04:05.9999999-07:00")
	}
	by := l.small()
	event := map[string]any{
		"EventId": l.id(c, kind), "Timestamp": l.timestamp(c), "Changes": changes, "Event": kind, "PrimaryKey": c.id,
		"Entity": "contact", "ContextIdentifier": c.tenant, "ChangedByAssociateId": by, "WebhookName": "contact mirror",
	}
	switch {
	case kind == "contact.deleted":
		event["Values"] = map[string]any{"associate_id": c.values["associate_id"], "contact_id": c.id}
	case c.v11:
		event["FieldValues"] = c.values
	}
	c.unborn = false
	body, err := json.Marshal(event)
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	return body
}

// change draws what a contact.changed changes.
func (l *Lives) change(c *life) (changed []string) {
	if c.softDeleted && l.random.IntN(2) == 0 {
		c.softDeleted = false
		c.values["deleted"], c.values["DeletedDate"] = 0, l.notSet()
		return []string{"deleted", "DeletedDate"}
	}
	for range 1 + l.random.IntN(3) {
		name := updatable[l.random.IntN(len(updatable))]
		if _, valued := c.values[name]; valued {
			c.values[name] = l.small()
		}
		changed = append(changed, name)
	}
	return changed
}

// notSet is a spelling of a date that is not set: mostly .NET's
// DateTime.MinValue, at times what a conversion between zones makes of it, or
// the database's own. It follows from the clock and draws nothing, so that a
// seed still stands for the same lives.
func (l *Lives) notSet() string {
	spellings := [...]string{
		"0001-01-01T08:00:00Z", "0001-01-01T02:00:00+02:00", "0001-01-01T00:00:00+01:00", "[DT:01/01/0001 00:00:00]",
		"1760-01-01T00:00:00", "1759-12-31T23:00:00Z", "[DT:01/01/1760 00:00:00.0000000]",
	}
	if i := l.clock.Nanosecond() / 1000 % (4 * len(spellings)); i < len(spellings) {
		return spellings[i]
	}
	return "0001-01-01T00:00:00"
}

// id is a new EventId, or at times the last event's, as in SuperOffice's
// samples; but never that of an event of the same kind, which would be the same
// event.
func (l *Lives) id(c *life, kind string) string {
	if c.lastID == "" || l.random.IntN(10) > 0 || slices.Contains(c.lastIDKinds, kind) {
		c.lastID = guid(l.random)
		c.lastIDKinds = nil
	}
	c.lastIDKinds = append(c.lastIDKinds, kind)
	return c.lastID
}

func guid(random *rand.Rand) string {
	a, b := random.Uint64(), random.Uint64()
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&0xffffffffffff)
}

// timestamp is the clock with a seventh digit, or at times exactly the time of
// the contact's last event.
func (l *Lives) timestamp(c *life) string {
	if c.lastTick == 0 || !l.tied() {
		c.lastTick = l.clock.UnixNano()/100 + 1 + l.random.Int64N(9)
	}
	return time.Unix(0, c.lastTick*100).UTC().Format("2006-01-02T15:04:05.9999999Z")
}
