package mirror_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/audit"
	"contactmirror/internal/chain"
	"contactmirror/internal/mirror"
	"contactmirror/internal/simulator"
)

func auditKey(t testing.TB, secret string) *chain.Key {
	t.Helper()
	key, err := chain.NewKey([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// checkChain reads the log back, links every row anew, and returns how many
// links were made with the key and without.
func checkChain(t testing.TB, r *rig, key *chain.Key) (keyed, unkeyed int) {
	t.Helper()
	heads := map[int16]chain.Head{}
	rows, _ := r.Pool.Query(context.Background(), `select `+strings.Join(audit.Columns(audit.All), ", ")+` from contact_audit_log order by shard, audit_seq`)
	var (
		row     audit.Row
		linkers = map[bool]*audit.Linker{false: audit.NewLinker(nil), true: audit.NewLinker(key)}
		targets = row.Targets(audit.All)
	)
	err := each(rows, targets, func() (err error) {
		link, ok := chain.ParseLink(row.Chain)
		if !ok {
			return fmt.Errorf("row %d has no link", row.AuditSeq)
		}
		byKey := link.Key() != chain.KeyID{}
		if keyed++; !byKey {
			keyed, unkeyed = keyed-1, unkeyed+1
		}
		want := chain.Head{Count: row.ChainSeq, Link: link}
		if heads[row.Shard], err = linkers[byKey].Link(&row, heads[row.Shard]); err != nil {
			return err
		}
		if heads[row.Shard] != want {
			return fmt.Errorf("row %d: stored %v, made anew %v", row.AuditSeq, want, heads[row.Shard])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for shard := range int16(32) {
		var head chain.Head
		var stored, seal []byte
		if err := r.Pool.QueryRow(context.Background(), `select audit_count, audit_head, audit_seal from sync_shards where shard = $1`, shard).Scan(&head.Count, &stored, &seal); err != nil {
			t.Fatal(err)
		}
		head.Link, _ = chain.ParseLink(stored)
		if head != heads[shard] {
			t.Errorf("shard %d: stored head %v, want %v", shard, head, heads[shard])
		}
		if want := chain.NewLinker(key).Seal(shard, head); key != nil && head.Link.Key() != key.ID() && !bytes.Equal(seal, want[:]) {
			t.Errorf("shard %d: sealed with %x, want %v", shard, seal, want)
		}
	}
	return keyed, unkeyed
}

func each(rows pgx.Rows, targets []any, do func() error) error {
	_, err := pgx.ForEachRow(rows, targets, do)
	return err
}

// Batches that are halved, rolled back or quarantine an event leave the chain
// without a gap, through several workers at once.
func TestChainHoldsThroughFailures(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4)
	// Every batch fails once for its data, and one in three for the database.
	for _, statement := range []string{
		`create sequence trouble`,
		`create function stumble() returns trigger language plpgsql as $$
		begin
			if new.name like 'poison%' then
				raise exception 'poison' using errcode = '22000';
			elsif nextval('trouble') % 97 = 0 then
				raise exception 'full' using errcode = '53100';
			end if;
			return new;
		end $$`,
		`create trigger stumble before insert or update on contacts for each row execute function stumble()`,
	} {
		if _, err := r.Pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	lives := simulator.NewLives(7, []string{"Cust1", "Cust2"}, 60, received.AddDate(0, -1, 0))
	var bodies [][]byte
	for i := range 600 {
		bodies = append(bodies, lives.Next())
		if i%60 == 0 {
			bodies = append(bodies, fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-10-30T00:00:00Z","Event":"contact.changed",`+
				`"PrimaryKey":%d,"ContextIdentifier":"Poisoned","FieldValues":{"name":"poison"}}`, i, i+1))
		}
	}
	r.deliver(bodies[:300]...)
	r.run(r.worker.Run)
	r.deliver(bodies[300:]...)
	r.drain()
	if got := column(t, r.Pool, `select count(*)::text from quarantined_deliveries`); got[0] != "10" {
		t.Errorf("%s events in quarantine, want 10", got[0])
	}
	if keyed, unkeyed := checkChain(t, r, nil); keyed != 0 || unkeyed != 600 {
		t.Errorf("%d keyed and %d unkeyed links, want 0 and 600", keyed, unkeyed)
	}
	if got := column(t, r.Pool, `select (nextval('trouble') > 200)::text`); got[0] != "true" {
		t.Error("the trigger has hardly fired: the test tests nothing")
	}
}

// A key that comes later seals what was written without it, in every shard.
func TestChainWithAKeyFromNowOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	lives := simulator.NewLives(3, []string{"Cust1"}, 12, received.AddDate(0, -1, 0))
	var bodies [][]byte
	for range 80 {
		bodies = append(bodies, lives.Next())
	}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- r.worker.Run(ctx) }()
	r.deliver(bodies[:50]...)
	r.drain()
	stop()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	key := auditKey(t, "a key of enough bytes")
	keyed := mirror.New(r.Pool, slog.New(slog.DiscardHandler), 2)
	keyed.AuditKey = key
	r.worker = keyed
	r.run(keyed.Run)
	id := key.ID()
	for sealed := ""; sealed != "32"; {
		sealed = column(t, r.Pool, `select count(*)::text from sync_shards where substring(audit_seal for 4) = $1`, id[:])[0]
	}
	checkChain(t, r, key)
	r.deliver(bodies[50:]...)
	r.drain()
	if keyed, unkeyed := checkChain(t, r, key); keyed != 30 || unkeyed != 50 {
		t.Errorf("%d keyed and %d unkeyed links, want 30 and 50", keyed, unkeyed)
	}
}
