package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/audit"
	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/contactrow"
	"contactmirror/internal/erasure"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/pg"
	"contactmirror/internal/sequence"
	"contactmirror/sql"
)

var unquarantineStmt = pg.NewCommand[unquarantineArgs](sql.MirrorUnquarantine)

type unquarantineArgs struct{ EventSeqs []int64 }

// claimed is a queued event, read.
type claimed struct {
	seq        int64
	receivedAt time.Time
	webhook    *string
	*event.Contact
}

// transaction is how a batch's begins. The isolation is what inbox.LockShards
// asks for. Compiling the statements would take longer than running them: the
// planner overrates them, for it can't know how few rows a batch has. And each of
// them has one way that is right at any size of the tables, by index or by row
// address, which a planner that thinks a table small need not see; so there is
// nothing to plan anew either, which would take half of a small batch's time.
var transaction = pgx.TxOptions{
	BeginQuery: "begin isolation level read committed; set local jit = off; set local plan_cache_mode = force_generic_plan; " +
		"set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_seqscan = off; set local enable_bitmapscan = off",
}

// batch applies up to size events, and returns how many it found. busy reports
// whether there was anything to lock.
func (w *Worker) batch(ctx context.Context, size int) (applied int, busy bool, err error) {
	shards := uint32(shardsPerClaim)
	switch {
	case w.backlogs.beside():
		size, shards = min(size, besideBatch), 1
	case !w.full.Load():
		size, shards = min(size, shortBatch), contact.Shards
	}
	found, busy, err := w.apply(ctx, w.pool, size, shards, w.rotation.Add(shards)%contact.Shards, nil)
	w.full.Store(len(found) >= size*3/4)
	return len(found), busy, err
}

// beginner is a pool, or a connection.
type beginner interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// apply applies up to size events of up to so many shards, from shard number
// first on, in one transaction, but none of the tenants of except. It returns
// what it found.
func (w *Worker) apply(ctx context.Context, db beginner, size int, shards, first uint32, except []string) (found []inbox.Claimed, busy bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	if err := w.prepare(ctx); err != nil {
		return nil, false, err
	}
	began := time.Now()
	var (
		visible []Applied
		blamed  int
		links   = &links{keys: w.AuditKeys}
	)
	work := func(tx pgx.Tx) error {
		found, links.broken = nil, nil
		held, err := inbox.LockShards(ctx, tx, &w.marks, int(shards), int32(first), except...)
		if err != nil {
			return err
		}
		if busy = len(held.Shards) > 0; busy {
			if found, err = inbox.Claim(ctx, tx, &w.marks, held, size); err != nil {
				return err
			}
		}
		if except == nil && w.backlogs.note(found, size) {
			signal(w.express) // for what others had queued before, or to let its connection go
		}
		visible, blamed, err = applyClaimed(ctx, tx, links, found, held.At)
		return err
	}
	err = pgx.BeginTxFunc(ctx, db, transaction, work)
	if pg.NumberTaken(err) {
		moved, failed := sequence.Advance(ctx, w.pool)
		sequence.Log(w.log, moved)
		if err = failed; err == nil {
			err = pgx.BeginTxFunc(ctx, db, transaction, work)
		}
	}
	if err != nil {
		err = fmt.Errorf("mirror: apply a batch: %w", err)
		w.observe(Batch{Err: err, Took: time.Since(began)})
		return nil, false, err
	}
	w.marks.Passed(found)
	w.warnOfBreaks(links.broken)
	if len(found) > 0 {
		w.observe(Batch{Took: time.Since(began), At: time.Now(), Applied: visible, Blamed: blamed})
	}
	return found, busy, nil
}

// links is what a batch links its rows with, and the broken chains that it met.
type links struct {
	keys   chain.Keys
	broken []audit.Break
}

// applyClaimed reads the claimed events again and applies them. It returns those
// that have an audit row now, and how many it quarantined; an event that was applied
// before is neither.
func applyClaimed(ctx context.Context, tx pgx.Tx, links *links, found []inbox.Claimed, now time.Time) (applied []Applied, blamed int, err error) {
	events := make([]claimed, 0, len(found))
	for _, c := range found {
		e, err := read(c)
		if err != nil {
			if err := inbox.Blame(ctx, tx, c.EventSeq, c.ReceivedAt, err.Error()); err != nil {
				return nil, 0, err
			}
			blamed++
			continue
		}
		events = append(events, e)
	}
	applied, more, err := applyOrBlame(ctx, tx, links, events, now)
	return applied, blamed + more, err
}

// read parses the stored body. The receiver accepted it, so an error means that
// the body is gone or that another version of this program wrote it.
func read(c inbox.Claimed) (claimed, error) {
	if c.Body == nil {
		return claimed{}, errors.New("the stored body is missing")
	}
	e, err := event.ParseStored(c.Body, time.Time{}) // it was held against a clock when it was accepted
	switch {
	case err != nil:
		return claimed{}, err
	case e.Ignored():
		return claimed{}, fmt.Errorf("%s is no contact event", e.Name)
	}
	return claimed{seq: c.EventSeq, receivedAt: c.ReceivedAt, webhook: e.WebhookName, Contact: e.Contact}, nil
}

