package feed_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/feed"
	"contactmirror/internal/pgtest"
)

// backup copies the database, as it is now, to one whose name ends in _backup.
// Sessions are terminated.
func backup(t *testing.T, db *pgtest.DB) {
	t.Helper()
	onServer(t, db,
		"alter database %[1]s with allow_connections false",
		"select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '%[1]s'",
		"create database %[1]s_backup template %[1]s",
		"alter database %[1]s with allow_connections true")
}

// restore puts the backup in the database's place.
func restore(t *testing.T, db *pgtest.DB) {
	t.Helper()
	onServer(t, db,
		"drop database %[1]s with (force)",
		"alter database %[1]s_backup rename to %[1]s")
	db.Pool.Reset()
}

// onServer executes statements about the database from another one.
func onServer(t *testing.T, db *pgtest.DB, statements ...string) {
	t.Helper()
	u, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	u.Path = "/template1"
	conn, err := pgx.Connect(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), fmt.Sprintf(statement, name)); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// contactBody is the nth event, of one of three contacts.
func contactBody(n int) []byte {
	return fmt.Appendf(nil, `{"EventId":"00000000-0000-4000-8000-%012d","Timestamp":"2026-01-01T00:%02d:00Z","Event":"contact.changed","PrimaryKey":%d,`+
		`"ContextIdentifier":"Cust1","Changes":["name"],"FieldValues":{"name":"name %d"}}`, n, n, 1+n%3, n)
}

// logged waits until the log has n rows, and returns the greatest number.
func logged(t *testing.T, db *pgxpool.Pool, n int) (newest int64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		var rows int
		if err := db.QueryRow(t.Context(), "select count(*), coalesce(max(audit_seq), 0) from contact_audit_log").Scan(&rows, &newest); err != nil {
			t.Fatal(err)
		}
		if rows >= n {
			return newest
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d rows were logged, want %d", rows, n)
		}
	}
}

// taken is a cursor, with the newest row that was visible when it was read.
type taken struct {
	cursor feed.Cursor
	newest int64
}

// take returns the cursor of now, and one that is read on from an earlier one.
func take(t *testing.T, r *rig, random *rand.Rand, newest int64, earlier []taken) []taken {
	t.Helper()
	now, err := r.feed.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	from := earlier[random.IntN(len(earlier))]
	_, next, err := r.feed.Read(t.Context(), from.cursor, 1+random.IntN(3))
	if err != nil {
		t.Fatal(err)
	}
	return append(earlier, taken{now, newest}, taken{next, newest})
}

// A cursor survives a restore if and only if the backup holds all that could be
// seen when the cursor was read. That does not change when new rows, of the same
// events too, take the numbers of those that were lost.
func TestFeed_refusesACursorWhoseRowsWereLost(t *testing.T) {
	t.Parallel()
	const events, saved = 12, 6
	db := pgtest.New(t)
	r := rigOn(t, db, 1)
	random := rand.New(rand.NewPCG(13, 7))
	cursors := []taken{{}}
	var kept int64
	for n := range events {
		if n == saved {
			kept = logged(t, db.Pool, n)
			r.stop()
			backup(t, db)
			db.Pool.Reset()
			r = rigOn(t, db, 1)
		}
		r.deliver(contactBody(n))
		newest := logged(t, db.Pool, n+1)
		cursors = take(t, r, random, newest, cursors)
	}
	r.stop()
	restore(t, db)
	r = rigOn(t, db, 1)
	judge := func(when string) (valid []feed.Cursor) {
		t.Helper()
		for _, c := range cursors {
			parsed, err := feed.ParseCursor(c.cursor.String())
			if err != nil || parsed != c.cursor {
				t.Errorf("%v is read as %v, %v", c.cursor, parsed, err)
			}
			_, _, err = r.feed.Read(t.Context(), parsed, 10)
			want := error(nil)
			if c.newest > kept {
				want = feed.ErrLost
			} else {
				valid = append(valid, parsed)
			}
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, read when %d was the newest of %d that are kept: %v, want %v", when, c.cursor, c.newest, kept, err, want)
			}
		}
		return valid
	}
	if valid := judge("restored"); len(valid) < 10 || len(valid) > len(cursors)-10 {
		t.Errorf("%d of %d cursors are valid: the test tests little", len(valid), len(cursors))
	}
	for n := saved; n < 2*events; n++ { // the lost ones again, too
		r.deliver(contactBody(n))
		logged(t, db.Pool, n+1)
	}
	for _, after := range judge("with new rows") {
		at := after
		var got []int64
		for len(got) == 0 || got[len(got)-1] < logged(t, db.Pool, 0) {
			var page []feed.Change
			page, at = r.next(at, 4)
			for _, c := range page {
				got = append(got, c.AuditSeq)
			}
		}
		rows, _ := db.Pool.Query(t.Context(), "select audit_seq from contact_audit_log order by audit_seq desc limit $1", len(got))
		want, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			t.Fatal(err)
		}
		for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
			want[i], want[j] = want[j], want[i]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after %v (-log +read):\n%s", after, diff)
		}
	}
}

