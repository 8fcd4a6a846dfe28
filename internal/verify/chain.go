package verify

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

// Chain is what was found of the chains.
type Chain struct {
	// Rows is the number of rows in the log. Of these, Unkeyed are linked without a
	// key, Keyed with the key given, and OtherKey with one that was not given; the
	// links of those could not be checked.
	Rows     int64 `json:"rows"`
	Unkeyed  int64 `json:"linked_without_a_key"`
	Keyed    int64 `json:"linked_with_the_key"`
	OtherKey int64 `json:"linked_with_another_key"`
	// Erased rows hold without their values.
	Erased int64 `json:"erased"`
	// Breaks is the first break of each shard, and what exported heads and the
	// key say besides.
	Breaks []Break `json:"breaks"`
}

// How a chain breaks.
const (
	Altered  = "altered"
	Missing  = "missing"
	Inserted = "inserted"
	// CutOff and Rewritten are found by heads exported earlier.
	CutOff    = "cut off"
	Rewritten = "rewritten"
	// Unsealed chains end in neither a link nor a seal of the key given.
	Unsealed = "unsealed"
)

// Break is the first place where a shard's chain does not hold.
type Break struct {
	// Shard is nil where it is the same with every shard.
	Shard *int16 `json:"shard"`
	What  string `json:"what"`
	// Row is the row at fault; nil where it is missing, or no single one is.
	Row    *Ref   `json:"row"`
	Reason string `json:"reason"`
}

// Ref says which row of the log is meant.
type Ref struct {
	AuditSeq  int64  `json:"audit_seq"`
	ChainSeq  *int64 `json:"chain_seq"`
	EventSeq  *int64 `json:"event_seq"`
	Event     string `json:"event"`
	EventID   string `json:"event_id"`
	Tenant    string `json:"context_identifier"`
	ContactID int64  `json:"contact_id"`
}

// String is the break on one line, for people.
func (b Break) String() string {
	line := "chains of all shards: " + b.What + ": "
	if b.Shard != nil {
		line = fmt.Sprintf("chain of shard %d: %s: ", *b.Shard, b.What)
	}
	if r := b.Row; r != nil {
		line += fmt.Sprintf("row %d, %s %s of contact %d of tenant %q: ", r.AuditSeq, r.Event, r.EventID, r.ContactID, r.Tenant)
	}
	return line + b.Reason
}

var chainStmt = pg.NewStream[pg.NoArgs](sql.VerifyChain, (*logRow).targets)

// logRow is a row of verify_chain. It is read, and put together for the chain,
// without audit.Row, by which the log is written: so a mistake there is found here.
type logRow struct {
	auditSeq                           int64
	chainSeq                           *int64
	link, salt, commitment             []byte
	eventSeq                           *int64
	shard                              int16
	tenant                             string
	contactID                          int64
	event                              string
	eventID                            [16]byte
	occurredAt, receivedAt, recordedAt pgtype.Timestamptz
	occurredTicks                      int64
	changedColumns, unreadableColumns  list
	noticedColumns                     list
	irregular                          bool
	fieldValues, idValues, lastKnown   []byte
	givenColumns                       int64
	softDeleted                        *bool
	hardDeleted                        bool
	outcome                            *string
	effect                             string
	changedBy                          *int64
	webhookName                        *string
	origin                             string
	plainLists                         bool
	erased                             bool // by what the row says of itself
	erasedColumns                      list
}

func (r *logRow) targets() []any {
	return []any{
		&r.auditSeq, &r.chainSeq, &r.link, &r.salt, &r.commitment,
		&r.eventSeq, &r.shard, &r.tenant, &r.contactID, &r.event, &r.eventID, &r.occurredAt, &r.occurredTicks,
		&r.receivedAt, &r.recordedAt, &r.changedColumns, &r.fieldValues, &r.givenColumns, &r.idValues, &r.unreadableColumns,
		&r.noticedColumns, &r.irregular,
		&r.softDeleted, &r.hardDeleted, &r.outcome, &r.effect, &r.changedBy, &r.webhookName, &r.origin, &r.lastKnown,
		&r.plainLists, &r.erased, &r.erasedColumns,
	}
}

