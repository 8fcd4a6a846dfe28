package simulator

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"contactmirror/internal/contact"
	"contactmirror/internal/event"
	"contactmirror/internal/pg"
)

// Oracle knows what was offered to a receiver and what that answered, and says
// whether the mirror behind it holds exactly that. The truth is the fold of the
// events that are stored, each contact's at once and from nothing: it shares the
// reading and the fold with the mirror, but neither queue, batches, nor late
// facts. The zero value is ready; several goroutines may use it at once.
type Oracle struct {
	// Tenants are all that is judged; nil judges the whole database.
	Tenants []string

	mu     sync.Mutex
	events map[eventKey]*offered
	// refused is the bodies that are no events and were answered 200.
	refused map[string]bool
}

// eventKey is the dedupe key.
type eventKey struct {
	tenant, id, name string
	primaryKey       int64
}

func (k eventKey) String() string {
	return fmt.Sprintf("%s %d of %q, EventId %s", k.name, k.primaryKey, k.tenant, k.id)
}

type offered struct {
	bodies [][]byte // several where a duplicate had other bytes
	kept   bool
}

// Offered notes that body is about to be delivered. Kept is whether it was then
// answered 200; an offer that failed may be stored all the same.
func (o *Oracle) Offered(body []byte) { o.note(body, false) }

// Kept notes that a delivery of body was answered 200.
func (o *Oracle) Kept(body []byte) { o.note(body, true) }

func (o *Oracle) note(body []byte, kept bool) {
	e, err := event.Parse(body, time.Now())
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil || e.ID == nil || e.PrimaryKey == nil {
		if o.refused == nil {
			o.refused = map[string]bool{}
		}
		o.refused[string(body)] = o.refused[string(body)] || kept
		return
	}
	if o.events == nil {
		o.events = map[eventKey]*offered{}
	}
	key := eventKey{e.Tenant, e.ID.String(), e.Name, *e.PrimaryKey}
	known := o.events[key]
	if known == nil {
		known = &offered{}
		o.events[key] = known
	}
	if !slices.ContainsFunc(known.bodies, func(b []byte) bool { return bytes.Equal(b, body) }) {
		known.bodies = append(known.bodies, body)
	}
	known.kept = known.kept || kept
}

// Verdict is what an [Oracle] found. All but Events are 0 in a good mirror.
type Verdict struct {
	Events   int `json:"events"`   // stored
	Lost     int `json:"lost"`     // answered 200, but not stored
	Doubled  int `json:"doubled"`  // stored or applied more than once
	Invented int `json:"invented"` // stored, but never offered with these bytes
	Wrong    int `json:"wrong"`    // contacts, tombstones and audit rows that differ from the truth
	Open     int `json:"open"`     // stored, and neither applied nor set aside
	// Differences describes them, up to a hundred.
	Differences []string `json:"differences"`
}

// Good reports whether the mirror holds exactly what it should.
func (v *Verdict) Good() bool { return v.Count() == 0 }

// Count is the number of differences.
func (v *Verdict) Count() int { return v.Lost + v.Doubled + v.Invented + v.Wrong + v.Open }

func (v *Verdict) differ(n *int, format string, args ...any) {
	*n++
	if len(v.Differences) < 100 {
		v.Differences = append(v.Differences, fmt.Sprintf(format, args...))
	}
}

// Judge compares the mirror in db with what was offered. Its queue should be
// empty, and the database holds, of the tenants judged, nothing but what this
// oracle has seen.
func (o *Oracle) Judge(ctx context.Context, db pg.DB) (*Verdict, error) {
	found, err := readMirror(ctx, db, o.Tenants)
	if err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	v := &Verdict{Events: len(found.events)}
	truth := o.judgeEvents(v, found)
	judgeAudit(v, found)
	judgeContacts(v, found, truth)
	return v, nil
}

