package report_test

import (
	"testing"
	"time"

	"contactmirror/internal/pgtest"
	"contactmirror/internal/report"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestZZ(t *testing.T) {
	db := pgtest.New(t)
	x := func(q string) {
		if _, err := db.Pool.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	x(`insert into webhook_events (context_identifier, event_id, event, primary_key, occurred_at, occurred_ticks, received_at, ignored)
select 'Cust'||g%20, gen_random_uuid(), 'contact.changed', g, now(), 1, now(), false from generate_series(1,1000000) g`)
	x(`insert into sync_queue select event_seq % 32, context_identifier, event_seq from webhook_events`)
	for range 5 {
		began := time.Now()
		b, err := report.ReadBacklog(t.Context(), db.Pool)
		t.Log(time.Since(began), b, err)
	}
	began := time.Now()
	x("select count(*) from sync_queue")
	t.Log("full", time.Since(began))
	x("delete from sync_queue where event_seq < 999000")
	for range 3 {
		began := time.Now()
		b, err := report.ReadBacklog(t.Context(), db.Pool)
		t.Log("dead", time.Since(began), b, err)
		time.Sleep(time.Second)
	}
	x("delete from sync_queue")
	x("alter table webhook_events disable trigger all")
	x("delete from webhook_events")
}
