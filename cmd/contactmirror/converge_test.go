package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"contactmirror/internal/contact"
	"contactmirror/internal/event"
	"contactmirror/internal/pgtest"
	"contactmirror/internal/simulator"
)

const testSecret = "Something Super Secret"

// server is a serve of this program on a database.
type server struct{ url string }

// serve runs the program's serve, as a process would, until the test ends.
func serve(t testing.TB, db *pgtest.DB, args ...string) server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log, logged := io.Pipe()
	done := make(chan exitCode, 1)
	go func() {
		done <- run(ctx, append([]string{"serve"}, args...), invocation{
			environ: []string{
				"DATABASE_URL=" + db.URL, "CONTACTMIRROR_SECRET=" + testSecret, "CONTACTMIRROR_DATA_DIR=" + t.TempDir(),
				"CONTACTMIRROR_LISTEN=127.0.0.1:0", "CONTACTMIRROR_ADMIN_LISTEN=off", "CONTACTMIRROR_LOG_FORMAT=text",
			},
			stdin: bytes.NewReader(nil), stdout: io.Discard, stderr: logged,
		})
		_ = logged.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("serve ended with exit code %d", code)
		}
	})
	found, text := make(chan string, 1), &bytes.Buffer{}
	go func() {
		address := regexp.MustCompile(`http://127\.0\.0\.1:\d+/webhook`)
		for buffer := make([]byte, 4096); ; {
			n, err := log.Read(buffer)
			text.Write(buffer[:n])
			if url := address.Find(text.Bytes()); url != nil {
				select {
				case found <- string(url):
				default:
				}
			}
			if err != nil {
				close(found)
				return
			}
		}
	}()
	url, ok := <-found
	if !ok {
		t.Fatalf("serve has not started:\n%s", text)
	}
	return server{url}
}

// deliver posts bodies to servers, at random, from 32 connections.
func deliver(t interface {
	Helper()
	Fatal(...any)
}, servers []server, bodies [][]byte,
) {
	t.Helper()
	client := simulator.NewClient(30 * time.Second)
	client.Transport = &http.Transport{MaxIdleConnsPerHost: 32}
	defer client.CloseIdleConnections()
	var posts errgroup.Group
	posts.SetLimit(32)
	for _, body := range bodies {
		sender := simulator.Sender{URL: servers[rand.IntN(len(servers))].url, Secret: testSecret, Client: client}
		posts.Go(func() error {
			attempts, err := sender.Send(context.Background(), body)
			if err == nil && !attempts[len(attempts)-1].Delivered() {
				err = fmt.Errorf("%s: answered %+v", body, attempts)
			}
			return err
		})
	}
	if err := posts.Wait(); err != nil {
		t.Fatal(err)
	}
}

// rows are the mirrored rows of contacts, by key, less what may depend on the
// order of arrival.
func rows(ctx context.Context, db *pgtest.DB, query string) ([]string, error) {
	found, _ := db.Pool.Query(ctx, query)
	return pgx.CollectRows(found, pgx.RowTo[string])
}

const (
	contactRows = `select (to_jsonb(c) - 'first_seen_at' - 'mirrored_at')::text from contacts c order by context_identifier, contact_id`
	tombstones  = `select (to_jsonb(t) - 'event_seq')::text from contact_tombstones t order by context_identifier, contact_id`
	// Locks the shards, and so waits for batches under way.
	queueLength = `select count(*)::text from sync_queue where (select count(*) from (select from sync_shards order by shard for update) locked) = 32`
)