// values writes what the commitment covers.
func (r *logRow) values(e *chain.Encoder) error {
	e.Texts(r.changedColumns)
	err := e.JSON(r.fieldValues)
	e.Int64(r.givenColumns)
	return errors.Join(err, e.JSON(r.idValues), e.JSON(r.lastKnown))
}

// names are the names under which the event gave values, whether the row still has
// the values or not. An object that can't be read has no commitment either.
func (r *logRow) names() []string {
	if r.erased {
		return r.erasedColumns
	}
	var object map[string]json.RawMessage
	_ = json.Unmarshal(r.fieldValues, &object)
	return slices.Sorted(maps.Keys(object))
}

// fields writes what the link covers.
func (r *logRow) fields(e *chain.Encoder, values chain.Commitment) {
	e.Int64(r.auditSeq)
	e.OptionalInt64(r.eventSeq)
	e.Int16(r.shard)
	e.Text(r.tenant)
	e.Int64(r.contactID)
	e.Text(r.event)
	e.UUID(r.eventID)
	e.Int64(micros(r.occurredAt))
	e.Int64(r.occurredTicks)
	e.Int64(micros(r.receivedAt))
	e.Int64(micros(r.recordedAt))
	e.Texts(r.unreadableColumns)
	e.Texts(r.noticedColumns)
	e.Bool(r.irregular)
	e.OptionalBool(r.softDeleted)
	e.Bool(r.hardDeleted)
	e.OptionalText(r.outcome)
	e.Text(r.effect)
	e.OptionalInt64(r.changedBy)
	e.OptionalText(r.webhookName)
	e.Text(r.origin)
	e.Texts(contact.OfColumns(r.changedColumns))
	e.Texts(r.names())
	e.Commitment(values)
}

func (r *logRow) ref() *Ref {
	ref := &Ref{
		AuditSeq: r.auditSeq, Event: r.event, EventID: contact.EventID(r.eventID).String(),
		Tenant: r.tenant, ContactID: r.contactID,
	}
	if r.chainSeq != nil {
		ref.ChainSeq = new(*r.chainSeq)
	}
	if r.eventSeq != nil {
		ref.EventSeq = new(*r.eventSeq)
	}
	return ref
}

// list is a column of texts, whatever has been made of it: NULLs are empty, and
// dimensions are lost. verify_chain tells of both.
type list []string

func (l *list) SetDimensions(dimensions []pgtype.ArrayDimension) error {
	n := 0
	for i, d := range dimensions {
		if i == 0 {
			n = 1
		}
		n *= int(d.Length)
	}
	*l = make(list, n)
	return nil
}

func (l list) ScanIndex(i int) any { return (*element)(&l[i]) }
func (l list) ScanIndexType() any  { return new(element) }

type element string

func (e *element) ScanText(v pgtype.Text) error {
	*e = element(v.String)
	return nil
}

// chains checks rows of the log, in the order of their numbers.
type chains struct {
	key    *chain.Key
	plain  *chain.Linker
	keyed  *chain.Linker // nil without a key
	fields chain.Encoder
	shards []*shardChain
	found  Chain
}

// shardChain is how far a shard's chain has been followed.
type shardChain struct {
	stored storedHead
	head   chain.Head
	broken bool
	// suspect is a row that does not follow head. If the shard's next row does, it
	// was inserted.
	suspect *suspect
	last    *Ref
	against *ShardHead
}

// suspect is a row at fault, with what to call it if it was not inserted.
type suspect struct {
	row, named   *Ref
	what, reason string
}

func newChains(stored []storedHead, key *chain.Key, against *Heads) *chains {
	c := &chains{key: key, plain: chain.NewLinker(nil), found: Chain{Breaks: []Break{}}}
	if key != nil {
		c.keyed = chain.NewLinker(key)
	}
	for i, head := range stored {
		s := &shardChain{stored: head}
		if against != nil {
			s.against = &against.Shards[i]
		}
		c.shards = append(c.shards, s)
	}
	return c
}

