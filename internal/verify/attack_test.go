package verify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/audit"
	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/internal/rebuild"
)

// attack is somebody with all rights on the database and without the key, who works on
// one shard.
type attack struct {
	*rig
	random *rand.Rand
	key    chain.Keys // the log's: only its id is used
	own    chain.Keys
	shard  int16
	rows   []audit.Row
	head   audit.Head
}

func newAttack(r *rig, seed uint64, key chain.Keys) *attack {
	a := &attack{rig: r, random: rand.New(rand.NewPCG(seed, 1)), key: key, own: testKey(r.t, "a key that the attacker has made")}
	var shards []int16
	rows, _ := r.Pool.Query(r.t.Context(), `select shard from contact_audit_log group by shard having count(*) > 3 order by shard`)
	shards, err := pgx.CollectRows(rows, pgx.RowTo[int16])
	if err != nil {
		r.t.Fatal(err)
	}
	a.shard = shards[a.random.IntN(len(shards))]
	a.load()
	return a
}

// load reads the shard.
func (a *attack) load() {
	a.t.Helper()
	rows, _ := a.Pool.Query(a.t.Context(), `select `+strings.Join(audit.Columns(audit.All), ", ")+` from contact_audit_log where shard = $1 order by audit_seq`, a.shard)
	var err error
	a.rows, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r audit.Row, err error) {
		err = row.Scan(r.Targets(audit.All)...)
		return r, err
	})
	if err != nil {
		a.t.Fatal(err)
	}
	heads, _ := a.Pool.Query(a.t.Context(), `select shard, audit_count, audit_head, audit_signatures, audit_break from sync_shards where shard = $1`, a.shard)
	head, err := pgx.CollectExactlyOneRow(heads, pgx.RowToStructByPos[audit.Head])
	if err != nil {
		a.t.Fatal(err)
	}
	a.head = head
}

// relink links the rows from the i-th on again, as well as that can be done.
func (a *attack) relink(from int) {
	a.t.Helper()
	keys := []chain.Keys{nil, a.own}[a.random.IntN(2)]
	pretend := a.random.IntN(3) == 0 // that the log's key made the links
	linker := audit.NewLinker(keys)
	var head chain.Head
	if from > 0 {
		head = chain.Head{Count: a.rows[from-1].ChainSeq}
		head.Link, _ = chain.ParseLink(a.rows[from-1].Chain)
	}
	for i := from; i < len(a.rows); i++ {
		var err error
		r := &a.rows[i]
		r.Chain = nil
		if head, err = linker.Link(r, head); err != nil {
			a.t.Fatal(err)
		}
		if pretend {
			id := a.key[0].ID()
			copy(head.Link[:], id[:])
			r.Chain = slices.Clone(head.Link[:])
		}
	}
	a.head.AuditCount, a.head.AuditHead = head.Count, slices.Clone(head.Link[:])
	switch a.random.IntN(4) {
	case 0:
		a.head.AuditSignatures = nil
	case 1: // the old ones
	case 2:
		a.head.AuditSignatures = chain.NewLinker(a.own).Sign(a.shard, head)
	case 3: // of the attacker's key, in the name of the log's
		id := a.key[0].ID()
		a.head.AuditSignatures = chain.NewLinker(a.own).Sign(a.shard, head)
		copy(a.head.AuditSignatures, id[:])
	}
}

// store writes the shard as it is now.
func (a *attack) store() {
	a.t.Helper()
	err := pgx.BeginFunc(a.t.Context(), a.Pool, func(tx pgx.Tx) error {
		for _, statement := range []string{"set local session_replication_role = replica", fmt.Sprintf("delete from contact_audit_log where shard = %d", a.shard)} {
			if _, err := tx.Exec(a.t.Context(), statement); err != nil {
				return err
			}
		}
		if err := audit.Copy(a.t.Context(), tx, a.rows); err != nil {
			return err
		}
		_, err := tx.Exec(a.t.Context(), `update sync_shards set audit_count = $2, audit_head = $3, audit_signatures = $4, audit_break = null where shard = $1`,
			a.shard, a.head.AuditCount, a.head.AuditHead, a.head.AuditSignatures)
		return err
	})
	if err != nil {
		a.t.Fatal(err)
	}
}

