package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Dials say what is delivered, and what goes wrong on the way. Percentages are
// of events; what they ask for comes on top of the events themselves, which are
// the same whatever else is dialled.
type Dials struct {
	Seed    uint64
	Tenants []string
	// Contacts is how many live at a time.
	Contacts int
	// Events is how many happen; 0 stands for no end.
	Events int
	// Start is when the first event happens. Each of the others follows within
	// [Pace] of the one before.
	Start time.Time
	Mix   Mix

	Duplicates float64 // percent delivered again
	Reorder    float64 // percent that later events overtake
	// Span is how many events at most overtake one, or happen before another's
	// duplicate comes; 0 stands for 1.
	Span      int
	Tampered  float64 // percent of which an altered copy comes too
	Malformed float64 // percent of which a copy comes that is no event
	// Delay is how long at most a delivery is held back.
	Delay time.Duration
}

// Pace is how much time at most lies between two events.
const Pace = 3 * time.Second

// Kind is what a delivery is for a receiver.
type Kind int

// The kinds of deliveries.
const (
	Genuine   Kind = iota // an event, for the first time
	Duplicate             // an event's bytes again
	Tampered              // altered after it was signed
	Malformed             // signed, but no event
)

// Delivery is one that is to be made.
type Delivery struct {
	Kind   Kind
	Tenant string
	Body   []byte
	// Signed is what the signature is of: Body, unless it was tampered with.
	Signed []byte
	// Delay is how long to hold the delivery back.
	Delay time.Duration
	// Burst marks an event of a mass import, which come as fast as they can.
	Burst bool
}

// Plan is what is delivered, in order. The same dials make the same plan, byte
// for byte.
type Plan struct {
	dials  Dials
	lives  *Lives
	random *rand.Rand // for all but the lives
	events int
	held   []heldBack // by due
}

// heldBack is a delivery that waits until so many events have happened.
type heldBack struct {
	due int
	Delivery
}

// NewPlan makes the plan that dials describe.
func NewPlan(dials Dials) *Plan {
	lives := NewLives(dials.Seed, dials.Tenants, dials.Contacts, dials.Start.UTC())
	lives.Mix = &dials.Mix
	dials.Span = max(dials.Span, 1)
	return &Plan{dials: dials, lives: lives, random: rand.New(rand.NewPCG(dials.Seed, 1))}
}

// Events is how many events have happened so far.
func (p *Plan) Events() int { return p.events }

// Contacts is how many contacts have lived so far.
func (p *Plan) Contacts() int { return int(p.lives.next) }

// Next is the next delivery; ok is false after the last.
func (p *Plan) Next() (d Delivery, ok bool) {
	for (len(p.held) == 0 || p.held[0].due > p.events) && !p.over() {
		p.happen()
	}
	if len(p.held) == 0 {
		return Delivery{}, false
	}
	d = p.held[0].Delivery
	p.held = slices.Delete(p.held, 0, 1)
	return d, true
}

// over reports whether nothing more happens.
func (p *Plan) over() bool { return p.dials.Events > 0 && p.events == p.dials.Events }

// happen lets the next event happen, and holds its deliveries.
func (p *Plan) happen() {
	body := p.lives.Next()
	p.events++
	d := Delivery{Tenant: p.lives.last.tenant, Body: body, Signed: body, Burst: p.lives.importing > 0}
	if chance(p.random, p.dials.Reorder) {
		p.hold(d, p.overtaken())
	} else {
		p.hold(d, 0)
	}
	if chance(p.random, p.dials.Duplicates) {
		again := d
		again.Kind = Duplicate
		p.hold(again, p.overtaken())
	}
	if chance(p.random, p.dials.Tampered) {
		altered := d
		altered.Kind, altered.Body = Tampered, p.alter(body, func(map[string]any) {})
		p.hold(altered, p.overtaken())
	}
	if chance(p.random, p.dials.Malformed) {
		broken := d
		broken.Kind, broken.Body = Malformed, p.malform(body)
		broken.Signed = broken.Body
		p.hold(broken, p.overtaken())
	}
}

func (p *Plan) overtaken() int { return 1 + p.random.IntN(p.dials.Span) }

// hold keeps d until so many other events have happened.
func (p *Plan) hold(d Delivery, others int) {
	if p.dials.Delay > 0 {
		d.Delay = time.Duration(p.random.Int64N(int64(p.dials.Delay)))
	}
	h := heldBack{p.events + others, d}
	at, _ := slices.BinarySearchFunc(p.held, h.due+1, func(h heldBack, due int) int { return h.due - due })
	p.held = slices.Insert(p.held, at, h)
}

// alter is a copy of an event that would be another event, changed by change.
func (p *Plan) alter(body []byte, change func(map[string]any)) []byte {
	var event map[string]any
	if err := json.Unmarshal(body, &event); err != nil {
		panic(err) // lives are well-formed
	}
	event["EventId"] = guid(p.random)
	change(event)
	altered, err := json.Marshal(event)
	if err != nil {
		panic(err) // it came from JSON
	}
	return altered
}

// malform is a copy of an event with something wrong about it.
func (p *Plan) malform(body []byte) []byte {
	wrong := []struct {
		key   string
		value any // nil: none
	}{
		{"PrimaryKey", nil},
		{"PrimaryKey", 0},
		{"Timestamp", nil},
		{"Timestamp", "yesterday"},
		{"Timestamp", "9000-01-01T00:00:00Z"}, // would win every fold
		{"EventId", "one of ours"},
		{"Changes", 7},
		{"WebhookName", "nothing\x00after"},
	}
	n := p.random.IntN(len(wrong) + 2)
	if n >= len(wrong) {
		copied := p.alter(body, func(map[string]any) {})
		if n == len(wrong) {
			return copied[:len(copied)-1-p.random.IntN(len(copied)/2)]
		}
		return fmt.Appendf(bytes.TrimSuffix(copied, []byte("}")), `,"PrimaryKey":%d}`, p.random.IntN(100))
	}
	return p.alter(body, func(event map[string]any) {
		event[wrong[n].key] = wrong[n].value
		if wrong[n].value == nil {
			delete(event, wrong[n].key)
		}
	})
}