// judgeEvents compares what is stored with what was offered, and returns the
// facts of each contact that should have been applied.
func (o *Oracle) judgeEvents(v *Verdict, found *mirrored) map[contact.Key][]contact.Fact {
	truth := map[contact.Key][]contact.Fact{}
	stored := map[eventKey]bool{}
	for _, e := range found.events {
		known := o.events[e.key]
		switch {
		case stored[e.key]:
			v.differ(&v.Doubled, "doubled: stored twice: %s", e.key)
			continue
		case known == nil:
			v.differ(&v.Invented, "invented: %s", e.key)
			continue
		case !slices.ContainsFunc(known.bodies, func(b []byte) bool { return bytes.Equal(b, e.body) }):
			v.differ(&v.Invented, "invented: the stored bytes of %s were never offered", e.key)
		}
		stored[e.key] = true
		if parsed, err := event.ParseStored(e.body, time.Time{}); err == nil && parsed.Contact != nil && !found.aside[e.seq] {
			truth[parsed.Contact.Key] = append(truth[parsed.Contact.Key], parsed.Contact.Fact)
		}
	}
	for key, known := range o.events {
		if known.kept && !stored[key] && !slices.ContainsFunc(known.bodies, found.quarantined) {
			v.differ(&v.Lost, "lost: %s", key)
		}
	}
	for body, kept := range o.refused {
		if kept && !found.quarantined([]byte(body)) && !found.bodies[body] {
			v.differ(&v.Lost, "lost: %.200s", body)
		}
	}
	return truth
}

func judgeAudit(v *Verdict, found *mirrored) {
	for _, e := range found.events {
		rows := found.audit[e.seq]
		delete(found.audit, e.seq)
		applied := !e.ignored && !found.aside[e.seq]
		switch {
		case len(rows) > 1 || len(rows) == 1 && !applied:
			v.differ(&v.Doubled, "doubled: %d outcomes of %s", len(rows)+1, e.key)
		case len(rows) == 0 && applied:
			v.differ(&v.Open, "open: no outcome of %s", e.key)
		case len(rows) == 1:
			if want := auditTruth(e); rows[0] != want {
				v.differ(&v.Wrong, "wrong: audit row of %s:\n got %s\nwant %s", e.key, rows[0], want)
			}
		}
	}
	for seq, rows := range found.audit {
		v.differ(&v.Invented, "invented: audit row of an event %d that is not stored: %s", seq, rows[0])
	}
}

// auditTruth is what the audit row of e should say, as auditRows reads it.
func auditTruth(e storedEvent) string {
	parsed, err := event.ParseStored(e.body, time.Time{})
	if err != nil || parsed.Contact == nil {
		return "no contact event"
	}
	c := parsed.Contact
	return strings.Join([]string{
		c.Key.Tenant, strconv.FormatInt(c.Key.ID, 10), parsed.Name, parsed.ID.String(),
		strconv.FormatInt(int64(*parsed.Occurred), 10), strings.Join(c.Changes, ","), number(c.Fact.ChangedBy),
		strconv.FormatBool(c.Fact.Order.Kind == contact.Deleted),
	}, " | ")
}

func judgeContacts(v *Verdict, found *mirrored, truth map[contact.Key][]contact.Fact) {
	for _, key := range slices.SortedFunc(maps.Keys(truth), compareKeys) {
		var want contact.State
		want.Merge(truth[key], nil)
		row, tombstone := "", ""
		switch want.Life {
		case contact.Live:
			row = rowTruth(&want)
		case contact.Gone:
			tombstone = fmt.Sprint(int64(want.Last.Ticks), " ", want.Last.ID)
		}
		if got := found.contacts[key]; got != row {
			v.differ(&v.Wrong, "wrong: contact %d of %q: %s", key.ID, key.Tenant, rowDifference(got, row))
		}
		if got := found.tombstones[key]; got != tombstone {
			v.differ(&v.Wrong, "wrong: tombstone %d of %q: got %q, want %q", key.ID, key.Tenant, got, tombstone)
		}
	}
	for _, rows := range []map[contact.Key]string{found.contacts, found.tombstones} {
		for key := range maps.Keys(rows) {
			if truth[key] == nil {
				v.differ(&v.Invented, "invented: contact %d of %q: %s", key.ID, key.Tenant, strings.ReplaceAll(rows[key], cellEnd, " "))
			}
		}
	}
}