// checkChains follows all chains at once: row numbers rise along each of them.
func checkChains(ctx context.Context, tx pgx.Tx, c *chains, step func()) (Chain, error) {
	err := chainStmt.Each(ctx, tx, pg.NoArgs{}, func(r *logRow) error {
		c.row(r)
		step()
		return nil
	})
	if err != nil {
		return Chain{}, fmt.Errorf("read the log: %w", err)
	}
	return c.end(), nil
}

// micros is an instant in microseconds; that of an infinite one is none that an
// event has.
func micros(t pgtype.Timestamptz) int64 {
	if t.InfinityModifier != pgtype.Finite {
		return int64(t.InfinityModifier) << 62
	}
	return t.Time.UnixMicro()
}

func (c *chains) row(r *logRow) {
	c.found.Rows++
	if r.shard < 0 || int(r.shard) >= len(c.shards) {
		c.breaks(&shardChain{stored: storedHead{Shard: r.shard}}, Altered, r.ref(), "there is no such shard")
		return
	}
	s := c.shards[r.shard]
	if r.chainSeq == nil {
		if !s.broken { // the table's own constraint was removed
			c.breaks(s, Inserted, r.ref(), "it has no place in the chain")
		}
		return
	}
	link, ok := chain.ParseLink(r.link)
	follows := ok && c.follows(s.head, r, link)
	place, next := *r.chainSeq, s.head.Count+1
	switch ref := r.ref(); {
	case s.broken: // what comes later is only counted
	case s.suspect != nil && place == next && follows:
		c.breaks(s, Inserted, s.suspect.row, fmt.Sprintf("without it, row %d has its place and holds", r.auditSeq))
	case s.suspect != nil:
		c.breaks(s, s.suspect.what, s.suspect.named, s.suspect.reason)
	case place > s.stored.AuditCount:
		c.breaks(s, Inserted, ref, fmt.Sprintf("its place is %d, but the chain ends at %d", place, s.stored.AuditCount))
	case place < next:
		c.breaks(s, Inserted, ref, fmt.Sprintf("its place is %d, behind one at %d", place, s.head.Count))
	case place > next:
		s.suspect = &suspect{ref, nil, Missing, fmt.Sprintf("%s between row %s and row %d", places(next, place-1), s.lastSeq(), r.auditSeq)}
		return // s.head stays, for the next row
	case !follows:
		reason := "its link is not the one that its content makes"
		if before := s.head.Link.Key(); before != (chain.KeyID{}) && before != c.key.ID() {
			reason += fmt.Sprintf(", or row %s before it was, whose link names the key %s, which was not given", s.lastSeq(), before)
		}
		s.suspect = &suspect{ref, ref, Altered, reason}
		return
	}
	if s.against != nil && *r.chainSeq == s.against.Rows && hex.EncodeToString(r.link) != s.against.Head {
		c.breaks(s, Rewritten, r.ref(), "its link is not the one that was exported")
		s.against = nil // found
	}
	s.head, s.last = chain.Head{Count: *r.chainSeq, Link: link}, r.ref()
}

func (s *shardChain) lastSeq() string {
	if s.last == nil {
		return "none"
	}
	return fmt.Sprint(s.last.AuditSeq)
}

func places(from, to int64) string {
	if from == to {
		return fmt.Sprintf("place %d", from)
	}
	return fmt.Sprintf("places %d to %d", from, to)
}

