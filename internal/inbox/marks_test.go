package inbox_test

import (
	"testing"

	"contactmirror/internal/inbox"
	"contactmirror/internal/pgtest"
)

// Rows come back into the queue that were written by transactions below the marks:
// a restore copies them with the rest.
func TestMarks_restoredRows(t *testing.T) {
	t.Parallel()
	const events = 10_000 // each lane is worth a mark
	for name, restore := range map[string]string{
		"into the truncated table": `truncate sync_queue; insert into sync_queue select * from backup; drop table backup`,
		"into a schema of its own": `create schema other; alter table sync_queue set schema other; alter table backup rename to sync_queue;
			alter index backup_pkey rename to sync_queue_pkey`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			var marks inbox.Marks
			backedUp(t, db, &marks, events)
			execute(t, db.Pool, restore)
			if found, err := inbox.Waiting(t.Context(), db.Pool, &marks); err != nil || !found {
				t.Errorf("waiting: %v, %v, want true", found, err)
			}
			if n := len(claimAll(t, db.Pool, &marks)); n != events {
				t.Errorf("claimed %d of the restored rows, want %d", n, events)
			}
		})
	}
}

// Rows copied into the same file of the table are found by a look for them.
func TestCheckMarks(t *testing.T) {
	t.Parallel()
	const events = 10_000
	db := pgtest.New(t)
	var marks inbox.Marks
	check := func(want bool) {
		t.Helper()
		if wrong, err := inbox.CheckMarks(t.Context(), db.Pool, &marks); err != nil || wrong != want {
			t.Errorf("marks are wrong: %t, %v, want %t", wrong, err, want)
		}
	}
	check(false)
	backedUp(t, db, &marks, events)
	check(false)
	putAll(t, db.Pool, 100)
	check(false) // what came since is above the marks
	if n := len(claimAll(t, db.Pool, &marks)); n != 100 {
		t.Errorf("claimed %d, want 100", n)
	}
	execute(t, db.Pool, `insert into sync_queue select * from backup; drop table backup`)
	if n := len(claimAll(t, db.Pool, &marks)); n == events {
		t.Errorf("claimed all %d rows below the marks, so the test shows nothing", n)
	}
	check(true)
	claimAll(t, db.Pool, &marks)
	if got := texts(t, db.Pool, `select count(*)::text from sync_queue`); got[0] != "0" {
		t.Errorf("%s rows are left in the queue, want none", got[0])
	}
	check(false)
}

// backedUp puts events, keeps a copy of the queue in the table backup, and claims
// them all. What was claimed counts as quarantined until it is queued again.
func backedUp(t *testing.T, db *pgtest.DB, marks *inbox.Marks, events int) {
	t.Helper()
	putAll(t, db.Pool, events)
	execute(t, db.Pool, `create table backup (like sync_queue including all); insert into backup select * from sync_queue`)
	if n := len(claimAll(t, db.Pool, marks)); n != events {
		t.Fatalf("claimed %d, want %d", n, events)
	}
	execute(t, db.Pool, `delete from quarantined_deliveries`)
}
