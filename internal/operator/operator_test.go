package operator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/quarantine"
	"contactmirror/internal/rebuild"
	"contactmirror/internal/refold"
	"contactmirror/internal/retention"
	"contactmirror/migrations"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// recorded is operator_actions, a line for each row.
func recorded(t *testing.T, db *pgtest.DB) []string {
	t.Helper()
	rows, err := db.Pool.Query(t.Context(), `
		select concat_ws(' ', actor, action, context_identifier, contact_id), detail
		from operator_actions
		where database_role = session_user and at > now() - interval '1 hour'
		order by action_seq`)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for rows.Next() {
		var line string
		var detail map[string]json.RawMessage
		if err := rows.Scan(&line, &detail); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// Every operation that changes something leaves one row, and one that changes
// nothing, because it failed or was a dry run, leaves none.
func TestRecord_eachOperation(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "exec"} { // the latter behind a transaction pooler
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testEachOperation(t, mode)
		})
	}
}

func testEachOperation(t *testing.T, mode string) {
	db := pgtest.New(t)
	url, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := url.Query()
	query.Set("default_query_exec_mode", mode)
	url.RawQuery = query.Encode()
	db.URL = url.String()
	pool, err := pg.Open(db.URL, rebuild.Conns)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for range 2 {
		_, err := db.Pool.Exec(t.Context(), `insert into quarantined_deliveries (received_at, reason, body, body_sha256)
			values (now() - interval '1 minute', 'not JSON', '{', uuid_send(gen_random_uuid()))`)
		if err != nil {
			t.Fatal(err)
		}
	}
	var (
		key     = contact.Key{Tenant: "Cust1", ID: 7}
		reason  = "letter of 2026-11-20"
		invalid *quarantine.StillInvalidError
		want    []string
	)
	for _, operation := range []struct {
		name   string
		do     func(ctx context.Context) error
		failed func(error) bool
		row    string // none where it is empty
	}{
		{"retry that stays invalid", func(ctx context.Context) error {
			return quarantine.Retry(ctx, pool, "ann", 1, quarantine.Verifier{AllowUnsigned: true})
		}, func(err error) bool { return errors.As(err, &invalid) }, "ann retry_quarantine"},
		{"discard", func(ctx context.Context) error { return quarantine.Discard(ctx, pool, "bob", 2) }, nil, "bob discard_quarantine"},
		{"discard again", func(ctx context.Context) error { return quarantine.Discard(ctx, pool, "bob", 2) }, func(err error) bool { return errors.Is(err, quarantine.ErrResolved) }, ""},
		{"erase, dry", func(ctx context.Context) error {
			_, err := erasure.Erase(ctx, pool, key, erasure.Options{Author: erasure.Author{Actor: "cid"}, DryRun: true})
			return err
		}, nil, ""},
		{"erase", func(ctx context.Context) error {
			_, err := erasure.Erase(ctx, pool, key, erasure.Options{Author: erasure.Author{Actor: "cid"}, Reason: &reason})
			return err
		}, nil, "cid erase Cust1 7"},
		{"lift", func(ctx context.Context) error { return erasure.Lift(ctx, pool, key, erasure.Author{Actor: "dan"}) }, nil, "dan lift_erasure Cust1 7"},
		{"lift again", func(ctx context.Context) error { return erasure.Lift(ctx, pool, key, erasure.Author{Actor: "dan"}) }, func(err error) bool { return errors.Is(err, erasure.ErrNotErased) }, ""},
		{"rebuild, dry", func(ctx context.Context) error {
			_, err := rebuild.Run(ctx, pool, rebuild.Options{Actor: "eve", Action: operator.Rebuild, DryRun: true, Wait: time.Second})
			return err
		}, nil, ""},
		{"replay", func(ctx context.Context) error {
			scope := refold.Scope{Tenant: new("Cust1"), Logged: true}
			_, err := rebuild.Run(ctx, pool, rebuild.Options{Actor: "eve", Action: operator.Replay, Scope: scope, Wait: time.Second})
			return err
		}, nil, "eve replay Cust1"},
		{"prune, dry", func(ctx context.Context) error {
			_, err := retention.Prune(ctx, pool, retention.Options{Actor: "fay", Keep: retention.Keep{Bodies: 48 * time.Hour}, DryRun: true})
			return err
		}, nil, ""},
		{"prune", func(ctx context.Context) error {
			_, err := retention.Prune(ctx, pool, retention.Options{Actor: "fay", Keep: retention.Keep{Bodies: 48 * time.Hour}})
			return err
		}, nil, "fay prune"},
		{"prune on a schedule", func(ctx context.Context) error {
			_, err := retention.Prune(ctx, pool, retention.Options{Keep: retention.Keep{Bodies: 48 * time.Hour}})
			return err
		}, nil, ""},
		{"publish", func(ctx context.Context) error {
			_, err := migrations.Publish(ctx, db.URL, "followers", "gus")
			return err
		}, nil, "gus publish"},
		{"grant to nobody", func(ctx context.Context) error {
			_, err := migrations.Grant(ctx, db.URL, migrations.Roles{Service: "no such role", Actor: "gus"})
			return err
		}, func(err error) bool { return err != nil }, ""},
	} {
		err := operation.do(t.Context())
		if operation.failed == nil && err != nil || operation.failed != nil && !operation.failed(err) {
			t.Errorf("%s: %v", operation.name, err)
		}
		if operation.row != "" {
			want = append(want, operation.row)
		}
		if diff := cmp.Diff(want, recorded(t, db)); diff != "" {
			t.Fatalf("after %s (-want +got):\n%s", operation.name, diff)
		}
	}
}

func TestRecord_appendOnly(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if err := operator.Record(t.Context(), db.Pool, operator.Entry{Actor: "ann", Action: operator.Prune}); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`update operator_actions set actor = 'bob'`, `delete from operator_actions`, `truncate operator_actions`,
	} {
		if _, err := db.Pool.Exec(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	for what, e := range map[string]operator.Entry{
		"nobody": {Action: operator.Prune}, "no such action": {Actor: "ann", Action: "drop"}, "a contact of no tenant": {Actor: "ann", Action: operator.Erase, ContactID: new(int64(1))},
	} {
		if err := operator.Record(t.Context(), db.Pool, e); err == nil {
			t.Errorf("%s: recorded", what)
		}
	}
	if got := fmt.Sprint(recorded(t, db)); got != "[ann prune]" {
		t.Errorf("recorded %s", got)
	}
}
