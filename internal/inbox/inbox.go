// Package inbox keeps every accepted event until the sync worker has dealt
// with it.
//
// It stands between receiving and applying, which share nothing but its tables.
// [Inbox.Put] returns once the delivery is committed, and deliveries that wait
// at the same moment share one commit. Putting the same event again is harmless
// and counted, so a Put whose answer was lost may simply be repeated. What can't
// be stored in time is an error, never a silent loss. [LockShards] and [Claim]
// give an event to one worker at a time, within the worker's transaction. What
// an event means is not known here.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"contactmirror/internal/event"
	"contactmirror/internal/pg"
	"contactmirror/internal/signature"
)

// Result is what became of a delivery; the words are the receiver's answers.
type Result string

// The results of [Inbox.Put]. All of them are durable when returned.
const (
	Accepted    Result = "accepted"
	Duplicate   Result = "duplicate"
	Ignored     Result = "ignored"
	Quarantined Result = "quarantined"
)

// Delivery is one verified request: an event, or the reason why it is none.
type Delivery struct {
	// Body is the request body. It must not be changed, even after Put has
	// returned an error: a commit may still be under way.
	Body       []byte
	ReceivedAt time.Time
	// Retry is SuperOffice's retry counter, nil where it is no number.
	Retry *int32
	// Signature is the header that was verified, empty where none was. Quarantine
	// keeps every one that the same bytes came with: a delivery that is read as an event
	// later is verified again then.
	Signature string
	// Event is nil for a delivery that can't be understood. Then Reason says why,
	// and Tenant and Headers are kept with the bytes.
	Event   *event.Event
	Reason  string
	Tenant  *string
	Headers http.Header
	// Vouchers are the tenants that a delivery may be of whose tenant can't be read; of
	// none where that is not known: it may be any tenant's then.
	Vouchers signature.Vouchers
}

// kept is the tenant and the headers that quarantine keeps of d. An event that
// the server refused has no headers of its own, but the signature.
func (d *Delivery) kept() (tenant *string, headers http.Header) {
	tenant, headers = d.Tenant, d.Headers
	if d.Event != nil {
		tenant = &d.Event.Tenant
	}
	if d.Signature != "" {
		headers = maps.Clone(headers)
		if headers == nil {
			headers = http.Header{}
		}
		headers.Set(signature.Header, d.Signature)
	}
	return tenant, headers
}

// Timeout is how long a request's [Inbox.Put] should be given: the sender has
// five seconds for three attempts, so an answer that takes longer is as bad as
// none.
const Timeout = time.Second

const (
	// Writers is how many commits may be under way at once. More than a few only
	// make the commits smaller.
	Writers = 3
	// worthwhile is how many deliveries are worth a commit of their own beside one
	// that is under way, and commitPatience how long any of them waits for that.
	worthwhile     = 32
	commitPatience = 2 * time.Millisecond
	// maxBatch bounds the deliveries, and maxBatchBytes their bodies, in a commit.
	maxBatch      = 512
	maxBatchBytes = 8 << 20
	// longest bounds a commit for which nobody has set a bound.
	longest = time.Minute
)

// ErrClosed is returned by [Inbox.Put] once the inbox has stopped.
var ErrClosed = errors.New("inbox: stopped")

// Inbox stores deliveries. Make one with [New], and [Inbox.Run] it.
type Inbox struct {
	// Log, when set before Run, is told of sequences that had to be moved.
	Log *slog.Logger

	pool    *pgxpool.Pool
	queued  func(tenants ...string)
	waiting chan *request
	stopped chan struct{}
}

type request struct {
	Delivery
	key    key             // of an event
	ctx    context.Context // of whoever waits for the answer
	answer chan answer     // has room for one
}

type answer struct {
	result Result
	err    error
}

// New makes an inbox on the database behind pool. queued is called after each
// commit that has put contact events into the queue, with the tenants that they
// are of; it must not block.
func New(pool *pgxpool.Pool, queued func(tenants ...string)) *Inbox {
	return &Inbox{pool: pool, queued: queued, waiting: make(chan *request), stopped: make(chan struct{})}
}

// Run stores what is put until ctx ends; then it stores what it has taken, and
// returns nil.
//
// A delivery that comes while nothing is under way is stored at once. Those that
// come while a commit is under way wait for it together: small commits side by
// side would cost the server more for each delivery, and none would be sooner.
// Only where there are many of them, or the commit takes its time, is another
// one begun beside it.
func (in *Inbox) Run(ctx context.Context) error {
	defer close(in.stopped)
	var (
		commits  errgroup.Group
		underway int
		ended    = make(chan struct{}, Writers)
		next     batch
		patience = time.NewTimer(0)
	)
	defer patience.Stop()
	for {
		if n := len(next.requests); n > 0 && (underway == 0 || underway < Writers && (n >= worthwhile || next.waited)) {
			requests := next.requests
			next = batch{}
			underway++
			commits.Go(func() error {
				in.store(requests)
				ended <- struct{}{}
				return nil
			})
		}
		waiting := in.waiting
		if next.full() {
			waiting = nil
		}
		select {
		case <-ctx.Done():
			in.store(next.requests)
			return commits.Wait()
		case <-ended:
			underway--
		case <-patience.C:
			next.waited = true
		case r := <-waiting:
			if len(next.requests) == 0 {
				next.waited = false
				patience.Reset(commitPatience)
			}
			next.add(r)
			next.gather(in.waiting)
		}
	}
}

// Put makes d durable and reports what became of it, or gives up when ctx ends.
// After an error the delivery may be stored or not; putting it again is safe
// either way. A [*RefusedError] says that it can't be stored as it is.
func (in *Inbox) Put(ctx context.Context, d Delivery) (Result, error) {
	r := &request{Delivery: d, ctx: ctx, answer: make(chan answer, 1)}
	if d.Event != nil {
		r.key = keyOf(&d)
	}
	select {
	case in.waiting <- r:
	case <-in.stopped:
		return "", ErrClosed
	case <-ctx.Done():
		return "", fmt.Errorf("inbox: no writer was free: %w", ctx.Err())
	}
	select {
	case a := <-r.answer:
		return a.result, a.err
	case <-ctx.Done():
		return "", fmt.Errorf("inbox: commit: %w", ctx.Err())
	}
}

// Probe reports whether the database takes writes, for those who wait for it.
// That it does is no promise.
func (in *Inbox) Probe(ctx context.Context) error {
	if _, err := probeStmt.One(ctx, in.pool, pg.NoArgs{}); err != nil {
		return fmt.Errorf("inbox: probe: %w", err)
	}
	return nil
}

// batch is deliveries that are to share a commit.
type batch struct {
	requests []*request
	bytes    int
	waited   bool // long enough for a commit of its own
}

func (b *batch) add(r *request) { b.requests, b.bytes = append(b.requests, r), b.bytes+len(r.Body) }

func (b *batch) full() bool { return len(b.requests) >= maxBatch || b.bytes >= maxBatchBytes }

// gather adds what waits at this moment.
func (b *batch) gather(waiting <-chan *request) {
	for !b.full() {
		select {
		case r := <-waiting:
			b.add(r)
		default:
			return
		}
	}
}
