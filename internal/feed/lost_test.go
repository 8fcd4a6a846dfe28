package feed_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	auditlog "contactmirror/internal/audit"
	"contactmirror/internal/contact"
	"contactmirror/internal/feed"
	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	"contactmirror/sql"
)

// writer is a transaction that has written rows of some shards, and holds their locks.
type writer struct {
	tx   pgx.Tx
	keys []contact.Key
}

// onShards returns a contact of each of n shards.
func onShards(n int) (keys []contact.Key) {
	taken := map[int16]bool{}
	for id := int64(1); len(keys) < n; id++ {
		if key := (contact.Key{Tenant: "Cust1", ID: id}); !taken[key.Shard()] {
			taken[key.Shard()] = true
			keys = append(keys, key)
		}
	}
	return keys
}

// write locks the shards of the contacts and logs rows of them, some of them facts and
// some erasures, without a commit.
func write(t *testing.T, db *pgxpool.Pool, random *rand.Rand, keys ...contact.Key) writer {
	t.Helper()
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	slices.SortFunc(keys, func(a, b contact.Key) int { return int(a.Shard()) - int(b.Shard()) })
	for _, key := range keys {
		if _, err := tx.Exec(t.Context(), sql.ErasureLock, pgx.StrictNamedArgs{"shard": key.Shard()}); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range keys {
		for range 1 + random.IntN(3) {
			var id pgtype.UUID
			if err := tx.QueryRow(t.Context(), "select gen_random_uuid()").Scan(&id); err != nil {
				t.Fatal(err)
			}
			row := auditlog.NewOperatorRow("mirror.erased", key, id, received)
			if random.IntN(3) > 0 {
				row.Event, row.Origin, row.Outcome, row.Effect = "contact.changed", "fetch", new("applied"), contact.EffectUpserted
			}
			if err := auditlog.Append(t.Context(), tx, nil, &row); err != nil {
				t.Fatal(err)
			}
		}
	}
	return writer{tx, keys}
}

// eventIDs returns the event_id of every row that is visible.
func eventIDs(t *testing.T, db *pgxpool.Pool) []string {
	t.Helper()
	rows, _ := db.Query(t.Context(), "select event_id::text from contact_audit_log order by audit_seq")
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

const (
	// copyTables keeps what a standby has received, and loseTail makes it the
	// database: what was committed in between is lost, and sequences stay ahead.
	copyTables = `drop table if exists kept_log, kept_shards, kept_horizon;
		create table kept_log as select * from contact_audit_log;
		create table kept_shards as select * from sync_shards;
		create table kept_horizon as select * from log_horizon`
	loseTail = `alter table contact_audit_log disable trigger user;
		delete from contact_audit_log; insert into contact_audit_log select * from kept_log;
		alter table contact_audit_log enable trigger user;
		delete from sync_shards; insert into sync_shards select * from kept_shards;
		delete from log_horizon; insert into log_horizon select * from kept_horizon`
)

// A cursor is valid if and only if the log holds every row that was visible when it
// was read: whatever was committed in which order, whether a row has an event that
// would be applied again or not, and however often the tail was lost.
func TestCursor_provesEveryVisibleRow(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	writers, err := pg.Open(db.URL, 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(writers.Close)
	f := feed.New(db.Pool, quiet)
	random := rand.New(rand.NewPCG(13, 3))
	keys := onShards(6)
	type reading struct {
		cursor feed.Cursor
		seen   []string
		newest string
	}
	readings := []reading{{}}
	var valid, refused, gaps int
	judge := func() {
		t.Helper()
		present := map[string]bool{}
		for _, id := range eventIDs(t, db.Pool) {
			present[id] = true
		}
		for _, r := range readings {
			want := error(nil)
			if slices.ContainsFunc(r.seen, func(id string) bool { return !present[id] }) {
				want = feed.ErrLost
				refused++
				if present[r.newest] {
					gaps++
				}
			} else {
				valid++
			}
			parsed, err := feed.ParseCursor(r.cursor.String())
			if err != nil || parsed != r.cursor {
				t.Errorf("%v is read as %v, %v", r.cursor, parsed, err)
			}
			var held bool
			if err := db.Pool.QueryRow(t.Context(), "select changes_held($1)", r.cursor.String()).Scan(&held); err != nil || held != (want == nil) {
				t.Errorf("%v: held: %t, %v", r.cursor, held, err)
			}
			if _, _, err := f.Read(t.Context(), parsed, 10); !errors.Is(err, want) {
				t.Errorf("%v: %v, want %v; the newest row is there: %t", r.cursor, err, want, present[r.newest])
			}
		}
	}
	for range 3 {
		open := map[contact.Key]*writer{}
		const steps = 24
		for step, cut := 0, 4+random.IntN(steps-8); step < steps; step++ {
			key := keys[random.IntN(len(keys))]
			switch w := open[key]; {
			case step == cut && w != nil: // a higher number is kept, and this one lost
				for _, other := range keys {
					if open[other] == nil {
						commit(t, write(t, writers, random, other).tx)
						break
					}
				}
				execute(t, db.Pool, copyTables)
				commit(t, w.tx)
				for _, k := range w.keys {
					delete(open, k)
				}
			case step == cut:
				execute(t, db.Pool, copyTables)
			case w == nil:
				held := []contact.Key{key}
				if other := keys[random.IntN(len(keys))]; other != key && open[other] == nil {
					held = append(held, other)
				}
				started := write(t, writers, random, held...)
				for _, k := range held {
					open[k] = &started
				}
			default:
				if random.IntN(5) == 0 {
					if err := w.tx.Rollback(t.Context()); err != nil {
						t.Fatal(err)
					}
				} else {
					commit(t, w.tx)
				}
				for _, k := range w.keys {
					delete(open, k)
				}
			}
			execute(t, db.Pool, `select * from advance_log_horizon()`)
			seen := eventIDs(t, db.Pool)
			if len(seen) == 0 {
				continue
			}
			newest := seen[len(seen)-1]
			now, err := f.Now(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			readings = append(readings, reading{now, seen, newest})
			_, next, err := f.Read(t.Context(), readings[random.IntN(len(readings))].cursor, 1+random.IntN(5))
			if err == nil {
				readings = append(readings, reading{next, seen, newest})
			} else if !errors.Is(err, feed.ErrLost) {
				t.Fatal(err)
			}
		}
		for _, w := range open {
			_ = w.tx.Rollback(t.Context())
		}
		execute(t, db.Pool, loseTail)
		judge()
		// Others take the place of what was lost.
		for _, key := range keys {
			commit(t, write(t, writers, random, key).tx)
		}
		judge()
	}
	if valid < 100 || refused < 100 || gaps < 10 {
		t.Errorf("%d valid cursors, %d refused ones, %d of them although the newest row is there: the test tests little", valid, refused, gaps)
	}
}

// Who copies contacts together with the cursor that it reads on from is refused where
// the copy shows what was lost, and who reads on after the copy misses nothing.
func TestCursor_provesACopy(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	f := feed.New(db.Pool, quiet)
	random := rand.New(rand.NewPCG(13, 4))
	keys := onShards(2)
	commit(t, write(t, db.Pool, random, keys[0]).tx)
	execute(t, db.Pool, copyTables)
	commit(t, write(t, db.Pool, random, keys[1]).tx) // above the horizon
	var text string
	if err := db.Pool.QueryRow(t.Context(), "select changes_cursor()").Scan(&text); err != nil {
		t.Fatal(err)
	}
	cursor, err := feed.ParseCursor(text)
	if err == nil {
		_, _, err = f.Read(t.Context(), cursor, 10)
	}
	if err != nil {
		t.Errorf("%s: %v", text, err)
	}
	execute(t, db.Pool, loseTail)
	if _, _, err := f.Read(t.Context(), cursor, 10); !errors.Is(err, feed.ErrLost) {
		t.Errorf("%s, whose copy shows what is lost: %v", text, err)
	}
}
