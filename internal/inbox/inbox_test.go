package inbox_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var received = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// start runs an inbox on pool until the test ends.
func start(t testing.TB, pool *pgxpool.Pool) *inbox.Inbox {
	t.Helper()
	return startTelling(t, pool, func(...string) {})
}

// startTelling is start with somebody to be told of what is queued.
func startTelling(t testing.TB, pool *pgxpool.Pool, queued func(tenants ...string)) *inbox.Inbox {
	t.Helper()
	in := inbox.New(pool, queued)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return in
}

// delivery is a contact event of tenant's contact id; n makes it one of its own.
func delivery(t testing.TB, tenant string, id, n int) inbox.Delivery {
	t.Helper()
	return parsed(t, fmt.Sprintf(`{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-01T00:00:00Z","Event":"contact.changed",`+
		`"PrimaryKey":%d,"ContextIdentifier":%q,"Changes":["name"]}`, n, id, tenant))
}

func parsed(t testing.TB, body string) inbox.Delivery {
	t.Helper()
	e, err := event.Parse([]byte(body), received)
	if err != nil {
		t.Fatal(err)
	}
	retry := int32(0)
	return inbox.Delivery{Body: []byte(body), ReceivedAt: received, Retry: &retry, Event: &e}
}

func put(t testing.TB, in *inbox.Inbox, d inbox.Delivery) inbox.Result {
	t.Helper()
	result, err := in.Put(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func texts(t testing.TB, db *pgxpool.Pool, query string) []string {
	t.Helper()
	rows, _ := db.Query(context.Background(), query)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// Each way in which pgx can talk to the server, for poolers need some of them.
func TestPut(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			testPut(t, mode)
		})
	}
}

