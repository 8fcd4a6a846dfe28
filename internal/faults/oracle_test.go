//go:build linux

package faults

import (
	"context"
	"testing"

	"contactmirror/internal/simulator"
)

// TestOracle shows that the judge of all faults sees what it is there to see:
// each kind of damage, done by hand to a mirror that is right.
func TestOracle(t *testing.T) {
	l := newLab(t)
	db := l.postgres("postgres", nil)
	mirror := l.serve("mirror", db.url(""))
	load := l.traffic(mirror.webhook())
	load.answered(200, "accepted")
	load.stop()
	l.await("the queue is empty", patience, func() bool {
		return ask[bool](db, "select not exists (select from sync_queue)")
	})
	for name, c := range map[string]struct {
		damage string
		count  func(*simulator.Verdict) int
	}{
		"none": {"select 1", func(v *simulator.Verdict) int {
			if v.Good() {
				return 1
			}
			return 0
		}},
		"an event is gone": {
			`with gone as (delete from webhook_events where event_seq = (select min(event_seq) from webhook_events) returning event_seq)
				delete from contact_audit_log where event_seq in (select event_seq from gone)`,
			func(v *simulator.Verdict) int { return v.Lost },
		},
		"an event was applied twice": {
			`create temp table twice on commit drop as select * from contact_audit_log limit 1;
				update twice set audit_seq = 1000000;
				drop index contact_audit_log_event_seq;
				insert into contact_audit_log select * from twice`,
			func(v *simulator.Verdict) int { return v.Doubled },
		},
		"an event is not what was sent": {
			`update webhook_bodies set body = body || ' ' where event_seq = (select min(event_seq) from webhook_bodies)`,
			func(v *simulator.Verdict) int { return v.Invented },
		},
		"a contact that nobody sent": {
			`create temp table more on commit drop as select * from contacts limit 1;
				update more set contact_id = 1000000;
				insert into contacts select * from more`,
			func(v *simulator.Verdict) int { return v.Invented },
		},
		"a value is wrong": {
			`update contacts set country_id = coalesce(country_id, 0) + 1 where contact_id = (select min(contact_id) from contacts)`,
			func(v *simulator.Verdict) int { return v.Wrong },
		},
		"a column is not pending": {
			`update contacts set pending_columns = '{}' where contact_id = (select min(contact_id) from contacts)`,
			func(v *simulator.Verdict) int { return v.Wrong },
		},
		"a contact is gone": {
			`delete from contacts where contact_id = (select min(contact_id) from contacts)`,
			func(v *simulator.Verdict) int { return v.Wrong },
		},
		"a deleted contact is back": {
			`delete from contact_tombstones where contact_id = (select min(contact_id) from contact_tombstones)`,
			func(v *simulator.Verdict) int { return v.Wrong },
		},
		"an audit row is wrong": {
			`update contact_audit_log set changed_columns = '{nothing}' where audit_seq = (select min(audit_seq) from contact_audit_log)`,
			func(v *simulator.Verdict) int { return v.Wrong },
		},
		"an audit row is gone": {
			`delete from contact_audit_log where audit_seq = (select min(audit_seq) from contact_audit_log)`,
			func(v *simulator.Verdict) int { return v.Open },
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			conn := db.connect()
			tx, err := conn.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(ctx)
			// Without the triggers that forbid all this.
			if _, err := tx.Exec(ctx, "set local session_replication_role = replica"); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.PgConn().Exec(ctx, c.damage).ReadAll(); err != nil {
				t.Fatalf("damage: %v", err)
			}
			verdict, err := load.oracle.Judge(ctx, tx)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.count(verdict); got != 1 {
				t.Errorf("got verdict %+v, want one finding", verdict)
			}
		})
	}
}
