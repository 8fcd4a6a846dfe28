package verify

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
)

// Chain is what was found of the chains.
type Chain struct {
	// Rows is the number of rows in the log. Of these, Unkeyed are linked without a
	// key, Keyed with a key that was given, and OtherKey with one that was not.
	Rows     int64 `json:"rows"`
	Unkeyed  int64 `json:"linked_without_a_key"`
	Keyed    int64 `json:"linked_with_a_key_given"`
	OtherKey int64 `json:"linked_with_another_key"`
	// Adopted rows are proved by no key; an adoption covers them.
	Adopted int64 `json:"adopted_not_proved"`
	// Unchecked rows and adoptions were linked with keys that were not given, and
	// nothing else covers them.
	Unchecked int64 `json:"not_checked"`
	// Erased rows hold without their values.
	Erased int64 `json:"erased"`
	// Adoptions are those that hold.
	Adoptions []Adoption `json:"adoptions"`
	// Breaks is the first break of each shard, and what exported heads and the
	// keys say besides.
	Breaks []Break `json:"breaks"`
}

// Adoption is what an operator has accepted of a shard's chain.
type Adoption struct {
	Shard int16 `json:"shard"`
	// Rows of the shard were covered, of which NotProved by no key.
	Rows      int64     `json:"rows"`
	NotProved int64     `json:"not_proved"`
	Through   int64     `json:"through_audit_seq"`
	At        time.Time `json:"at"`
	Actor     string    `json:"actor"`
	Reason    string    `json:"reason"`
}