// follows reports whether r follows head, as far as can be told.
func (c *chains) follows(head chain.Head, r *logRow, link chain.Link) bool {
	if *r.chainSeq != head.Count+1 && *r.chainSeq > 0 {
		head.Count = *r.chainSeq - 1 // so that only its link decides
	}
	linker := c.plain
	switch id := link.Key(); {
	case id == (chain.KeyID{}):
		c.found.Unkeyed++
	case c.key != nil && id == c.key.ID():
		linker = c.keyed
		c.found.Keyed++
	default:
		linker = nil
		c.found.OtherKey++
	}
	if !r.plainLists || r.shard != (contact.Key{Tenant: r.tenant, ID: r.contactID}).Shard() {
		return false
	}
	var values chain.Commitment
	c.fields.Reset()
	switch {
	case r.commitment == nil && r.salt != nil && !r.erased:
		if err := r.values(&c.fields); err != nil {
			return false
		}
		values = c.plain.Commit(r.salt, c.fields.Bytes())
	case r.erased && r.salt == nil && len(r.commitment) == len(values) && r.fieldValues == nil && r.idValues == nil && r.lastKnown == nil && r.givenColumns == 0 &&
		len(contact.OfColumns(r.changedColumns)) == len(r.changedColumns):
		values = chain.Commitment(r.commitment)
		c.found.Erased++
	default:
		return false
	}
	if linker == nil {
		return true
	}
	c.fields.Reset()
	r.fields(&c.fields, values)
	return linker.Next(r.shard, head, c.fields.Bytes()).Link == link
}

func (c *chains) breaks(s *shardChain, what string, row *Ref, reason string) {
	s.broken, s.suspect = true, nil
	c.found.Breaks = append(c.found.Breaks, Break{new(s.stored.Shard), what, row, reason})
}

// end checks that the chains end where they should.
func (c *chains) end() Chain {
	for _, s := range c.shards {
		stored, ok := chain.ParseLink(s.stored.AuditHead)
		switch {
		case s.suspect != nil:
			c.breaks(s, s.suspect.what, s.suspect.named, s.suspect.reason)
		case s.broken:
		case s.head.Count < s.stored.AuditCount:
			c.breaks(s, Missing, nil, fmt.Sprintf("%s at its end, behind row %s", places(s.head.Count+1, s.stored.AuditCount), s.lastSeq()))
		case !ok && s.stored.AuditHead != nil || stored != s.head.Link:
			c.breaks(s, Altered, nil, "its end in sync_shards is not the last row's link")
		}
		if s.against != nil && s.stored.AuditCount < s.against.Rows {
			c.breaks(s, CutOff, nil, fmt.Sprintf("it ends at place %d, and when its end was exported it had come to %d", s.stored.AuditCount, s.against.Rows))
		}
	}
	c.checkSeals()
	return c.found
}

// checkSeals checks that the key given stands behind the end of every chain. A
// log without rows needs none.
func (c *chains) checkSeals() {
	if c.key == nil || c.found.Rows == 0 {
		return
	}
	var unsealed []*shardChain
	for _, s := range c.shards {
		if s.head.Link.Key() != c.key.ID() && s.stored.AuditSeal == nil {
			unsealed = append(unsealed, s)
		}
	}
	const none = "neither a link nor a seal of the key %s: either no worker has run with the key since the last row, or the log was rewritten without it"
	if len(unsealed) == len(c.shards) {
		c.found.Breaks = append(c.found.Breaks, Break{What: Unsealed, Reason: fmt.Sprintf("they end in "+none, c.key.ID())})
		return
	}
	for _, s := range unsealed {
		if !s.broken {
			c.breaks(s, Unsealed, s.last, fmt.Sprintf("it ends in "+none, c.key.ID()))
		}
	}
	for _, s := range c.shards {
		seal, ok := chain.ParseLink(s.stored.AuditSeal)
		if s.broken || s.head.Link.Key() == c.key.ID() {
			continue
		}
		switch {
		case ok && seal.Key() != c.key.ID():
			c.breaks(s, Unsealed, s.last, fmt.Sprintf("its seal is of the key %s, the key given is %s", seal.Key(), c.key.ID()))
		case !ok || seal != c.keyed.Seal(s.stored.Shard, s.head):
			c.breaks(s, Unsealed, s.last, "its seal is of another end")
		}
	}
}
