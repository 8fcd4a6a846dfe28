package accept_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"contactmirror/internal/accept"
	"contactmirror/internal/inbox"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/spool"
)

func balanced(t *testing.T, db *pgtest.DB) {
	t.Helper()
	if n := count(t, db, `select count(*) from event_accounting where not balanced`); n != 0 {
		t.Errorf("event_accounting does not add up for %d tenants", n)
	}
}

func execute(t *testing.T, db *pgtest.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.Pool.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func moved(t *testing.T, dir string) []spool.File {
	t.Helper()
	files, err := spool.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Whatever lies among the segments, what can be read drains, and deliveries go to
// the inbox again as soon as it is back: after a start, and after every outage.
func TestGate_unreadableSegments(t *testing.T) {
	t.Parallel()
	db, dir := pgtest.New(t), t.TempDir()
	spoil := func(number string) {
		t.Helper()
		if err := errors.Join(
			os.Mkdir(filepath.Join(dir, "0000000000000000000"+number+".spool"), 0o700),
			syscall.Mkfifo(filepath.Join(dir, "0000000000000000001"+number+".spool"), 0o600),
			os.WriteFile(filepath.Join(dir, "0000000000000000002"+number+".spool"), []byte("nothing that a record is"), 0o600),
		); err != nil {
			t.Fatal(err)
		}
	}
	accepted := func(r *rig, n int) {
		t.Helper()
		until(t, "the inbox takes a delivery", func() bool {
			got, err := r.Accept(t.Context(), delivery(t, n))
			return err == nil && got != accept.Spooled
		})
	}
	outage := hang(t, db)
	r := start(t, db, dir, 64<<20)
	if got, err := r.Accept(t.Context(), delivery(t, 1)); got != accept.Spooled || err != nil {
		t.Fatal(got, err)
	}
	r.stop()
	spoil("1")
	r = start(t, db, dir, 64<<20)
	if got, err := r.Accept(t.Context(), delivery(t, 2)); got != accept.Spooled || err != nil {
		t.Fatal(got, err)
	}
	outage()
	accepted(r, 3)
	until(t, "the spool is drained", func() bool { return r.spool.State().Records == 0 })

	outage = hang(t, db)
	until(t, "a delivery is spooled", func() bool {
		got, err := r.Accept(t.Context(), delivery(t, 4))
		return err == nil && got == accept.Spooled
	})
	outage()
	accepted(r, 5)
	until(t, "the spool is drained", func() bool { return r.spool.State().Records == 0 })
	if got := count(t, db, `select count(*) from webhook_events`); got != 5 {
		t.Errorf("%d events, want 5", got)
	}
	if files := moved(t, dir); len(files) != 3 || r.spool.State().MovedAside.Files != 3 {
		t.Errorf("moved aside: %+v", files)
	}
	balanced(t, db)
}

// Records that the inbox refuses for what is in them are moved aside, count, and
// are delivered once the inbox takes them.
func TestRedeliver_refused(t *testing.T) {
	t.Parallel()
	db, dir := pgtest.New(t), t.TempDir()
	ban := func(table string) string {
		return `alter table ` + table + ` add constraint banned check (received_at <> '2026-11-01 12:00:01Z')`
	}
	execute(t, db, ban("webhook_events"), ban("quarantined_deliveries"))
	outage := hang(t, db)
	r := start(t, db, dir, 64<<20)
	for n := range 4 {
		d := delivery(t, n)
		if n%2 == 1 {
			d.ReceivedAt = received.Add(time.Second)
		}
		if got, err := r.Accept(t.Context(), d); got != accept.Spooled || err != nil {
			t.Fatal(got, err)
		}
	}
	outage()
	until(t, "the spool is drained", func() bool { return r.spool.State().Records == 0 })
	until(t, "the inbox is back", func() bool { _, away := r.AwaySince(); return !away })
	state := r.spool.State().MovedAside
	if state.Records != 2 || !state.Oldest.Equal(received.Add(time.Second)) {
		t.Errorf("%+v, want the two that are refused, received at their time", state)
	}

	redeliver := func() (total accept.Redelivery) {
		t.Helper()
		for _, f := range moved(t, dir) {
			again, err := accept.Redeliver(t.Context(), inbox.New(db.Pool, func(...string) {}), dir, f.Name)
			if err != nil {
				t.Fatal(err)
			}
			total.Delivered += again.Delivered
			total.Refused += again.Refused
			total.Reason = again.Reason
			total.Kept = total.Kept || again.Kept
		}
		return total
	}
	if got := redeliver(); got.Delivered != 0 || got.Refused != 2 || !got.Kept || !strings.Contains(got.Reason, "23514") {
		t.Errorf("while they are refused: %+v", got)
	}
	execute(t, db, `alter table quarantined_deliveries drop constraint banned`, `alter table webhook_events drop constraint banned`)
	if got := redeliver(); got.Delivered != 2 || got.Kept || len(moved(t, dir)) != 0 {
		t.Errorf("afterwards: %+v, left %v", got, moved(t, dir))
	}
	if got := count(t, db, `select count(*) from webhook_events`); got != 4 {
		t.Errorf("%d events, want 4", got)
	}
	balanced(t, db)
}

// Of a damaged file what can be read is delivered, past what can't, and a file
// that can't be read at all keeps everything; an outage keeps it too.
func TestRedeliver_damaged(t *testing.T) {
	t.Parallel()
	db, dir := pgtest.New(t), t.TempDir()
	outage := hang(t, db)
	r := start(t, db, dir, 64<<20)
	for n := range 3 {
		if got, err := r.Accept(t.Context(), delivery(t, n)); got != accept.Spooled || err != nil {
			t.Fatal(got, err)
		}
	}
	r.stop()
	segments, err := filepath.Glob(filepath.Join(dir, "*.spool"))
	if err != nil {
		t.Fatal(err)
	}
	var content []byte
	for _, name := range segments { // the drain closes them as it likes
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		content = append(append(content, b...), "left over"...)
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Base(segments[0]) + ".damaged"
	path := filepath.Join(dir, name)
	newInbox := func() *inbox.Inbox { return inbox.New(db.Pool, func(...string) {}) }

	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := accept.Redeliver(t.Context(), newInbox(), dir, name); err != nil || !got.Kept || !strings.Contains(got.Problem, "is a directory") {
		t.Errorf("a directory: %+v, %v", got, err)
	}
	if err := errors.Join(os.Remove(path), os.WriteFile(path, content, 0o600)); err != nil {
		t.Fatal(err)
	}
	if got, err := accept.Redeliver(t.Context(), newInbox(), dir, name); err == nil || got.Delivered != 0 || moved(t, dir)[0].Records != 3 {
		t.Errorf("in an outage: %+v, %v, left %+v", got, err, moved(t, dir))
	}
	outage()
	got, err := accept.Redeliver(t.Context(), newInbox(), dir, name)
	if err != nil || got.Delivered != 3 || !got.Kept || got.UnreadableBytes != int64(9*len(segments)) {
		t.Errorf("%+v, %v", got, err)
	}
	if files := moved(t, dir); len(files) != 1 || files[0].Records != 0 || files[0].Bytes != got.UnreadableBytes {
		t.Errorf("left %+v", files)
	}
	if got := count(t, db, `select count(*) from webhook_events`); got != 3 {
		t.Errorf("%d events, want 3", got)
	}
	balanced(t, db)
}

// A record that meets a programming error is kept, and the others of the file are
// delivered.
func TestRedeliver_programmingError(t *testing.T) {
	t.Parallel()
	db, dir := pgtest.New(t), t.TempDir()
	mend := breaks(t, db, `new.primary_key = 2`, "42P01")
	outage := hang(t, db)
	r := start(t, db, dir, 64<<20)
	for n := range 4 {
		if got, err := r.Accept(t.Context(), delivery(t, n)); got != accept.Spooled || err != nil {
			t.Fatal(got, err)
		}
	}
	r.stop()
	outage()
	segments, err := filepath.Glob(filepath.Join(dir, "*.spool"))
	if err != nil {
		t.Fatal(err)
	}
	redeliver := func() (total accept.Redelivery) {
		t.Helper()
		for _, f := range moved(t, dir) {
			got, err := accept.Redeliver(t.Context(), inbox.New(db.Pool, func(...string) {}), dir, f.Name)
			if err != nil {
				t.Fatal(err)
			}
			total.Delivered += got.Delivered
			total.Refused += got.Refused
			total.Reason += got.Reason
		}
		return total
	}
	for _, name := range segments {
		if err := os.Rename(name, name+".damaged"); err != nil {
			t.Fatal(err)
		}
	}
	if got := redeliver(); got.Delivered != 3 || got.Refused != 1 || !strings.Contains(got.Reason, "42P01") {
		t.Errorf("%+v", got)
	}
	mend()
	if got := redeliver(); got.Delivered != 1 || got.Refused != 0 || len(moved(t, dir)) != 0 {
		t.Errorf("once it is mended: %+v, left %v", got, moved(t, dir))
	}
	if got := count(t, db, `select count(*) from webhook_events`); got != 4 {
		t.Errorf("%d events, want 4", got)
	}
	balanced(t, db)
}

// A delivery is moved aside only where the database takes others. Where it takes none,
// whatever the error says, all of them stay in the spool, and are stored later.
func TestGate_databaseRefusesEverything(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"54000", "22000", "23514", "XX000"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			db, dir := pgtest.New(t), t.TempDir()
			execute(t, db,
				`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no commands are accepted' using errcode = '`+code+`', constraint = 'all'; end $$`,
				`create trigger refuse before insert on webhook_events for each statement execute function refuse()`,
				`create trigger refuse before insert on quarantined_deliveries for each statement execute function refuse()`)
			r := start(t, db, dir, 64<<20)
			for n := range 5 {
				if got, err := r.Accept(t.Context(), delivery(t, n)); got != accept.Spooled || err != nil {
					t.Fatal(got, err)
				}
			}
			for range 3 { // the drain has tried, and tried again
				before := count(t, db, `select last_value::int from webhook_events_event_seq_seq`)
				until(t, "another attempt", func() bool {
					return count(t, db, `select last_value::int from webhook_events_event_seq_seq`) > before || len(moved(t, dir)) > 0
				})
			}
			execute(t, db, `drop function refuse cascade`)
			until(t, "the spool is drained", func() bool { return r.spool.State().Records == 0 })
			if files := moved(t, dir); len(files) > 0 {
				t.Errorf("moved aside: %v", files)
			}
			// One may have been refused as an event before that, and quarantined after.
			if got := count(t, db, `select (select count(*) from webhook_events) + (select count(*) from quarantined_deliveries)`); got != 5 {
				t.Errorf("%d deliveries are stored, want 5", got)
			}
			balanced(t, db)
		})
	}
}