// drained waits until everything that servers have accepted is applied. On a
// busy machine some of it may have gone to a spool.
func drained(t interface {
	Helper()
	Fatal(...any)
}, servers []server, db *pgtest.DB,
) {
	t.Helper()
	for _, s := range servers {
		for spool := ""; !strings.Contains(spool, `"spool":"empty"`); {
			answer, err := http.Get(strings.Replace(s.url, "/webhook", "/readyz", 1)) //nolint:noctx // of our own server
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			spool = string(body)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; {
		length, err := rows(context.Background(), db, queueLength)
		if err != nil {
			t.Fatal(err)
		}
		if length[0] == "0" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(length[0], " events are still queued")
		}
	}
}

// Two serve processes on one database, each with several workers, under
// duplicated and shuffled traffic, end in the rows that one worker makes of the
// events in order.
func TestTwoServersConverge(t *testing.T) {
	t.Parallel()
	lives := simulator.NewLives(7, []string{"", "Cust1", "Cust2"}, 40, time.Now().AddDate(0, -1, 0))
	var bodies [][]byte
	for range 1500 {
		bodies = append(bodies, lives.Next())
	}
	inOrder, both := pgtest.New(t), pgtest.New(t)
	one := serve(t, inOrder, "--workers", "1")
	for batch := range slices.Chunk(bodies, 100) {
		deliver(t, []server{one}, batch)
		drained(t, []server{one}, inOrder)
	}

	arrival := slices.Concat(bodies, bodies[:500], bodies[1000:])
	rand.Shuffle(len(arrival), func(i, j int) { arrival[i], arrival[j] = arrival[j], arrival[i] })
	two := []server{serve(t, both, "--workers", "4"), serve(t, both, "--workers", "4")}
	deliver(t, two, arrival)
	drained(t, two, both)
	for _, query := range []string{contactRows, tombstones} {
		want, err := rows(t.Context(), inOrder, query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := rows(t.Context(), both, query)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
			t.Errorf("%d rows (-one server, in order +two servers, shuffled):\n%s", len(want), diff)
		}
	}
	duplicates, err := rows(t.Context(), both, `select count(*)::text from duplicate_deliveries`)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.Atoi(duplicates[0]); err != nil || n < 1000 { // more where an answer came late and the sender tried again
		t.Errorf("%s duplicates, %v, want 1000", duplicates, err)
	}
}

// Any permutation, duplication and batching of random lives gives, through HTTP
// and the database, the rows that the pure fold makes of them.
func TestConvergesOnTheFold(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	servers := []server{serve(t, db, "--workers", "2")}
	var mu sync.Mutex
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		mu.Lock()
		run++
		tenants := []string{fmt.Sprintf("A%d", run), fmt.Sprintf("B%d", run)} // of this run alone
		mu.Unlock()
		lives := simulator.NewLives(rapid.Uint64().Draw(rt, "seed"), tenants, rapid.IntRange(1, 6).Draw(rt, "contacts"), time.Now().AddDate(0, -1, 0))
		var bodies [][]byte
		for range rapid.IntRange(1, 40).Draw(rt, "events") {
			bodies = append(bodies, lives.Next())
		}
		arrival := rapid.Permutation(append(bodies, bodies[:len(bodies)/3]...)).Draw(rt, "arrival")
		for len(arrival) > 0 {
			n := rapid.IntRange(1, len(arrival)).Draw(rt, "batch")
			deliver(rt, servers, arrival[:n])
			arrival = arrival[n:]
		}
		drained(rt, servers, db)
		got, err := rows(context.Background(), db, fmt.Sprintf(`select concat_ws('|', context_identifier, contact_id, last_event_ticks, last_event, soft_deleted, pending_columns, country_id, associate_id, extract(epoch from soft_deleted_at)::numeric(20, 6)) from contacts where context_identifier in ('%s', '%s') order by context_identifier, contact_id`, tenants[0], tenants[1]))
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(folded(rt, bodies), got, cmpopts.EquateEmpty()); diff != "" {
			rt.Fatalf("rows (-fold +database):\n%s", diff)
		}
	})
}

// folded is what the query above says of the pure fold of bodies.
func folded(t *rapid.T, bodies [][]byte) (lines []string) {
	facts := map[contact.Key][]contact.Fact{}
	for _, body := range bodies {
		e, err := event.Parse(body, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		facts[e.Contact.Key] = append(facts[e.Contact.Key], e.Contact.Fact)
	}
	keys := make([]contact.Key, 0, len(facts))
	for key := range facts {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b contact.Key) int {
		if a.Tenant != b.Tenant {
			return strings.Compare(a.Tenant, b.Tenant)
		}
		return int(a.ID - b.ID)
	})
	for _, key := range keys {
		var s contact.State
		s.Merge(facts[key], nil)
		if s.Life != contact.Live {
			continue
		}
		line := fmt.Sprintf("%s|%d|%d|%s|%s|{%s}", key.Tenant, key.ID, s.Last.Ticks, s.Last.Kind, map[bool]string{true: "t", false: "f"}[s.Row.SoftDeleted], strings.Join(s.Row.Pending.Names(), ","))
		for _, name := range []string{"country_id", "associate_id"} {
			if c, _ := contact.ByName(name); !s.Row.Values[c].IsNull() {
				line += fmt.Sprintf("|%d", s.Row.Values[c].Int())
			}
		}
		if s.Row.SoftDeleted {
			line += fmt.Sprintf("|%d.%06d", s.Row.SoftDeletedAt/1e6, s.Row.SoftDeletedAt%1e6)
		}
		lines = append(lines, line)
	}
	return lines
}

// A database that answers but hangs at the start keeps nobody from delivering.
func TestStartsWhileTheDatabaseHangs(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	hang, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hang.Exec(t.Context(), `lock table goose_db_version in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	servers := []server{serve(t, db)}
	lives := simulator.NewLives(3, []string{"Cust1"}, 5, time.Now().AddDate(0, -1, 0))
	var bodies [][]byte
	for range 20 {
		bodies = append(bodies, lives.Next())
	}
	deliver(t, servers, bodies)
	if err := hang.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	drained(t, servers, db)
	if got, err := rows(t.Context(), db, `select count(*)::text from contact_audit_log`); err != nil || got[0] != "20" {
		t.Errorf("%s audit rows, %v, want 20", got, err)
	}
}