// applyOrBlame applies events; where PostgreSQL refuses their data it looks for
// the one at fault by halves, and quarantines that one alone.
func applyOrBlame(ctx context.Context, tx pgx.Tx, links *links, events []claimed, now time.Time) (applied []Applied, blamed int, err error) {
	if len(events) == 0 {
		return nil, 0, nil
	}
	contacts, err := fold(ctx, tx, links, events, now)
	switch {
	case err == nil:
		return outcomes(contacts, len(events)), 0, nil
	case !eventsFault(err):
		return nil, 0, err
	}
	if _, err := tx.Exec(ctx, "rollback to savepoint "+savepoint); err != nil {
		return nil, 0, fmt.Errorf("undo %d events: %w", len(events), err)
	}
	switch {
	case len(events) == 1 && pg.Violates(err, "contact_audit_log_event_seq"):
		// Applied before, and queued again from a copy: it has its outcome.
		if _, err := unquarantineStmt.Run(ctx, tx, unquarantineArgs{[]int64{events[0].seq}}); err != nil {
			return nil, 0, fmt.Errorf("close the entry of event %d: %w", events[0].seq, err)
		}
		return nil, 0, nil
	case len(events) == 1:
		return nil, 1, inbox.Blame(ctx, tx, events[0].seq, events[0].receivedAt, pg.Explain(err))
	}
	half := len(events) / 2
	first, blamed, err := applyOrBlame(ctx, tx, links, events[:half], now)
	if err != nil {
		return nil, 0, err
	}
	second, more, err := applyOrBlame(ctx, tx, links, events[half:], now)
	return append(first, second...), blamed + more, err
}

// eventsFault reports whether err comes of what is in the events: PostgreSQL
// refused it, or it could not be written out in the first place. A number of the
// server's own that is taken is not their fault.
func eventsFault(err error) bool {
	_, unwritable := errors.AsType[*unwritableError](err)
	return unwritable || pg.DataFault(err)
}

// savepoint is what fold begins with. It is not released: that would be a round
// trip for nothing.
const savepoint = "events"

// fold folds events into what is stored of their contacts, writes it behind a
// savepoint, and returns the contacts with the results.
func fold(ctx context.Context, tx pgx.Tx, links *links, events []claimed, now time.Time) ([]*touched, error) {
	touched := group(events)
	log := audit.NewAppender(links.keys, shardsOf(touched), len(events))
	if err := load(ctx, tx, touched, log); err != nil {
		return nil, err
	}
	if err := loadHistories(ctx, tx, touched); err != nil {
		return nil, err
	}
	for _, t := range touched {
		for i, e := range t.events {
			if t.erased.Covers(e.receivedAt) {
				t.facts[i] = t.facts[i].Erase()
			}
		}
		t.results = t.State.Merge(t.facts, t.history)
	}
	if err := write(ctx, tx, touched, len(events), log, now); err != nil {
		return nil, err
	}
	links.broken = append(links.broken, log.Broken()...)
	return touched, erasure.Applied(ctx, tx, erasedEvents(touched))
}

// erasedEvents is the events whose values are erased.
func erasedEvents(contacts []*touched) (seqs []int64) {
	for _, t := range contacts {
		for _, e := range t.events {
			if t.erased.Covers(e.receivedAt) {
				seqs = append(seqs, e.seq)
			}
		}
	}
	return seqs
}

// touched is a contact that a batch is about.
type touched struct {
	contactrow.Row
	events []*claimed
	facts  []contact.Fact
	erased erasure.Extent

	// history is loaded only for contacts that a late fact is about.
	history []contact.Fact
	results []contact.Result
}

// group gathers the events of each contact, in the source's order: so they are
// folded, and logged. The contacts are in the order of the tables' indexes, which
// is the order in which rows are quickest found and written.
func group(events []claimed) []*touched {
	slices.SortStableFunc(events, func(a, b claimed) int { return a.Fact.Order.Compare(b.Fact.Order) })
	byKey := make(map[contact.Key]*touched, len(events))
	all := make([]*touched, 0, len(events))
	slab := make([]touched, len(events))
	for i := range events {
		e := &events[i]
		t := byKey[e.Key]
		if t == nil {
			t = &slab[len(all)]
			t.Key = e.Key
			byKey[e.Key] = t
			all = append(all, t)
		}
		t.events = append(t.events, e)
		t.facts = append(t.facts, e.Fact)
	}
	slices.SortFunc(all, func(a, b *touched) int { return a.Key.Compare(b.Key) })
	for _, t := range all {
		t.Shape = contactrow.ShapeOf(t.facts)
	}
	return all
}

// shardsOf is the shards of contacts, each once.
func shardsOf(contacts []*touched) []int16 {
	var shards []int16
	for _, t := range contacts {
		if s := t.Key.Shard(); !slices.Contains(shards, s) {
			shards = append(shards, s)
		}
	}
	return shards
}
