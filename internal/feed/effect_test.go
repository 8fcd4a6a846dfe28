package feed_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/event"
	"contactmirror/internal/feed"
	"contactmirror/internal/inbox"
	"contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/internal/rebuild"
	"contactmirror/internal/simulator"
)

// consumer knows of contacts what the changes of the feed say, and nothing else: which
// ones there are, and whether they are soft-deleted.
type consumer map[contact.Key]bool

// apply applies a change. It fails where the change does not fit what is known.
func (c consumer) apply(change feed.Change) error {
	key := contact.Key{Tenant: change.ContextIdentifier, ID: change.ContactID}
	inBin, known := c[key]
	fits := true
	switch change.Change {
	case "upserted":
		c[key] = inBin
	case "soft_deleted": // also of a contact that was not known
		fits = !inBin
		c[key] = true
	case "restored":
		fits = known && inBin
		c[key] = false
	case "deleted": // also of a contact that was not known
		delete(c, key)
	case "erased", "unchanged":
	default:
		fits = false
	}
	if !fits {
		return fmt.Errorf("%s of %v, known: %t, soft-deleted: %t", change.Change, key, known, inBin)
	}
	return nil
}

// tied makes n deliveries about a few contacts: with several events at one Timestamp,
// several hard deletes, and contacts that are first seen soft-deleted.
func tied(random *rand.Rand, n int) [][]byte {
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	bodies := make([][]byte, n)
	for i := range bodies {
		kind := pick("created", "changed", "changed", "changed", "changed", "softdeleted", "softdeleted", "softdeleted")
		if random.IntN(25) == 0 {
			kind = "deleted"
		}
		bodies[i] = fmt.Appendf(nil, `{"EventId":"%08x-0000-4000-8000-%012d","Timestamp":"2026-03-%02dT00:00:00.000000%d","Event":"contact.%s","PrimaryKey":%d,"ContextIdentifier":%q,"Changes":["name"]%s}`,
			random.Uint32(), i, 1+random.IntN(4), random.IntN(3), kind, 1+random.IntN(15), pick("Cust1", "Cust2"),
			pick("", `,"FieldValues":{"deleted":0}`, `,"FieldValues":{"deleted":1}`, `,"FieldValues":{"country_id":1}`, `,"FieldValues":{"country_id":2}`, `,"FieldValues":{"DeletedDate":"2026-02-01T00:00:00"}`))
	}
	return bodies
}

// A consumer that applies the changes in order agrees with the mirror on which contacts
// there are and which are soft-deleted: after batches of any size, at ties, with late
// events, and after erasures. Rebuilding the mirror is no change.
func TestChange_consumerAgreesWithTheMirror(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1)
			random := rand.New(rand.NewPCG(seed, 11))
			bodies := tied(random, 300)
			if seed == 2 {
				lives := simulator.NewLives(seed, []string{"Cust1", "Cust2"}, 30, received.AddDate(0, -1, 0))
				lives.Mix = &simulator.Mix{Ties: 30, V10: 30}
				for i := range bodies {
					bodies[i] = lives.Next()
				}
				random.Shuffle(len(bodies)/2, func(i, j int) { bodies[i], bodies[j] = bodies[j], bodies[i] })
			}
			known, seen := consumer{}, map[contact.Effect]int{}
			var after feed.Cursor
			var erased int64
			// follow applies n changes more.
			follow := func(n int) {
				t.Helper()
				for n > 0 {
					var page []feed.Change
					page, after = r.next(after, n)
					for _, change := range page {
						if err := known.apply(change); err != nil {
							t.Error(err)
						}
						seen[change.Change]++
					}
					n -= len(page)
				}
				if diff := cmp.Diff(r.mirrored(), known); diff != "" {
					t.Fatalf("after %v (-mirror +consumer):\n%s", seen, diff)
				}
			}
			for rest := bodies; len(rest) > 0; {
				n := min(1+random.IntN(80), len(rest))
				r.deliverAtOnce(rest[:n])
				follow(n)
				if random.IntN(3) == 0 && erased < 15 { // another one each time: a repeated erasure may write no row
					erased++
					key := contact.Key{Tenant: "Cust1", ID: erased}
					if _, err := erasure.Erase(t.Context(), r.Pool, key, erasure.Options{Author: erasure.Author{Actor: "tester"}}); err != nil {
						t.Fatal(err)
					}
					r.settle()
					follow(1)
				}
				rest = rest[n:]
			}
			for _, some := range []contact.Effect{"upserted", "soft_deleted", "restored", "deleted", "erased", "unchanged"} {
				if seen[some] < 2 {
					t.Errorf("%v: the test tests little", seen)
				}
			}
			var logged, again int
			count := `select count(*) from contact_audit_log`
			if err := r.Pool.QueryRow(t.Context(), count).Scan(&logged); err != nil {
				t.Fatal(err)
			}
			execute(t, r.Pool, `update contacts set soft_deleted = not soft_deleted, soft_deleted_at = case when not soft_deleted then now() end where contact_id % 2 = 0`)
			execute(t, r.Pool, `delete from contacts where contact_id % 3 = 0`)
			pool, err := pg.Open(r.URL, rebuild.Conns)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			for _, action := range []operator.Action{operator.Rebuild, operator.Replay} {
				if _, err := rebuild.Run(t.Context(), pool, rebuild.Options{Actor: "tester", Action: action, Wait: time.Minute}); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.Pool.QueryRow(t.Context(), count).Scan(&again); err != nil || again != logged {
				t.Errorf("%d rows in the log after rebuild and replay, %d before, %v", again, logged, err)
			}
			if diff := cmp.Diff(r.mirrored(), known); diff != "" {
				t.Errorf("after a rebuild (-mirror +consumer):\n%s", diff)
			}
		})
	}
}

// deliverAtOnce stores bodies in one transaction, so that the worker finds them all.
func (r *rig) deliverAtOnce(bodies [][]byte) {
	r.t.Helper()
	err := pgx.BeginFunc(r.t.Context(), r.Pool, func(tx pgx.Tx) error {
		for _, body := range bodies {
			e, err := event.Parse(body, received)
			if err != nil {
				return err
			}
			if _, err := inbox.PutIn(r.t.Context(), tx, inbox.Delivery{Body: body, ReceivedAt: received, Event: &e}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// mirrored is the contacts that the mirror has, with their soft-delete flags.
func (r *rig) mirrored() consumer {
	r.t.Helper()
	rows, _ := r.Pool.Query(r.t.Context(), `select context_identifier, contact_id, soft_deleted from contacts`)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct {
		Tenant string
		ID     int64
		InBin  bool
	}])
	if err != nil {
		r.t.Fatal(err)
	}
	found := consumer{}
	for _, c := range list {
		found[contact.Key{Tenant: c.Tenant, ID: c.ID}] = c.InBin
	}
	return found
}
