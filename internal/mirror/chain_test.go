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

func auditKey(t testing.TB, secret string) chain.Keys {
	t.Helper()
	key, err := chain.NewKey([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return chain.Keys{key}
}

// checkChain reads the log back, links every row anew, and returns how many
// links were made with the key and without.
func checkChain(t testing.TB, r *rig, key chain.Keys) (keyed, unkeyed int) {
	t.Helper()
	heads := map[int16]chain.Head{}
	rows, _ := r.Pool.Query(context.Background(), `select `+strings.Join(audit.Columns(audit.All), ", ")+` from contact_audit_log order by shard, audit_seq`)
	var (
		row     audit.Row
		linkers = map[bool]*audit.Linker{false: audit.NewLinker(nil), true: audit.NewLinker(key)}
		signer  = chain.NewLinker(key)
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
		var stored, signatures []byte
		if err := r.Pool.QueryRow(context.Background(), `select audit_count, audit_head, audit_signatures from sync_shards where shard = $1`, shard).Scan(&head.Count, &stored, &signatures); err != nil {
			t.Fatal(err)
		}
		head.Link, _ = chain.ParseLink(stored)
		if head != heads[shard] {
			t.Errorf("shard %d: stored head %v, want %v", shard, head, heads[shard])
		}
		if signed := signer.Signed(shard, head, signatures); signed != (unkeyed == 0 && key != nil) {
			t.Errorf("shard %d: signed: %t, of %d rows without a key", shard, signed, unkeyed)
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

// apply applies bodies with keys, on workers of their own.
func (r *rig) apply(keys chain.Keys, log *slog.Logger, bodies ...[]byte) {
	r.t.Helper()
	worker := mirror.New(r.Pool, log, 2)
	worker.AuditKeys = keys
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- worker.Run(ctx) }()
	before := r.worker
	r.worker = worker
	r.deliver(bodies...)
	r.drain()
	r.worker = before
	stop()
	if err := <-stopped; err != nil {
		r.t.Fatal(err)
	}
}

// With a key on an empty log, every row is linked with it and every head signed, also
// where other workers have another first key.
func TestWorker_chainsWithKeysInCommon(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	lives := simulator.NewLives(3, []string{"Cust1"}, 12, received.AddDate(0, -1, 0))
	older, newer := auditKey(t, "the older key of the log"), auditKey(t, "the newer key of the log")
	both := chain.Keys{newer[0], older[0]}
	var log bytes.Buffer
	for i := range 6 { // an old and a new process, in turn
		keys := older
		if i%2 == 1 {
			keys = both
		}
		var bodies [][]byte
		for range 15 {
			bodies = append(bodies, lives.Next())
		}
		r.apply(keys, slog.New(slog.NewTextHandler(&log, nil)), bodies...)
	}
	if strings.Contains(log.String(), "audit chain") {
		t.Errorf("the log says %s", &log)
	}
	got := column(t, r.Pool, `select concat_ws(' ', count(distinct substring(chain for 4)), bool_or(substring(chain for 4) = '\x00000000'),
		(select count(*) from sync_shards where audit_signatures is null or audit_break is not null)) from contact_audit_log`)
	if got[0] != "2 f 0" {
		t.Errorf("%s: keys, rows without one, shards without a signature; want 2 f 0", got[0])
	}
}

// After a head that no configured key signed, rows are linked without a key, the log is
// warned once, and the shard is marked; other shards go on with the key.
func TestWorker_continuesForeignHeadsWithoutAKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	lives := simulator.NewLives(3, []string{"Cust1"}, 12, received.AddDate(0, -1, 0))
	next := func(n int) (bodies [][]byte) {
		for range n {
			bodies = append(bodies, lives.Next())
		}
		return bodies
	}
	key := auditKey(t, "a key of enough bytes")
	quiet := slog.New(slog.DiscardHandler)
	r.apply(key, quiet, next(60)...)
	for name, forge := range map[string]string{
		"the head of another row":   `update sync_shards set audit_head = (select chain from contact_audit_log a where a.shard = sync_shards.shard and chain_seq = 1) where shard = $1`,
		"no signature":              `update sync_shards set audit_signatures = null where shard = $1`,
		"another shard's signature": `update sync_shards set audit_signatures = (select audit_signatures from sync_shards o where o.shard <> $1 and audit_signatures is not null limit 1) where shard = $1`,
		"an empty head":             `update sync_shards set audit_count = 0, audit_head = null, audit_signatures = null where shard = $1`,
	} {
		shard := column(t, r.Pool, `select shard::text from contact_audit_log join sync_shards using (shard) where audit_signatures is not null and audit_break is null
			group by shard having count(*) > 1 order by count(*) desc limit 1`)[0]
		if _, err := r.Pool.Exec(t.Context(), strings.ReplaceAll(forge, "$1", shard)); err != nil {
			t.Fatal(err)
		}
		broken, err := audit.Sign(t.Context(), r.Pool, key)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, b := range broken {
			found = found || fmt.Sprint(b.Shard) == shard && b.Since > 0
		}
		if !found {
			t.Errorf("%s: shard %s is not among %v", name, shard, broken)
		}
		if name == "an empty head" { // contactmirror_require_restored refuses to go on
			count := column(t, r.Pool, `select max(chain_seq)::text from contact_audit_log where shard = `+shard)[0]
			if _, err := r.Pool.Exec(t.Context(), `update sync_shards set audit_head = decode(repeat('00', 36), 'hex'), audit_count = `+count+` where shard = `+shard); err != nil {
				t.Fatal(err)
			}
		}
	}
	broken := column(t, r.Pool, `select count(*)::text from sync_shards where audit_break is not null`)[0]
	if broken != "4" {
		t.Fatalf("%s shards are marked, want 4", broken)
	}
	before := column(t, r.Pool, `select max(audit_seq)::text from contact_audit_log`)[0]
	var log bytes.Buffer
	r.apply(key, slog.New(slog.NewTextHandler(&log, nil)), next(120)...)
	if got := strings.Count(log.String(), "signed by no configured key"); got != 4 {
		t.Errorf("%d warnings, want 4: %s", got, &log)
	}
	got := column(t, r.Pool, `select concat_ws(' ', bool_or(substring(chain for 4) = '\x00000000'), bool_or(substring(chain for 4) <> '\x00000000'),
		bool_and((substring(chain for 4) = '\x00000000') = (audit_break is not null)), bool_and((audit_signatures is null) = (audit_break is not null)))
		from contact_audit_log a join sync_shards using (shard) where a.audit_seq > `+before)
	if got[0] != "t t t t" {
		t.Errorf("rows without a key, with one, of broken shards without, of others with signatures: %s", got[0])
	}
}

// A worker without a key goes on with a log that has one, warns, and leaves no signature.
func TestWorker_withoutAKeyOnAKeyedLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	lives := simulator.NewLives(3, []string{"Cust1"}, 12, received.AddDate(0, -1, 0))
	key := auditKey(t, "a key of enough bytes")
	var log bytes.Buffer
	for i, keys := range []chain.Keys{key, nil, key} {
		var bodies [][]byte
		for range 40 {
			bodies = append(bodies, lives.Next())
		}
		if r.apply(keys, slog.New(slog.NewTextHandler(&log, nil)), bodies...); i == 0 && log.Len() > 0 {
			t.Errorf("the log says %s", &log)
		}
	}
	if !strings.Contains(log.String(), "level=WARN") {
		t.Error("nobody was warned")
	}
	got := column(t, r.Pool, `select bool_and(broken = (audit_break is not null))::text
		from (select shard, bool_or(substring(chain for 4) = '\x00000000') as broken from contact_audit_log group by shard) a join sync_shards using (shard)`)
	if got[0] != "true" {
		t.Error("the shards with rows without a key are not those that are marked")
	}
}