// A consumer that waits during a restore is refused soon after it, and one whose
// cursor is still valid goes on waiting, without asking over and over.
func TestFeed_checksAgainAfterAWait(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	r := rigOn(t, db, 1)
	r.deliver(contactBody(1))
	_, kept := r.next(feed.Cursor{}, 10)
	r.stop()
	backup(t, db)
	r = rigOn(t, db, 1)
	r.deliver(contactBody(2))
	_, lost := r.next(kept, 10)
	r.stop()

	config := db.Pool.Config()
	var trace traced
	config.ConnConfig.Tracer = &trace
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	f := feed.New(pool, quiet)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var running sync.WaitGroup
	running.Go(func() { _ = f.Run(ctx) })
	read := func(after feed.Cursor) (feed.Cursor, error) {
		for {
			page, next, err := f.Read(ctx, after, 10)
			if errors.Is(err, feed.ErrLost) || len(page) > 0 || ctx.Err() != nil {
				return next, err
			}
			if err == nil {
				after = next
			}
			f.Wait(ctx, after)
		}
	}
	refused, went := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := read(lost)
		refused <- err
	}()
	for trace.statements.Load() < 6 { // it has read, and waits
		execute(t, db.Pool, "select pg_sleep(0.01)")
	}
	restore(t, db)
	if err := <-refused; !errors.Is(err, feed.ErrLost) {
		t.Errorf("a cursor that was lost during a wait: %v", err)
	}
	go func() {
		next, err := read(kept)
		if err == nil && next == kept {
			err = errors.New("the cursor did not move")
		}
		went <- err
	}()
	before := trace.statements.Load()
	execute(t, db.Pool, "select pg_sleep(1.5)")
	if n := trace.statements.Load() - before; n > 100 {
		t.Errorf("%d statements while one waited for a second and a half", n)
	}
	r = rigOn(t, db, 1)
	r.deliver(contactBody(3))
	if err := <-went; err != nil {
		t.Errorf("a cursor that is still valid: %v", err)
	}
	stop()
	running.Wait()
}