// attacks are what can be done to a shard.
var attacks = map[string]func(*attack){
	"edit": func(a *attack) {
		i := a.random.IntN(len(a.rows))
		a.rows[i].ChangedByAssociateID = new(a.random.Int64())
		a.relink(i)
	},
	"edit and leave the links": func(a *attack) {
		a.rows[a.random.IntN(len(a.rows))].ChangedByAssociateID = new(a.random.Int64())
	},
	"delete": func(a *attack) {
		i := a.random.IntN(len(a.rows))
		a.rows = slices.Delete(a.rows, i, i+1)
		a.relink(i)
	},
	"insert": func(a *attack) {
		i := a.random.IntN(len(a.rows) + 1)
		row := a.rows[min(i, len(a.rows)-1)]
		row.EventSeq, row.EventID.Bytes[0] = nil, row.EventID.Bytes[0]+1
		a.rows = slices.Insert(a.rows, i, row)
		for j := range i + 1 { // numbers that no other row has
			a.rows[j].AuditSeq = int64(j - 1000*(1+len(a.rows)))
		}
		a.relink(0)
	},
	"link again": func(a *attack) { a.relink(a.random.IntN(len(a.rows))) },
	"replace the last": func(a *attack) {
		i := len(a.rows) - 1
		a.rows[i].Outcome = new("superseded")
		a.rows[i].EventID.Bytes[0]++
		a.relink(i)
	},
	"cut off the end": func(a *attack) {
		i := 1 + a.random.IntN(len(a.rows)-1)
		a.rows = a.rows[:i]
		a.relink(i)
	},
	"remove all": func(a *attack) {
		a.rows = nil
		a.relink(0)
		if a.random.IntN(2) == 0 {
			a.head.AuditHead, a.head.AuditSignatures = nil, nil
		}
	},
	"sign with an own key": func(a *attack) {
		a.head.AuditSignatures = chain.NewLinker(a.own).Sign(a.shard, a.head.Head())
		a.rows[len(a.rows)-1].WebhookName = new("mine")
		a.relink(len(a.rows) - 1)
	},
	"adopt with an own key": func(a *attack) {
		i := a.random.IntN(len(a.rows))
		a.rows[i].ChangedByAssociateID = new(a.random.Int64())
		a.relink(i)
		a.store()
		a.adopt(a.own)
		a.load()
	},
}

// Whatever is done to the log without the key is found after honest traffic and
// restarts too, and an adoption makes it NOT PROVED; what is done after that is found
// again.
func TestRun_findsAttacksAfterTraffic(t *testing.T) {
	t.Parallel()
	older, newer := testKey(t, "the older key of the log"), testKey(t, "the newer key of the log")
	keys := chain.Keys{newer[0], older[0]}
	for name, do := range attacks {
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("%s %d", name, seed), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, 100+seed)
				r.apply(30, older)
				r.apply(60, keys)
				if report := r.run(Options{Keys: keys}); report.Differences() != 0 {
					t.Fatalf("before: %q", lines(report))
				}
				for i, round := range []string{"at first", "after an adoption"} {
					a := newAttack(r, seed+10*uint64(i), keys)
					do(a)
					a.store()
					r.apply(20, keys)
					r.apply(20, keys)
					r.apply(0, keys)
					report := r.run(Options{Keys: keys})
					if len(report.Chain.Breaks) == 0 {
						t.Fatalf("%s: not found in shard %d: %+v", round, a.shard, report.Chain)
					}
					if name == "adopt with an own key" { // several shards are that key's then
						continue
					}
					r.adopt(keys)
					r.apply(20, keys)
					if report := r.run(Options{Keys: keys}); len(report.Chain.Breaks) != 0 || len(report.Chain.Adoptions) == 0 {
						t.Fatalf("%s: adopted: %q, %+v", round, lines(report), report.Chain.Adoptions)
					}
				}
				// The attack loses and invents events; the account is not this test's.
				defer r.tamper("delete from webhook_events", "delete from contact_audit_log")
				// Of the adoptions themselves.
				for _, statement := range []string{
					"delete from audit_adoptions where ctid = (select ctid from audit_adoptions order by shard, ordinal limit 1)",
					"update audit_adoptions set reason = 'all is well'",
					"update audit_adoptions set actor = 'root'",
					"update audit_adoptions set adopted_rows = adopted_rows + 1",
					"update audit_adoptions set through_seq = through_seq + 1000",
					"insert into audit_adoptions select shard, ordinal + 1, through_seq, adopted_rows, digest, adopted_count, adopted_head, link, adopted_at, actor, reason from audit_adoptions where ordinal = (select max(ordinal) from audit_adoptions) limit 1",
				} {
					r.tamper("create table kept as select * from audit_adoptions", statement)
					if report := r.run(Options{Keys: keys}); len(report.Chain.Breaks) == 0 {
						t.Errorf("not found: %s", statement)
					}
					r.tamper("delete from audit_adoptions", "insert into audit_adoptions select * from kept", "drop table kept")
				}
			})
		}
	}
}

