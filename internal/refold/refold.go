package refold

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"contactmirror/internal/audit"
	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	factsStmt   = pg.NewStream[factsArgs](sql.RefoldFacts, factTargets, audit.Columns(audit.Key|audit.Fact)...)
	factsOfStmt = pg.NewStream[keysArgs](sql.RefoldFactsOf, factTargets, audit.Columns(audit.Key|audit.Fact)...)

	unloggedStmt = pg.NewQuery[scopeArgs, struct {
		ContextIdentifier string
		ContactID         int64
	}](sql.RefoldUnlogged)
)

type (
	factsArgs struct {
		Parts, Part int
		scopeArgs
		Some         bool
		Since, Until *time.Time
	}
	scopeArgs struct {
		ContextIdentifier *string
		ContactID         *int64
	}
	keysArgs struct {
		ContextIdentifiers []string
		ContactIDs         []int64
	}
)

func factTargets(r *audit.Row) []any { return r.Targets(audit.Key | audit.Fact) }

// Parts is how many streams [Each] reads at the same time, each of its own
// shards, and 2*Parts how many transactions of a snapshot it needs: one to read
// facts with and one to look up rows.
const Parts = 2

// chunk is how many contacts are looked up at a time.
const chunk = 500

// Scope says which contacts are meant; the zero value means all.
type Scope struct {
	Tenant    *string
	ContactID *int64
	// Since and Until bound the time at which something was recorded of the
	// contact, Until excluded.
	Since, Until *time.Time
	// Logged leaves out what the mirror holds and the log knows nothing of, as
	// Since and Until do too.
	Logged bool
}

// within reports whether s is about a stretch of time.
func (s *Scope) within() bool { return s.Since != nil || s.Until != nil }

func (s *Scope) args() scopeArgs { return scopeArgs{s.Tenant, s.ContactID} }

// Contact is what the log makes of a contact, and what the mirror holds of it.
type Contact struct {
	Key contact.Key
	// Facts is how many facts the log has.
	Facts int
	// Folded is what they come to, and BuriedBy the event that a hard delete
	// among them was, which the tombstone names.
	Folded   contact.State
	BuriedBy int64
	// Unreadable says why one of the facts is none; Folded then means nothing.
	Unreadable error
	// Row and Tombstone are nil where the mirror has none.
	Row       *Row
	Tombstone *Tombstone
}

// logged is a fact with the event that brought it.
type logged struct {
	contact.Fact
	eventSeq int64
}

// fold makes c.Folded of facts.
func (c *Contact) fold(facts []logged) {
	c.Facts = len(facts)
	slices.SortFunc(facts, func(a, b logged) int { return a.Order.Compare(b.Order) })
	for i := range facts {
		c.Folded.Apply(&facts[i].Fact)
		if c.Folded.Life == contact.Gone {
			c.BuriedBy = facts[i].eventSeq
			return
		}
	}
}

// Each calls visit with the contacts of scope that the log or the mirror has
// anything of, some at a time, in no order. It is not called twice at the same
// moment, and its error ends the walk.
func Each(ctx context.Context, s *Snapshot, scope Scope, visit func([]*Contact) error) error {
	folded := make(chan []*Contact)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	streams, running := errgroup.WithContext(ctx)
	for part := range Parts {
		chunks := make(chan []*Contact, 1)
		streams.Go(func() error {
			defer close(chunks)
			return stream(running, s.Tx(2*part), scope, part, chunks)
		})
		streams.Go(func() error {
			for contacts := range chunks {
				if err := loadStored(running, s.Tx(2*part+1), contacts); err != nil {
					return err
				}
				if err := send(running, folded, contacts); err != nil {
					return err
				}
			}
			return nil
		})
	}
	var visited errgroup.Group
	visited.Go(func() (err error) {
		for contacts := range folded {
			if err == nil {
				err = visit(contacts)
			}
			if err != nil {
				cancel()
			}
		}
		return err
	})
	err := streams.Wait()
	if err == nil && !scope.Logged && !scope.within() {
		err = unlogged(ctx, s.Tx(0), scope, folded)
	}
	close(folded)
	if visiting := visited.Wait(); visiting != nil {
		return visiting
	}
	if err != nil {
		return fmt.Errorf("refold: %w", err)
	}
	return nil
}