func testPut(t *testing.T, mode pgx.QueryExecMode) {
	t.Helper()
	db := pgtest.New(t)
	config := db.Pool.Config()
	config.ConnConfig.DefaultQueryExecMode = mode
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	in := start(t, pool)
	changed := delivery(t, "Cust1", 7, 1)
	again := changed
	again.Body = slices.Concat(changed.Body, []byte(" ")) // the same key with other bytes
	garbled := inbox.Delivery{Body: []byte("{\x00"), ReceivedAt: received, Reason: "is not JSON", Headers: http.Header{"X-A": {"b\xff"}}}
	nul := "Cust\x00"
	garbled.Tenant = &nul
	ping := parsed(t, `{"Event":"test","EventId":"4b5ce038-50f2-4796-bdb2-f96908cf31c2","PrimaryKey":0}`)
	keyless := parsed(t, `{"Event":"sale.sold"}`)
	otherKeyless := parsed(t, `{"Event":"sale.lost"}`)
	steps := []struct {
		name string
		d    inbox.Delivery
		want inbox.Result
	}{
		{"new", changed, inbox.Accepted},
		{"again", changed, inbox.Duplicate},
		{"again with other bytes", again, inbox.Duplicate},
		{"another tenant's", delivery(t, "Cust2", 7, 1), inbox.Accepted},
		{"another contact's", delivery(t, "Cust1", 8, 1), inbox.Accepted},
		{"test event", ping, inbox.Ignored},
		{"test event again", ping, inbox.Duplicate},
		{"without a key", keyless, inbox.Ignored},
		{"without a key again", keyless, inbox.Duplicate},
		{"another without a key", otherKeyless, inbox.Ignored},
		{"garbled", garbled, inbox.Quarantined},
		{"garbled again", garbled, inbox.Quarantined},
	}
	for _, step := range steps {
		if got := put(t, in, step.d); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	for query, want := range map[string][]string{
		`select concat_ws(' ', context_identifier, accepted, ignored, queued, balanced) from event_accounting order by context_identifier`:                                   {" 3 3 0 t", "Cust1 2 0 2 t", "Cust2 1 0 1 t"},
		`select concat_ws(' ', retry, d.body_sha256 = sha256(b.body)) from duplicate_deliveries d join webhook_bodies b using (event_seq) order by duplicate_seq`:            {"0 t", "0 f", "0 t", "0 t"},
		`select concat_ws(' ', reason, deliveries, body = '\x7b00', headers, context_identifier is null, body_sha256 = sha256(body), event_seq) from quarantined_deliveries`: {`is not JSON 2 t {"X-A": ["b�"]} t t`},
	} {
		if diff := cmp.Diff(want, texts(t, db.Pool, query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
}

// Everything that is put at the same moment is stored once, whoever puts it.
func TestPutAtTheSameMoment(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	in := start(t, db.Pool)
	const events, times = 60, 5
	results := make(chan inbox.Result, events*times)
	var puts sync.WaitGroup
	for i := range events * times {
		d := delivery(t, "Cust1", 1+i%events, i%events)
		puts.Go(func() { results <- put(t, in, d) })
	}
	puts.Wait()
	close(results)
	count := map[inbox.Result]int{}
	for r := range results {
		count[r]++
	}
	if want := (map[inbox.Result]int{inbox.Accepted: events, inbox.Duplicate: events * (times - 1)}); !cmp.Equal(count, want) {
		t.Errorf("results %v, want %v", count, want)
	}
	if got := texts(t, db.Pool, `select concat_ws(' ', count(*), (select count(*) from duplicate_deliveries), (select count(*) from webhook_bodies)) from sync_queue`); got[0] != "60 240 60" {
		t.Errorf("queued, duplicates and bodies: %s, want 60 240 60", got[0])
	}
}

// What the server refuses after parsing let it pass is kept as bytes, its
// repetitions too, and does not fail its neighbours in the commit.
func TestRefusedRowIsQuarantinedAlone(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `alter table webhook_events add constraint poison check (primary_key <> 13)`); err != nil {
		t.Fatal(err)
	}
	in := start(t, db.Pool)
	var puts sync.WaitGroup
	for i := range 120 {
		d := delivery(t, "Cust1", 1+i%40, i%40)
		puts.Go(func() {
			got := put(t, in, d)
			if poisoned := *d.Event.PrimaryKey == 13; poisoned != (got == inbox.Quarantined) {
				t.Errorf("contact %d: %s", *d.Event.PrimaryKey, got)
			}
		})
	}
	puts.Wait()
	if got := texts(t, db.Pool, `select reason || ' ' || deliveries from quarantined_deliveries`); len(got) != 1 || !strings.Contains(got[0], `check constraint "poison"`) || !strings.HasSuffix(got[0], " 3") {
		t.Errorf("quarantine %q", got)
	}
}

// Concurrency rule 1: lock, then read. Claims of many transactions on the same
// shards never share an event, and none is left out.
func TestLockThenRead(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	in := start(t, db.Pool)
	const events = 400
	var puts sync.WaitGroup
	for i := range events {
		puts.Go(func() { put(t, in, delivery(t, "Cust1", 1+i%3, i)) })
	}
	puts.Wait()

	var (
		marks   inbox.Marks
		mu      sync.Mutex
		claimed []int64
		claims  sync.WaitGroup
	)
	for worker := range 6 {
		claims.Go(func() {
			for {
				var (
					got   []int64
					batch []inbox.Claimed
					left  = true
				)
				err := pgx.BeginFunc(context.Background(), db.Pool, func(tx pgx.Tx) error {
					held, err := inbox.LockShards(context.Background(), tx, &marks, 2, int32(worker))
					if err != nil || len(held.Shards) == 0 {
						if err == nil {
							left, err = inbox.Waiting(context.Background(), tx, &marks)
						}
						return err
					}
					batch, err = inbox.Claim(context.Background(), tx, &marks, held, 7)
					for _, c := range batch {
						got = append(got, c.EventSeq)
					}
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
				marks.Passed(batch)
				mu.Lock()
				claimed = append(claimed, got...)
				mu.Unlock()
				if !left {
					return
				}
			}
		})
	}
	claims.Wait()
	slices.Sort(claimed)
	if n := len(claimed); n != events || len(slices.Compact(claimed)) != events {
		t.Errorf("claimed %d events, %d of them different, want %d", n, len(slices.Compact(claimed)), events)
	}
	// What this test claimed is applied by nobody.
	if _, err := db.Pool.Exec(t.Context(), `insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes)
		select 0, 'Cust1', event_seq, received_at, 0 from webhook_events`); err != nil {
		t.Fatal(err)
	}
}

// Concurrency rule 2: sequence numbers commit out of order. An event whose
// commit is held open is claimed later, though its number is lower, and though
// hundreds with higher numbers have been claimed and marked as gone.
func TestSequenceNumbersCommitOutOfOrder(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	held, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inbox.PutIn(t.Context(), held, delivery(t, "Cust1", 1, 0)); err != nil {
		t.Fatal(err)
	}
	var marks inbox.Marks
	const events = 400
	for range 2 {
		putAll(t, db.Pool, events)
		if got := claimAll(t, db.Pool, &marks); len(got) != events || slices.Contains(got, 1) {
			t.Errorf("claimed %d while 1 was not committed, want %d without it", len(got), events)
		}
	}
	if err := held.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := claimAll(t, db.Pool, &marks); !cmp.Equal(got, []int64{1}) {
		t.Errorf("claimed %v after 1 was committed, want 1", got)
	}
}

// After a failover to a standby that lagged, transactions have numbers that those
// of the old server had too. What was marked there hides nothing here.
func TestMarksAreOfTheirServer(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	var marks inbox.Marks
	const events = 400
	putAll(t, db.Pool, events)
	claim := func(queue string) {
		t.Helper()
		var batch []inbox.Claimed
		claimed := claimBatches(t, db.Pool, &marks, func(found []inbox.Claimed) { batch = found })
		if len(claimed) != events {
			t.Fatalf("claimed %d, want %d", len(claimed), events)
		}
		far := slices.Repeat(batch, 256) // each lane is worth a mark
		for i := range far {
			far[i].WrittenBy, far[i].Horizon = "1000000000000", "1000000000000"
			far[i].Queue = queue
		}
		marks.Passed(far)
	}
	claim("another")
	putAll(t, db.Pool, events)
	claim(queueOf(t, db.Pool))
	putAll(t, db.Pool, events)
	if hidden := claimAll(t, db.Pool, &marks); len(hidden) > 0 {
		t.Errorf("claimed %d behind marks of this server, so the test shows nothing", len(hidden))
	}
	if claimed := claimAll(t, db.Pool, &inbox.Marks{}); len(claimed) != events {
		t.Errorf("claimed %d without marks, want %d", len(claimed), events)
	}
}

// queueOf is what a claim calls the queue.
func queueOf(t *testing.T, pool *pgxpool.Pool) (queue string) {
	t.Helper()
	const name = "select concat_ws(' ', extract(epoch from pg_postmaster_start_time()), pg_relation_filepath('sync_queue'))"
	if err := pool.QueryRow(t.Context(), name).Scan(&queue); err != nil {
		t.Fatal(err)
	}
	return queue
}

// A claim does not walk over what was claimed before, though vacuum can't take
// it away: it looks at hardly more pages than in a new queue.
func TestClaimsSkipDeadRows(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	report, err := db.Pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = report.Rollback(context.Background()) }()
	if _, err := report.Exec(t.Context(), "select count(*) from contacts"); err != nil { // holds a snapshot from now on
		t.Fatal(err)
	}
	config := db.Pool.Config()
	config.MaxConns = 1
	one, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	var marks inbox.Marks
	looks := func() int {
		putAll(t, db.Pool, 20)
		before := looked(t, one)
		if n := len(claimAll(t, one, &marks)); n != 20 {
			t.Errorf("claimed %d, want 20", n)
		}
		return looked(t, one) - before
	}
	fresh := looks()
	putAll(t, db.Pool, 20_000)
	claimAll(t, one, &marks)
	looks() // the first one still walks over its own batch
	if worn := looks(); worn > fresh+2000 {
		t.Errorf("a claim of 20 looks at %d index entries after 20,000 dead ones, and at %d before", worn, fresh)
	}
}

// looked is how many entries of the queue's index have been read, by the only
// connection of pool and those that have ended.
func looked(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), "select pg_stat_force_next_flush()"); err != nil {
		t.Fatal(err)
	}
	const entries = "select idx_tup_read from pg_stat_user_indexes where relid = 'sync_queue'::regclass"
	if err := pool.QueryRow(t.Context(), entries).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// putAll stores n new events of 200 contacts, in one transaction each 500.
func putAll(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	for n > 0 {
		some := min(n, 500)
		n -= some
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			for range some {
				i := int(putNumber.Add(1))
				if _, err := inbox.PutIn(t.Context(), tx, delivery(t, "Cust1", 1+i%200, i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

var putNumber atomic.Int64

// claimAll claims until nothing is found, quarantines what it finds, so that the
// account is right, and returns it.
func claimAll(t *testing.T, pool *pgxpool.Pool, marks *inbox.Marks) (seqs []int64) {
	t.Helper()
	return claimBatches(t, pool, marks, func([]inbox.Claimed) {})
}

// claimBatches does so and calls each with what one claim has found.
func claimBatches(t *testing.T, pool *pgxpool.Pool, marks *inbox.Marks, each func([]inbox.Claimed)) (seqs []int64) {
	t.Helper()
	for found := true; found; {
		var batch []inbox.Claimed
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			l, err := inbox.LockShards(t.Context(), tx, marks, 32, 0)
			if err != nil {
				return err
			}
			if found = len(l.Shards) > 0; !found {
				return nil
			}
			if batch, err = inbox.Claim(t.Context(), tx, marks, l, 1000); err != nil {
				return err
			}
			numbers := make([]int64, len(batch))
			for i, c := range batch {
				numbers[i] = c.EventSeq
			}
			seqs = append(seqs, numbers...)
			_, err = tx.Exec(t.Context(), `insert into quarantined_deliveries (received_at, reason, context_identifier, event_seq, body, body_sha256)
				select received_at, 'the test ends here', context_identifier, event_seq, '', ''
				from webhook_events where event_seq = any ($1)`, numbers)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		marks.Passed(batch)
		if len(batch) > 0 {
			each(batch)
		}
	}
	return seqs
}

// Concurrency rule 3: sorted batches. Two processes that store the same events
// in opposite orders wait for one another, but not in a circle.
func TestSortedBatchesDoNotDeadlock(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	one, two := start(t, db.Pool), start(t, db.Pool)
	const events = 200
	var puts sync.WaitGroup
	accepted := make(chan int, 2*events)
	for _, in := range []*inbox.Inbox{one, two} {
		for _, n := range rand.Perm(events) {
			puts.Go(func() {
				if put(t, in, delivery(t, "Cust1", 1+n, n)) == inbox.Accepted {
					accepted <- n
				}
			})
		}
	}
	puts.Wait()
	if len(accepted) != events {
		t.Errorf("%d accepted, want %d", len(accepted), events)
	}
	if got := texts(t, db.Pool, `select deadlocks::text from pg_stat_database where datname = current_database()`); got[0] != "0" {
		t.Errorf("%s deadlocks", got[0])
	}
}

// Concurrency rule 5: client deadlines. A server that does not answer is an
// error within the time, and putting the same again afterwards is safe.
func TestHangingServer(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	in := start(t, db.Pool)
	d := delivery(t, "Cust1", 1, 1)
	hang, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hang.Exec(t.Context(), `lock table webhook_events in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	bounded, cancel := context.WithTimeout(t.Context(), inbox.Timeout)
	defer cancel()
	result, err := in.Put(bounded, d)
	if took := time.Since(began); err == nil || took > 3*inbox.Timeout {
		t.Errorf("%s, %v after %v, want an error within %v", result, err, took, inbox.Timeout)
	}
	if err := hang.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := put(t, start(t, db.Pool), d); got != inbox.Accepted && got != inbox.Duplicate {
		t.Errorf("put again: %s", got)
	}
	if got := texts(t, db.Pool, `select count(*)::text from webhook_events`); got[0] != "1" {
		t.Errorf("%s events, want 1", got[0])
	}
}

// A tenant's burst does not keep the others waiting.
func TestClaimIsFair(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	var marks inbox.Marks
	if _, err := db.Pool.Exec(t.Context(), `insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes)
		select n % 32, 'Burst', n, now(), 0 from generate_series(1, 5000) n;
		insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes)
		select 3, 'Quiet', n, now(), 0 from generate_series(10000, 10002) n`); err != nil {
		t.Fatal(err)
	}
	tx, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := tx.Exec(context.Background(), `delete from sync_queue`); err != nil {
			t.Error(err)
		}
		if err := tx.Commit(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	held, err := inbox.LockShards(t.Context(), tx, &marks, 8, 0)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := inbox.Claim(t.Context(), tx, &marks, held, 90)
	if err != nil {
		t.Fatal(err)
	}
	quiet := 0
	for _, c := range batch {
		if c.EventSeq >= 10000 {
			quiet++
		}
	}
	if len(batch) < 80 || len(batch) > 90 || quiet != 3 {
		t.Errorf("claimed %d, of them %d of the quiet tenant, want about 83 and 3", len(batch), quiet)
	}
}

// Each commit that queues something is told, with whose it is; one that only knows
// events again, or ignores them, is not.
func TestQueuedTenantsAreTold(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	told := make(chan []string, 10)
	in := startTelling(t, db.Pool, func(tenants ...string) { told <- tenants })
	for _, d := range []inbox.Delivery{delivery(t, "Cust1", 1, 1), delivery(t, "Cust1", 1, 1), parsed(t, `{"Event":"sale.sold"}`), delivery(t, "Cust2", 1, 2)} {
		put(t, in, d)
	}
	if diff := cmp.Diff([][]string{{"Cust1"}, {"Cust2"}}, [][]string{<-told, <-told}); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func BenchmarkPut(b *testing.B) {
	db := pgtest.Durable(b)
	in := start(b, db.Pool)
	b.SetParallelism(32) // 64 connections on two cores
	var n atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			i := int(n.Add(1))
			put(b, in, delivery(b, "Cust1", 1+i%5000, i))
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// A mistake in the program is no outage: the statement is not run again, and whoever
// waits is told at once, so that the spool can take the delivery.
func TestPut_doesNotRetryAProgrammingError(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		statement string
		d         inbox.Delivery
	}{
		"event":      {"Stores the events that are new", delivery(t, "Cust1", 7, 1)},
		"duplicate":  {"Notes deliveries of events", delivery(t, "Cust1", 7, 2)},
		"quarantine": {"Keeps deliveries that could not be understood", inbox.Delivery{Body: []byte("{"), ReceivedAt: received, Reason: "is not JSON"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			put(t, start(t, db.Pool), delivery(t, "Cust1", 7, 2))
			broken := db.Broken(t, c.statement)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := start(t, broken.Pool).Put(ctx, c.d)
			if err == nil || !strings.Contains(err.Error(), `statement "`+c.statement) {
				t.Errorf("error %v, want one that names the statement", err)
			}
			if n := broken.Attempts.Load(); n != 1 {
				t.Errorf("the statement was run %d times, want once", n)
			}
		})
	}
}

// However many contacts malformed deliveries name, alone or together, they are kept
// in time, and with default settings of the server.
func TestPut_malformedDeliveriesThatNameManyContacts(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	in := start(t, db.Pool)
	tenant := "Cust1"
	malformed := func(n, ids int) inbox.Delivery {
		text := fmt.Appendf(nil, `{"Event":"contact.changed","n":%d`, n)
		for i := range ids {
			text = fmt.Appendf(text, `,"PrimaryKey":%d`, n*ids+i+1)
		}
		return inbox.Delivery{Body: append(text, '}'), ReceivedAt: received, Reason: "PrimaryKey occurs several times", Tenant: &tenant}
	}
	if got := put(t, in, malformed(0, 50_000)); got != inbox.Quarantined {
		t.Errorf("many ids: %s", got)
	}
	// Together, more ids than the server has room for locks.
	var puts sync.WaitGroup
	for n := range 1500 {
		puts.Go(func() {
			if got, err := in.Put(t.Context(), malformed(n+1, 16)); got != inbox.Quarantined || err != nil {
				t.Errorf("delivery %d: %s, %v", n, got, err)
			}
		})
	}
	puts.Wait()
	if got := texts(t, db.Pool, `select count(*)::text from quarantined_deliveries`); got[0] != "1501" {
		t.Errorf("%s are kept, want 1501", got[0])
	}
}