// Honest operation is never found: keys that come and change while processes run,
// erasures and their lifting, rebuilds, sequences set back by a restore.
func TestRun_holdsInOperation(t *testing.T) {
	t.Parallel()
	older, newer := testKey(t, "the older key of the log"), testKey(t, "the newer key of the log")
	both := chain.Keys{newer[0], older[0]}
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 2))
			r := newRig(t, 200+seed)
			keys := older
			if seed%2 == 0 { // the first key comes later, with a stop
				r.apply(40, nil)
				r.adopt(older)
			}
			for step := range 14 {
				switch step {
				case 5: // an old and a new process, at the same time
					keys = both
				case 10:
					keys = newer
				}
				process := keys
				if len(keys) == 2 && random.IntN(2) == 0 {
					process = older
				}
				switch random.IntN(4) {
				case 0:
					r.erase(random, process)
				case 1:
					r.rebuild()
				case 2:
					r.ResetSequences(t)
					r.value("select count(*)::text from contactmirror_advance_sequences()") // as serve does
				}
				r.apply(random.IntN(25), process)
				if step == 9 { // the last of the old processes has stopped
					r.apply(0, both)
				}
			}
			report := r.run(Options{Keys: both})
			if report.Differences() != 0 {
				t.Errorf("found %q", lines(report))
			}
			if got := r.value("select count(*)::text from sync_shards where audit_break is not null"); got != "0" {
				t.Errorf("%s shards are marked as broken", got)
			}
		})
	}
}

// rebuild makes the mirror again from the log.
func (r *rig) rebuild() {
	r.t.Helper()
	pool, err := pg.Open(r.URL, rebuild.Conns)
	if err != nil {
		r.t.Fatal(err)
	}
	defer pool.Close()
	if _, err := rebuild.Run(context.Background(), pool, rebuild.Options{Actor: "tester", Action: operator.Rebuild, Wait: time.Minute}); err != nil {
		r.t.Fatal(err)
	}
}

// erase erases a random contact, or lifts its erasure.
func (r *rig) erase(random *rand.Rand, keys chain.Keys) {
	r.t.Helper()
	rows, _ := r.Pool.Query(context.Background(), "select distinct context_identifier, contact_id from contact_audit_log order by 1, 2")
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[contact.Key])
	if err != nil {
		r.t.Fatal(err)
	}
	if len(all) == 0 {
		return
	}
	key, author := all[random.IntN(len(all))], erasure.Author{Actor: "tester", AuditKeys: keys}
	if _, err := erasure.Erase(context.Background(), r.Pool, key, erasure.Options{Author: author}); err != nil {
		r.t.Fatal(err)
	}
	if random.IntN(2) == 0 {
		if err := erasure.Lift(context.Background(), r.Pool, key, author); err != nil {
			r.t.Fatal(err)
		}
	}
}