func send(ctx context.Context, to chan<- []*Contact, contacts []*Contact) error {
	select {
	case to <- contacts:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stream folds the facts of one part of the shards.
func stream(ctx context.Context, tx pgx.Tx, scope Scope, part int, chunks chan<- []*Contact) error {
	args := factsArgs{
		Parts: Parts, Part: part, scopeArgs: scope.args(),
		Some: scope.within(), Since: scope.Since, Until: scope.Until,
	}
	facts := collector{yield: func(contacts []*Contact) error { return send(ctx, chunks, contacts) }}
	if err := factsStmt.Each(ctx, tx, args, facts.add); err != nil {
		return err
	}
	return facts.flush(1)
}

// Of returns what the log makes of keys, which are distinct, and what the mirror
// holds of them, as tx sees both. A contact that the log has no facts of is
// returned too, as [Each] does.
func Of(ctx context.Context, tx pgx.Tx, keys []contact.Key) ([]*Contact, error) {
	tenants, ids := make([]string, len(keys)), make([]int64, len(keys))
	for i, k := range keys {
		tenants[i], ids[i] = k.Tenant, k.ID
	}
	var all []*Contact
	facts := collector{yield: func(contacts []*Contact) error { all = append(all, contacts...); return nil }}
	err := factsOfStmt.Each(ctx, tx, keysArgs{tenants, ids}, facts.add)
	if err == nil {
		err = facts.flush(1)
	}
	logged := make(map[contact.Key]bool, len(all))
	for _, c := range all {
		logged[c.Key] = true
	}
	for _, k := range keys {
		if !logged[k] {
			all = append(all, &Contact{Key: k})
		}
	}
	if err == nil {
		err = loadStored(ctx, tx, all)
	}
	if err != nil {
		return nil, fmt.Errorf("refold: %d contacts: %w", len(keys), err)
	}
	return all, nil
}

// collector folds facts that come contact by contact, and yields the contacts some at
// a time.
type collector struct {
	yield func([]*Contact) error
	next  []*Contact
	facts []logged // of the last of next
}

// add adds the fact of row.
func (c *collector) add(row *audit.Row) error {
	if key := row.Key(); len(c.next) == 0 || c.next[len(c.next)-1].Key != key {
		if err := c.flush(chunk); err != nil {
			return err
		}
		c.next = append(c.next, &Contact{Key: key})
	}
	fact, err := row.Fact()
	if err != nil {
		c.next[len(c.next)-1].Unreadable = err
		return nil
	}
	l := logged{Fact: fact}
	if row.EventSeq != nil {
		l.eventSeq = *row.EventSeq
	}
	c.facts = append(c.facts, l)
	return nil
}

// flush folds the facts of the last contact, and yields the contacts if there are
// least.
func (c *collector) flush(least int) error {
	if len(c.next) > 0 {
		c.next[len(c.next)-1].fold(c.facts)
		c.facts = c.facts[:0]
	}
	if len(c.next) < least {
		return nil
	}
	full := c.next
	c.next = make([]*Contact, 0, chunk)
	return c.yield(full)
}

// unlogged yields what the mirror holds and the log knows nothing of.
func unlogged(ctx context.Context, tx pgx.Tx, scope Scope, folded chan<- []*Contact) error {
	keys, err := unloggedStmt.All(ctx, tx, scope.args())
	if err != nil {
		return fmt.Errorf("look for contacts that the log knows nothing of: %w", err)
	}
	for some := range slices.Chunk(keys, chunk) {
		contacts := make([]*Contact, len(some))
		for i, k := range some {
			contacts[i] = &Contact{Key: contact.Key{Tenant: k.ContextIdentifier, ID: k.ContactID}}
		}
		if err := loadStored(ctx, tx, contacts); err != nil {
			return err
		}
		if err := send(ctx, folded, contacts); err != nil {
			return err
		}
	}
	return nil
}