// How a chain breaks.
const (
	Altered  = "altered"
	Missing  = "missing"
	Inserted = "inserted"
	// CutOff and Rewritten are found by heads exported earlier.
	CutOff    = "cut off"
	Rewritten = "rewritten"
	// Unsigned heads are signed by no key given.
	Unsigned = "unsigned"
	// Unproved rows were linked without a key, though the log is chained with one.
	Unproved = "not proved"
	// Unchecked rows were linked with a key that was not given.
	Unchecked = "not checked"
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

// chains checks rows of the log, in the order of their numbers.
type chains struct {
	keys           chain.Keys
	allowUnchecked bool
	linker         *chain.Linker
	fields         chain.Encoder
	shards         []*shardChain
	// others holds what is found outside of all shards.
	others []Break
	found  Chain
	// chained is whether the log has to do with keys at all.
	chained bool
}

// shardChain is how far a shard's chain has been followed.
type shardChain struct {
	stored storedHead
	head   chain.Head
	last   *Ref
	// broken is the first break; nil as long as the chain holds.
	broken *Break
	// suspect is a row that does not follow head. If the shard's next row does, it
	// was inserted.
	suspect *suspect
	// rows is how many rows there were, and lastPlace the greatest place of one.
	rows, lastPlace int64
	// Since the last adoption: rows that no key proves, the first of them that was
	// linked without a key, and how many links name each key that was not given.
	unproved  int64
	unkeyed   *Ref
	unchecked map[chain.KeyID]int64
	keyed     bool

	// adoptions are those that are still to come, and digest is of all rows so far;
	// nil where nobody asks for it.
	adoptions []storedAdoption
	ordinal   int64 // of the last one
	digest    *chain.Digest

	against   *ShardHead
	contained bool // the exported head was found
}

// suspect is a row at fault, with what to call it if it was not inserted.
type suspect struct {
	row, named   *Ref
	what, reason string
}

func newChains(stored []storedHead, adoptions []storedAdoption, o Options) *chains {
	c := &chains{keys: o.Keys, allowUnchecked: o.AllowUnchecked, linker: chain.NewLinker(o.Keys)}
	c.found.Breaks, c.found.Adoptions = []Break{}, []Adoption{}
	for i, head := range stored {
		s := &shardChain{stored: head, unchecked: map[chain.KeyID]int64{}}
		if o.Against != nil {
			s.against = &o.Against.Shards[i]
			s.contained = s.against.Rows == 0 && s.against.Head == ""
		}
		c.shards = append(c.shards, s)
	}
	for _, a := range adoptions {
		if int(a.Shard) >= len(c.shards) || a.Shard < 0 {
			c.others = append(c.others, Break{What: Inserted, Reason: fmt.Sprintf("there is an adoption of shard %d, and no such shard", a.Shard)})
			continue
		}
		s := c.shards[a.Shard]
		s.adoptions, s.ordinal = append(s.adoptions, a), a.Ordinal
		s.digest = chain.NewDigest()
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
func (c *chains) row(r *logRow) {
	c.found.Rows++
	if r.shard < 0 || int(r.shard) >= len(c.shards) {
		c.others = append(c.others, Break{new(r.shard), Altered, r.ref(), "there is no such shard"})
		return
	}
	s := c.shards[r.shard]
	if n := s.due(r.auditSeq); n > 0 {
		c.adopt(s, n)
	}
	values, valid := c.commitment(r)
	s.rows++
	if r.chainSeq != nil {
		s.lastPlace = max(s.lastPlace, *r.chainSeq)
	}
	if s.digest != nil {
		s.digest.Add(c.asItIs(r, values, valid))
	}
	if proved := c.follow(s, r, values, valid); !proved {
		s.unproved++
	}
}

// follow checks that r follows its shard's head. It reports whether a key proves it.
func (c *chains) follow(s *shardChain, r *logRow, values chain.Commitment, valid bool) (proved bool) {
	link, ok := chain.ParseLink(r.link)
	proved = c.count(s, r, link)
	if r.chainSeq == nil {
		s.breaks(Inserted, r.ref(), "it has no place in the chain") // the table's own constraint was removed
		return false
	}
	follows := ok && valid && c.follows(s.head, r, values, link)
	place, next := *r.chainSeq, s.head.Count+1
	switch ref := r.ref(); {
	case s.broken != nil: // what comes later is only counted
		return false
	case s.suspect != nil && place == next && follows:
		s.breaks(Inserted, s.suspect.row, fmt.Sprintf("without it, row %d has its place and holds", r.auditSeq))
	case s.suspect != nil:
		s.breaks(s.suspect.what, s.suspect.named, s.suspect.reason)
	case place < next:
		s.breaks(Inserted, ref, fmt.Sprintf("its place is %d, and row %s before it has %d", place, s.lastSeq(), s.head.Count))
	case place > next && place > s.stored.AuditCount:
		s.breaks(Inserted, ref, fmt.Sprintf("its place is %d, but the chain ends at %d", place, s.stored.AuditCount))
	case place > next:
		s.suspect = &suspect{ref, nil, Missing, fmt.Sprintf("%s between row %s and row %d", places(next, place-1), s.lastSeq(), r.auditSeq)}
		return false // s.head stays, for the next row
	case !follows:
		reason := "its link is not the one that its content makes"
		if before := s.head.Link.Key(); s.unchecked[before] > 0 {
			reason += fmt.Sprintf(", or row %s before it was, whose link names the key %s, which was not given", s.lastSeq(), before)
		}
		s.suspect = &suspect{ref, ref, Altered, reason}
		return false
	}
	if s.broken != nil {
		return false
	}
	if s.against != nil && place == s.against.Rows && hex.EncodeToString(r.link) == s.against.Head {
		s.contained = true
	}
	s.head, s.last = chain.Head{Count: place, Link: link}, r.ref()
	return proved
}

// count counts r by the key of its link. It reports whether that is a key given.
func (c *chains) count(s *shardChain, r *logRow, link chain.Link) bool {
	switch id := link.Key(); {
	case id == (chain.KeyID{}):
		c.found.Unkeyed++
		if s.unkeyed == nil {
			s.unkeyed = r.ref()
		}
	case slices.Contains(c.keys.IDs(), id):
		c.found.Keyed++
		s.keyed = true
		return true
	default:
		c.found.OtherKey++
		s.keyed = true
		s.unchecked[id]++
	}
	return false
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

// commitment is that of r's values. It reports whether they are as they may be: with a
// salt, or erased with the commitment kept.
func (c *chains) commitment(r *logRow) (values chain.Commitment, valid bool) {
	switch {
	case r.commitment == nil && r.salt != nil && !r.erased:
		c.fields.Reset()
		if err := r.values(&c.fields); err != nil {
			return values, false
		}
		return c.linker.Commit(r.salt, c.fields.Bytes()), true
	case r.erased && r.salt == nil && len(r.commitment) == len(values) && r.fieldValues == nil && r.idValues == nil && r.lastKnown == nil && r.givenColumns == 0 &&
		len(contact.OfColumns(r.changedColumns)) == len(r.changedColumns):
		c.found.Erased++
		return chain.Commitment(r.commitment), true
	}
	return values, false
}

// asItIs encodes all of r, whether or not it may be so. It is the same when values that
// may be so have been erased.
func (c *chains) asItIs(r *logRow, values chain.Commitment, valid bool) []byte {
	c.fields.Reset()
	r.fields(&c.fields, values)
	c.fields.OptionalInt64(r.chainSeq)
	c.fields.Text(string(r.link))
	c.fields.Bool(r.plainLists)
	c.fields.Bool(valid)
	if !valid {
		c.fields.Bool(r.erased)
		c.fields.Texts(r.changedColumns)
		c.fields.Int64(r.givenColumns)
		for _, raw := range [][]byte{r.salt, r.commitment, r.fieldValues, r.idValues, r.lastKnown} {
			c.fields.Bool(raw != nil)
			c.fields.Text(string(raw))
		}
	}
	return c.fields.Bytes()
}

// follows reports whether r follows head, as far as can be told.
func (c *chains) follows(head chain.Head, r *logRow, values chain.Commitment, link chain.Link) bool {
	if *r.chainSeq != head.Count+1 && *r.chainSeq > 0 {
		head.Count = *r.chainSeq - 1 // so that only its link decides
	}
	if !r.plainLists || r.shard != (contact.Key{Tenant: r.tenant, ID: r.contactID}).Shard() {
		return false
	}
	c.fields.Reset()
	r.fields(&c.fields, values)
	follows, known := c.linker.Follows(head, c.fields.Bytes(), link)
	return follows || !known
}

// breaks notes the shard's first break.
func (s *shardChain) breaks(what string, row *Ref, reason string) {
	s.suspect = nil
	if s.broken == nil {
		s.broken = &Break{new(s.stored.Shard), what, row, reason}
	}
}

// end checks that the chains end where they should.
func (c *chains) end() Chain {
	for _, s := range c.shards {
		c.adopt(s, len(s.adoptions))
		c.checkEnd(s)
	}
	c.checkKeys()
	c.found.Breaks = append(c.found.Breaks, c.others...)
	for _, s := range c.shards {
		if s.broken != nil {
			c.found.Breaks = append(c.found.Breaks, *s.broken)
		}
		if s.against == nil {
			continue
		}
		switch {
		case s.stored.AuditCount < s.against.Rows:
			c.found.Breaks = append(c.found.Breaks, Break{new(s.stored.Shard), CutOff, nil, fmt.Sprintf("it ends at place %d, and when its head was exported it had come to %d", s.stored.AuditCount, s.against.Rows)})
		case !s.contained:
			c.found.Breaks = append(c.found.Breaks, Break{new(s.stored.Shard), Rewritten, nil, fmt.Sprintf("at place %d it does not have the link that was exported", s.against.Rows)})
		}
	}
	return c.found
}

func (c *chains) checkEnd(s *shardChain) {
	stored, ok := chain.ParseLink(s.stored.AuditHead)
	switch {
	case s.suspect != nil:
		s.breaks(s.suspect.what, s.suspect.named, s.suspect.reason)
	case s.broken != nil:
	case s.head.Count < s.stored.AuditCount:
		s.breaks(Missing, nil, fmt.Sprintf("%s at its end, after row %s", places(s.head.Count+1, s.stored.AuditCount), s.lastSeq()))
	case s.head.Count > s.stored.AuditCount:
		s.breaks(Inserted, s.last, fmt.Sprintf("its place is %d, but the chain ends at %d", s.head.Count, s.stored.AuditCount))
	case !ok && s.stored.AuditHead != nil || stored != s.head.Link:
		s.breaks(Altered, nil, "its head in sync_shards is not the last row's link")
	}
}

// checkKeys checks that of a log that is chained with keys each row is proved by a key
// given, or adopted, and each head signed.
func (c *chains) checkKeys() {
	for _, s := range c.shards {
		c.chained = c.chained || s.keyed || s.stored.AuditSignatures != nil
	}
	if !c.chained && len(c.keys) > 0 && c.found.Rows > 0 {
		c.others = append(c.others, Break{What: Unproved, Reason: fmt.Sprintf("%d rows were linked without a key, and no adoption covers them: stop serve, run contactmirror audit adopt, and start it with the key", c.found.Rows)})
	}
	if !c.chained {
		return
	}
	unchecked := map[chain.KeyID]int64{}
	for _, s := range c.shards {
		for id, n := range s.unchecked {
			unchecked[id] += n
			c.found.Unchecked += n
		}
		if id, named := c.checkShardKeys(s); named {
			unchecked[id]++
		}
	}
	if c.allowUnchecked {
		return
	}
	for _, id := range slices.SortedFunc(maps.Keys(unchecked), func(a, b chain.KeyID) int { return bytes.Compare(a[:], b[:]) }) {
		c.others = append(c.others, Break{What: Unchecked, Reason: fmt.Sprintf("%d links and signatures name the key %s, which was not given: add it to CONTACTMIRROR_AUDIT_KEY", unchecked[id], id)})
	}
}

// checkShardKeys checks one shard. Where that can't be done it returns the id of a key that
// signed its head.
func (c *chains) checkShardKeys(s *shardChain) (signer chain.KeyID, named bool) {
	switch {
	case s.broken != nil:
		return signer, false
	case s.unkeyed != nil:
		s.breaks(Unproved, s.unkeyed, "it was linked without a key, though the log is chained with one, and no adoption covers it")
		return signer, false
	case len(c.keys) == 0 || c.linker.Signed(s.stored.Shard, s.head, s.stored.AuditSignatures):
		return signer, false
	}
	for _, id := range chain.Signers(s.stored.AuditSignatures) {
		if !slices.Contains(c.keys.IDs(), id) {
			return id, true
		}
	}
	s.breaks(Unsigned, s.last, "no key given signed its head: rows at its end were removed, or its head was altered")
	return signer, false
}
