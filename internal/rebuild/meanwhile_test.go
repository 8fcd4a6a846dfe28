package rebuild_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/rebuild"
	"contactmirror/internal/refold"
)

// script makes events of chosen contacts. Every text value of an event contains
// a secret derived from its EventId, so that the checks can tell whose it is.
type script struct{ n atomic.Int64 }

func (s *script) body(t testing.TB, key contact.Key, kind string, at time.Duration) []byte {
	t.Helper()
	id := fmt.Sprintf("00000000-0000-4000-8000-%012d", s.n.Add(1))
	values := map[string]any{"name": "secret " + id, "department": "secret " + id, "country_id": 578}
	if kind == "contact.deleted" {
		values = nil
	}
	body, err := json.Marshal(map[string]any{
		"EventId": id, "Event": kind, "Timestamp": received.Add(at - 24*time.Hour).Format(time.RFC3339Nano),
		"PrimaryKey": key.ID, "ContextIdentifier": key.Tenant, "Entity": "contact",
		"Changes": []string{"name", "number1"}, "FieldValues": values, "ChangedByAssociateId": 5,
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// put queues events.
func (r *rig) put(bodies ...[]byte) {
	r.t.Helper()
	err := pgx.BeginFunc(context.Background(), r.pool, func(tx pgx.Tx) error {
		for _, body := range bodies {
			e, err := event.Parse(body, received)
			if err != nil {
				return err
			}
			if _, err := inbox.PutIn(context.Background(), tx, inbox.Delivery{Body: body, ReceivedAt: time.Now(), Event: &e}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.t.Error(err)
	}
}

// applyAll applies what is queued.
func (r *rig) applyAll() {
	r.t.Helper()
	stop := r.work()
	defer stop()
	r.drain()
}

func (r *rig) erase(key contact.Key) {
	r.t.Helper()
	if _, err := erasure.Erase(context.Background(), r.pool, key, erasure.Options{Author: erasure.Author{Actor: "tester"}}); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) lift(key contact.Key) {
	r.t.Helper()
	err := erasure.Lift(context.Background(), r.pool, key, erasure.Author{Actor: "tester"})
	if err != nil && !errors.Is(err, erasure.ErrNotErased) {
		r.t.Error(err)
	}
}

// check fails the test where contacts differs from the refold of the log, or
// holds a value of an event whose values were erased.
func (r *rig) check(what string) {
	r.t.Helper()
	r.run(rebuild.Options{DryRun: true, Found: func(d refold.Difference) error {
		r.t.Errorf("%s: %v", what, d)
		return nil
	}})
	for _, found := range r.texts(`
		select concat_ws(' ', c.context_identifier, c.contact_id, a.event_id)
		from contact_audit_log a
		join contacts c using (context_identifier, contact_id)
		where a.erased_columns is not null and position('secret ' || a.event_id in c::text) > 0`) {
		r.t.Errorf("%s: contacts holds an erased value: %s", what, found)
	}
}

var (
	one   = contact.Key{Tenant: "Cust1", ID: 1}
	other = contact.Key{Tenant: "Cust1", ID: 2}
)

// Whatever is committed between the fold and the lock of the shards is folded
// again under the lock.
func TestRun_foldsAgainWhatChangedMeanwhile(t *testing.T) {
	t.Parallel()
	epoch := time.Unix(0, 0)
	const forge = "update contacts set name = 'forged'"
	for name, c := range map[string]struct {
		before    func(r *rig, s *script)
		damage    string
		meanwhile func(r *rig, s *script)
		again     int64
	}{
		"nothing": {meanwhile: func(*rig, *script) {}},
		"an event": {again: 1, meanwhile: func(r *rig, s *script) {
			r.put(s.body(r.t, one, "contact.changed", time.Hour))
			r.applyAll()
		}},
		"a late event": {again: 1, meanwhile: func(r *rig, s *script) {
			r.put(s.body(r.t, one, "contact.changed", -time.Hour))
			r.applyAll()
		}},
		"a hard delete": {again: 1, meanwhile: func(r *rig, s *script) {
			r.put(s.body(r.t, one, "contact.deleted", time.Hour))
			r.applyAll()
		}},
		"an event that stays queued": {meanwhile: func(r *rig, s *script) {
			r.put(s.body(r.t, one, "contact.changed", time.Hour))
		}},
		"an erasure": {again: 1, meanwhile: func(r *rig, _ *script) { r.erase(one) }},
		"an erasure with an event queued": {
			before: func(r *rig, s *script) { r.put(s.body(r.t, one, "contact.changed", time.Hour)) },
			again:  1, meanwhile: func(r *rig, _ *script) { r.erase(one) },
		},
		"an erasure and an event": {again: 1, meanwhile: func(r *rig, s *script) {
			r.erase(one)
			r.put(s.body(r.t, one, "contact.changed", time.Hour))
			r.applyAll()
		}},
		"an erasure and its lifting": {again: 1, meanwhile: func(r *rig, _ *script) {
			r.erase(one)
			r.lift(one)
		}},
		"a lifting": {
			before: func(r *rig, _ *script) { r.erase(one) },
			again:  1, meanwhile: func(r *rig, _ *script) { r.lift(one) },
		},
		"a lifting and a second erasure": {
			before: func(r *rig, _ *script) { r.erase(one) },
			again:  1, meanwhile: func(r *rig, s *script) {
				r.lift(one)
				r.put(s.body(r.t, one, "contact.changed", time.Hour))
				r.applyAll()
				r.erase(one)
			},
		},
		"an erasure lifted before": {
			before:    func(r *rig, _ *script) { r.erase(one); r.lift(one) },
			meanwhile: func(*rig, *script) {},
		},
		"an erasure of a row without facts": {
			damage: "insert into contacts select (jsonb_populate_record(c, '{\"contact_id\": 999999}')).* from contacts c limit 1",
			again:  1, meanwhile: func(r *rig, _ *script) { r.erase(contact.Key{Tenant: one.Tenant, ID: 999999}) },
		},
		"an erasure of a contact whose row is missing": {
			damage: "delete from contacts",
			again:  1, meanwhile: func(r *rig, _ *script) { r.erase(one) },
		},
	} {
		for scope, options := range map[string]rebuild.Options{
			"rebuild":           {},
			"replay since":      {Scope: refold.Scope{Logged: true, Since: &epoch}},
			"replay of contact": {Scope: refold.Scope{Logged: true, Tenant: &one.Tenant, ContactID: &one.ID}},
		} {
			if options.Logged && name == "an erasure of a row without facts" {
				continue // a replay leaves such rows alone
			}
			t.Run(name+"/"+scope, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, pgtest.New(t), 10)
				s := &script{}
				for _, key := range []contact.Key{one, other} {
					r.put(s.body(t, key, "contact.created", 0), s.body(t, key, "contact.changed", time.Minute))
				}
				r.applyAll()
				if c.before != nil {
					c.before(r, s)
				}
				r.exec(forge)
				if c.damage != "" {
					r.exec(c.damage)
				}
				meanwhile := sync.OnceFunc(func() { c.meanwhile(r, s) })
				options.Progress = func(int64) { meanwhile() } // after the snapshot, before the locks
				result := r.run(options)
				if result.Meanwhile != c.again {
					t.Errorf("%d contacts were folded again, want %d", result.Meanwhile, c.again)
				}
				if options.ContactID != nil { // the others are still as they were damaged
					r.run(rebuild.Options{})
				}
				r.check("afterwards")
				r.applyAll()
				r.check("with the queue empty")
			})
		}
	}
}

// Events, erasures, their liftings, damage and rebuilds in random order. In turn,
// the steps in the middle of a rebuild come between its fold and its locks; at
// once, they come anywhere.
func TestRun_anyInterleaving(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("in turn, seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, pgtest.New(t), 10)
			a := actor{rig: r, script: &script{}, random: rand.New(rand.NewPCG(seed, 3)), apply: r.applyAll}
			for n := range 20 {
				for range a.random.IntN(6) {
					a.step()
				}
				a.damage()
				between := sync.OnceFunc(func() {
					for range 1 + a.random.IntN(3) {
						a.step()
					}
				})
				r.run(rebuild.Options{Progress: func(int64) { between() }})
				r.check(fmt.Sprint("after rebuild ", n))
			}
			r.applyAll()
			r.check("with the queue empty")
		})
		t.Run(fmt.Sprint("at once, seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, pgtest.New(t), 10)
			stop := r.work()
			common := &script{}
			var actors sync.WaitGroup
			for number := range uint64(3) {
				a := actor{rig: r, script: common, random: rand.New(rand.NewPCG(seed, number)), apply: func() {}}
				actors.Go(func() {
					for range 60 {
						a.step()
					}
				})
			}
			rebuilder := actor{rig: r, random: rand.New(rand.NewPCG(seed, 9))}
			for range 12 {
				rebuilder.damage()
				r.run(rebuild.Options{})
			}
			actors.Wait()
			r.drain()
			stop()
			r.check("at the end")
		})
	}
}

// actor takes random steps, and calls apply after an event that it queues, if it
// does not leave it in the queue.
type actor struct {
	*rig
	script *script
	random *rand.Rand
	apply  func()
}

func (a *actor) key() contact.Key { return contact.Key{Tenant: "Cust1", ID: 1 + a.random.Int64N(5)} }

func (a *actor) damage() {
	a.exec(fmt.Sprintf("update contacts set name = 'forged' where contact_id %% 3 <> %d", a.random.IntN(3)))
}

func (a *actor) step() {
	choice := a.random.IntN(8)
	switch choice {
	case 0, 1:
		a.erase(a.key())
	case 2:
		a.lift(a.key())
	default:
		kind := []string{"contact.created", "contact.changed", "contact.changed", "contact.softdeleted"}[a.random.IntN(4)]
		if a.random.IntN(40) == 0 {
			kind = "contact.deleted"
		}
		a.put(a.script.body(a.t, a.key(), kind, time.Duration(a.random.IntN(3600))*time.Second))
		if choice > 3 {
			a.apply()
		}
	}
}