// An empty log, a log that is not settled yet and numbers without rows all give
// cursors that name rows, or the beginning.
func TestFeed_NowNamesARow(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t).Unchained(t)
	f := feed.New(db.Pool, quiet)
	now := func() string {
		t.Helper()
		c, err := f.Now(t.Context())
		if err == nil {
			_, _, err = f.Read(t.Context(), c, 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(c.String(), "-")
		return strings.Join(parts[:min(2, len(parts))], "-") // without the hash
	}
	if got := now(); got != "0" {
		t.Errorf("of an empty log: %s", got)
	}
	tx := begin(t, db.Pool)
	audit(t, tx, 1)
	commit(t, tx)
	if got := now(); got != "0-1" {
		t.Errorf("of a log that is not settled: %s", got)
	}
	tx = begin(t, db.Pool)
	audit(t, tx, 2)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	execute(t, db.Pool, `update log_horizon set audit_seq = 2, noted_audit_seq = 2`)
	if got := now(); got != "1-1" {
		t.Errorf("where the horizon has no row: %s", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	go func() { _ = f.Run(ctx) }()
	c, err := f.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	waits := 0
	for ; ctx.Err() == nil; waits++ {
		f.Wait(ctx, c)
	}
	if waits > 5 {
		t.Errorf("%d waits in three seconds where nothing is to be read", waits)
	}
	for _, table := range []string{"contact_audit_log", "webhook_events"} {
		execute(t, db.Pool, fmt.Sprintf("alter table %[1]s disable trigger user; delete from %[1]s; alter table %[1]s enable trigger user", table))
	}
	if _, _, err := f.Read(t.Context(), c, 1); !errors.Is(err, feed.ErrLost) {
		t.Errorf("of a log that was emptied: %v", err)
	}
}

// Where the log has lost rows while nobody waited, the end that was seen before does
// not keep a consumer from waiting.
func TestFeed_waitsWhereTheLogHasBecomeShorter(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t).Unchained(t)
	f := feed.New(db.Pool, quiet)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	go func() { _ = f.Run(ctx) }()
	add := func(id, horizon int) {
		t.Helper()
		tx := begin(t, db.Pool)
		audit(t, tx, id)
		commit(t, tx)
		execute(t, db.Pool, `update log_horizon set audit_seq = $1, noted_audit_seq = $1`, horizon)
	}
	add(1, 1)
	first, err := f.Now(ctx)
	if err != nil {
		t.Fatal(err)
	}
	add(2, 2)
	f.Wait(ctx, first) // until row 2 is seen
	for _, table := range []string{"contact_audit_log", "webhook_events"} {
		execute(t, db.Pool, fmt.Sprintf("alter table %[1]s disable trigger user; delete from %[1]s where event_seq = 2; alter table %[1]s enable trigger user", table))
	}
	execute(t, db.Pool, `update log_horizon set audit_seq = 1, noted_audit_seq = 1`)
	reads := 0
	waiting, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for ; waiting.Err() == nil; reads++ {
		if _, _, err := f.Read(ctx, first, 10); err != nil {
			t.Fatal(err)
		}
		f.Wait(waiting, first)
	}
	if reads > 5 {
		t.Errorf("%d reads in a second where nothing is to be read", reads)
	}
}

func TestParseCursor(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"0": nil, "7": nil, "7-7-0123456789abcdef": nil, "7-9.1.2-0123456789abcdef": nil, "0-9-0123456789abcdef": nil,
		"": feed.ErrMalformed, "-1": feed.ErrMalformed, "7-": feed.ErrMalformed, "7-0123456789ABCDEF": feed.ErrMalformed, "now": feed.ErrMalformed,
		"7-9": feed.ErrMalformed, "7-9.-0123456789abcdef": feed.ErrMalformed, "7-0123456789abcdef": feed.ErrMalformed, "7-9" + strings.Repeat(".1", 32) + "-0123456789abcdef": feed.ErrMalformed, "99999999999999999999": feed.ErrMalformed, "9999999999999999999": feed.ErrMalformed, "7\n": feed.ErrMalformed,
	} {
		if c, err := feed.ParseCursor(text); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v; want %v", text, c, err, want)
		}
	}
}

// In the middle of a restore, before the keys are made, rows may be missing: nothing
// is handed out, and no cursor is refused for good.
func TestFeed_failsDuringARestore(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	f := feed.New(db.Pool, quiet)
	for name, alter := range map[string]string{
		"contacts": `alter table contacts drop constraint contacts_pkey`,
		"horizon":  `alter table log_horizon drop constraint log_horizon_pkey`,
	} {
		tx := begin(t, db.Pool)
		if _, err := tx.Exec(t.Context(), alter); err != nil {
			t.Fatal(err)
		}
		commit(t, tx)
		if _, err := f.Now(t.Context()); err == nil || errors.Is(err, feed.ErrLost) {
			t.Errorf("%s: now: %v", name, err)
		}
		if _, _, err := f.Read(t.Context(), feed.Cursor{}, 1); err == nil || errors.Is(err, feed.ErrLost) {
			t.Errorf("%s: read: %v", name, err)
		}
	}
}