func compareKeys(a, b contact.Key) int {
	return cmp.Or(strings.Compare(a.Tenant, b.Tenant), cmp.Compare(a.ID, b.ID))
}

// cellEnd parts the cells of a row as text.
const cellEnd = "\x1f"

// rowDifference says where got, the row of a contact as text, is not as it
// should be.
func rowDifference(got, want string) string {
	switch {
	case got == "":
		return "there is no row, and there should be one"
	case want == "":
		return "there is a row, and there should be none"
	}
	gotCells, wantCells := strings.Split(got, cellEnd), strings.Split(want, cellEnd)
	var different []string
	for i := range min(len(gotCells), len(wantCells)) {
		if name, value, _ := strings.Cut(wantCells[i], "="); gotCells[i] != wantCells[i] {
			different = append(different, fmt.Sprintf("%s is %s, want %s", name, strings.TrimPrefix(gotCells[i], name+"="), value))
		}
	}
	return strings.Join(different, "; ")
}

// rowTruth is what the row of a live contact should say, as rowQuery reads it.
func rowTruth(s *contact.State) string {
	var cells []string
	for i, spec := range contact.Columns[1:] {
		cells = append(cells, spec.Name+"="+valueText(spec.Type, s.Row.Values[i+1]))
	}
	since := "NULL"
	if s.Row.SoftDeleted {
		since = strconv.FormatInt(s.Row.SoftDeletedAt, 10)
	}
	pending := s.Row.Pending.Names()
	slices.Sort(pending)
	return strings.Join(append(cells,
		"soft_deleted="+strconv.FormatBool(s.Row.SoftDeleted), "soft_deleted_at="+since,
		"pending="+strings.Join(pending, ","),
		"last_event="+s.Last.Kind.String(), "last_event_id="+s.Last.ID.String(),
		"last_event_at="+strconv.FormatInt(s.Last.Ticks.Micros(), 10), "last_changed_by="+number(s.ChangedBy),
	), cellEnd)
}

func valueText(t contact.Type, value contact.Value) string {
	switch {
	case value.IsNull():
		return "NULL"
	case t == contact.Text:
		return value.Text()
	case t == contact.Boolean:
		return strconv.FormatBool(value.Bool())
	case t == contact.Timestamptz || t == contact.Timestamp:
		return strconv.FormatInt(value.Time().UnixMicro(), 10)
	}
	return strconv.FormatInt(value.Int(), 10)
}

func number(n *int64) string {
	if n == nil {
		return "NULL"
	}
	return strconv.FormatInt(*n, 10)
}

// mirrored is what a mirror holds.
type mirrored struct {
	tenants    []string // nil: of everybody
	events     []storedEvent
	bodies     map[string]bool // of the events without a key
	refused    map[string]bool // the bodies in quarantine
	aside      map[int64]bool  // the events in quarantine
	audit      map[int64][]string
	contacts   map[contact.Key]string
	tombstones map[contact.Key]string
}

func (m *mirrored) quarantined(body []byte) bool { return m.refused[string(body)] }

type storedEvent struct {
	key     eventKey
	seq     int64
	body    []byte
	ignored bool
}

