package mirror

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/bench"
	"contactmirror/internal/pgtest"
	"contactmirror/sql"
)

// hot are the statements that run for every batch.
var hot = map[string]struct {
	text string
	// outside the worker's transaction, with the server's own settings, and planned
	// anew each time: a table without a page may then be read as a whole
	outside bool
}{
	"inbox_put":            {sql.InboxPut, true},
	"inbox_duplicate":      {sql.InboxDuplicate, true},
	"inbox_lock":           {sql.InboxLock, false},
	"inbox_waiting":        {sql.InboxWaiting, true},
	"inbox_claim":          {sql.InboxClaim, false},
	"inbox_bodies":         {sql.InboxBodies, false},
	"mirror_contacts":      {sql.MirrorContacts, false},
	"mirror_contacts_sent": {sql.MirrorContactsSent, false},
	"mirror_tombstones":    {sql.MirrorTombstones, false},
	"mirror_update":        {sql.MirrorUpdate, false},
	"mirror_update_sent":   {sql.MirrorUpdateSent, false},
	"mirror_remove":        {sql.MirrorRemove, false},
	"audit_facts":          {sql.AuditFacts, false},
}

// wholeTable finds a plan that reads all of a table that grows.
var wholeTable = regexp.MustCompile(`(Seq Scan|Bitmap Heap Scan) on (contacts|contact_audit_log|contact_tombstones|webhook_events|webhook_bodies_\w+|sync_queue)|Hash Join|Merge Join`)

// No hot statement reads a table as a whole, whatever the planner knows of it:
// nothing, because it is new, something wrong, because it has grown since, or the
// truth. That holds for plans that are made once and for all, too.
func TestPlansDoNotDependOnLuck(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn, err := pgx.Connect(t.Context(), db.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	tables := []string{"contacts", "contact_audit_log", "contact_tombstones", "webhook_events", "webhook_bodies_contact_default", "sync_queue"}
	for _, table := range tables {
		exec(t, conn, "alter table "+table+" set (autovacuum_enabled = off)")
	}
	exec(t, conn, "analyze")
	checkPlans(t, conn, "empty")

	traffic := bench.Traffic{Tenant: "Cust1", Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	if err := bench.Grow(t.Context(), db.Pool, &traffic, 50_000); err != nil {
		t.Fatal(err)
	}
	backlog := bench.Backlog{Traffic: traffic, Events: 50_000, Contacts: 50_000, From: 1}
	if err := backlog.Queue(t.Context(), db.Pool); err != nil {
		t.Fatal(err)
	}
	checkPlans(t, conn, "grown, not analysed")
	exec(t, conn, "analyze")
	checkPlans(t, conn, "grown, analysed")
	exec(t, conn, "delete from sync_queue") // and the account is right again: nothing was applied
	exec(t, conn, `insert into quarantined_deliveries (received_at, reason, context_identifier, event_seq, body, body_sha256)
		select received_at, 'the test ends here', context_identifier, event_seq, '', '' from webhook_events e
		where not exists (select from contact_audit_log a where a.event_seq = e.event_seq)`)
}

func exec(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func checkPlans(t *testing.T, conn *pgx.Conn, state string) {
	t.Helper()
	for name, statement := range hot {
		positional, _, err := pgx.NamedArgs{}.RewriteQuery(t.Context(), conn, statement.text, nil)
		if err != nil {
			t.Fatal(err)
		}
		prepared, err := conn.Prepare(t.Context(), name, positional)
		if err != nil {
			t.Fatal(err)
		}
		var args []string
		for _, oid := range prepared.ParamOIDs {
			args = append(args, sample(t, conn, oid))
		}
		call := fmt.Sprintf("explain execute %s (%s)", name, strings.Join(args, ", "))
		begin, modes := transaction.BeginQuery, []string{"force_custom_plan", "force_generic_plan"}
		if statement.outside {
			begin, modes = "begin", modes[:1]
		}
		if statement.outside && state == "empty" {
			continue
		}
		for _, mode := range modes {
			exec(t, conn, begin)
			exec(t, conn, "set local plan_cache_mode = "+mode)
			rows, _ := conn.Query(t.Context(), call, pgx.QueryExecModeSimpleProtocol)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatalf("%s: %v", call, err)
			}
			exec(t, conn, "rollback")
			if plan := strings.Join(lines, "\n"); wholeTable.MatchString(plan) {
				t.Errorf("%s, %s, %s: %s\n%s", name, state, mode, wholeTable.FindString(plan), plan)
			}
		}
	}
}

// sample is a literal of a parameter's type: of arrays three elements.
func sample(t *testing.T, conn *pgx.Conn, oid uint32) string {
	t.Helper()
	known, ok := conn.TypeMap().TypeForOID(oid)
	if !ok {
		t.Fatalf("parameter of type %d", oid)
	}
	element, array := strings.CutPrefix(known.Name, "_")
	value := map[string]string{
		"text": "Cust1", "int8": "1", "int4": "1", "int2": "1", "uuid": "00000000-0000-0000-0000-000000000001", "bool": "false",
		"timestamptz": "2026-01-01T00:00:00Z", "timestamp": "2026-01-01T00:00:00", "bytea": `\\x00`, "tid": "(0,1)",
	}[element]
	switch {
	case value == "":
		t.Fatalf("parameter of type %s", known.Name)
	case array && element == "text": // some are array literals or numbers in turn
		return "'{1,1,1}'"
	case array:
		return fmt.Sprintf(`'{"%s","%s","%s"}'`, value, value, value)
	}
	return "'" + value + "'"
}