func readMirror(ctx context.Context, db pg.DB, tenants []string) (*mirrored, error) {
	m := &mirrored{
		tenants: tenants,
		bodies:  map[string]bool{}, refused: map[string]bool{}, aside: map[int64]bool{}, audit: map[int64][]string{},
		contacts: map[contact.Key]string{}, tombstones: map[contact.Key]string{},
	}
	for _, read := range []func(context.Context, pg.DB) error{
		m.readEvents, m.readQuarantine, m.readAudit, m.readContacts, m.readTombstones,
	} {
		if err := read(ctx, db); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// judged restricts a query to the tenants that are judged.
const judged = "($1::text[] is null or context_identifier = any($1::text[]))"

// each runs a query for tenants and calls f for each row, scanned into targets.
func each(ctx context.Context, db pg.DB, tenants []string, query string, f func(), targets ...any) error {
	rows, err := db.Query(ctx, query, tenants)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		f()
	}
	return rows.Err()
}

func (m *mirrored) readEvents(ctx context.Context, db pg.DB) error {
	var (
		e  storedEvent
		id *string
		pk *int64
	)
	return each(ctx, db, m.tenants, `select e.event_seq, e.context_identifier, e.event_id::text, e.event, e.primary_key, e.ignored, b.body
		from webhook_events e left join webhook_bodies b using (event_seq) where `+judged+` order by event_seq`, func() {
		e.body = slices.Clone(e.body)
		if id == nil || pk == nil {
			m.bodies[string(e.body)] = true
			return
		}
		e.key.id, e.key.primaryKey = *id, *pk
		m.events = append(m.events, e)
	}, &e.seq, &e.key.tenant, &id, &e.key.name, &pk, &e.ignored, &e.body)
}

func (m *mirrored) readQuarantine(ctx context.Context, db pg.DB) error {
	var (
		seq  *int64
		open bool
		body []byte
	)
	return each(ctx, db, m.tenants, `select event_seq, resolution is distinct from 'retried', body from quarantined_deliveries
		where context_identifier is null or `+judged, func() {
		if body != nil && seq == nil {
			m.refused[string(body)] = true
		}
		if seq != nil && open {
			m.aside[*seq] = true
		}
	}, &seq, &open, &body)
}

func (m *mirrored) readAudit(ctx context.Context, db pg.DB) error {
	var (
		seq int64
		row string
	)
	return each(ctx, db, m.tenants, `select event_seq, concat_ws(' | ', context_identifier, contact_id, event, event_id, occurred_ticks,
		array_to_string(changed_columns, ','), coalesce(changed_by_associate_id::text, 'NULL'), case when hard_deleted then 'true' else 'false' end)
		from contact_audit_log where origin = 'webhook' and `+judged, func() {
		m.audit[seq] = append(m.audit[seq], row)
	}, &seq, &row)
}

func (m *mirrored) readContacts(ctx context.Context, db pg.DB) error {
	var (
		key contact.Key
		row string
	)
	return each(ctx, db, m.tenants, rowQuery(), func() {
		m.contacts[key] = row
	}, &key.Tenant, &key.ID, &row)
}

// rowQuery reads contacts as text, instants in microseconds.
func rowQuery() string {
	micros := func(column string) string { return "(extract(epoch from " + column + ") * 1000000)::bigint" }
	var cells []string
	for _, spec := range contact.Columns[1:] {
		column := spec.Name
		switch spec.Type {
		case contact.Timestamptz, contact.Timestamp:
			column = micros(column)
		case contact.Bigint, contact.Integer, contact.Boolean, contact.Text:
		}
		cells = append(cells, fmt.Sprintf("'%s=' || coalesce((%s)::text, 'NULL')", spec.Name, column))
	}
	cells = append(cells,
		"'soft_deleted=' || soft_deleted::text",
		"'soft_deleted_at=' || coalesce("+micros("soft_deleted_at")+"::text, 'NULL')",
		"'pending=' || array_to_string(array(select unnest(pending_columns) collate \"C\" order by 1), ',')",
		"'last_event=' || last_event", "'last_event_id=' || last_event_id::text",
		"'last_event_at=' || "+micros("last_event_at")+"::text",
		"'last_changed_by=' || coalesce(last_changed_by_associate_id::text, 'NULL')",
	)
	return "select context_identifier, contact_id, concat_ws(chr(31), " + strings.Join(cells, ", ") + ") from contacts where " + judged
}

func (m *mirrored) readTombstones(ctx context.Context, db pg.DB) error {
	var (
		key   contact.Key
		ticks int64
		id    string
	)
	return each(ctx, db, m.tenants, `select context_identifier, contact_id, occurred_ticks, event_id::text from contact_tombstones where `+judged, func() {
		m.tombstones[key] = fmt.Sprint(ticks, " ", id)
	}, &key.Tenant, &key.ID, &ticks, &id)
}
