package mirror

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/inbox"
	"contactmirror/internal/pg"
)

const (
	// batchSize is how many events one transaction applies at most.
	batchSize = 500
	// shardsPerClaim is how many shards one transaction locks at most. Fewer
	// leave more for the other workers, more make fuller batches.
	shardsPerClaim = 8
	// shortBatch is what is applied of all shards at once, as long as there is no
	// more than that.
	shortBatch = 128
	// besideBatch is what is applied of a single shard while one tenant's backlog
	// drains beside another's live traffic: an event that comes while its shard is
	// locked, as one in 32 does, waits for the batch to end.
	besideBatch = 48
	// aside is how many loops stand aside meanwhile, so that a small machine has
	// time left for the live traffic; one always goes on.
	aside = 2
	// longBatch is how long a batch may take before new events wake another loop.
	longBatch = 30 * time.Millisecond
	// stuckBatch is how long one may take before nobody stands aside for it.
	stuckBatch = time.Second
	// batchTimeout bounds one transaction, so that a server that hangs is noticed:
	// after a failover the old primary may hang for ever, and the batch with it.
	batchTimeout = 20 * time.Second
	// pollInterval is how often an idle worker looks at the queue unasked.
	pollInterval = 2 * time.Second
	// checkInterval is the least time between two checks of the marks, and checkShare
	// how many times the duration of one passes before the next: while a long
	// transaction keeps dead rows in the queue, a check has to read them.
	checkInterval = 30 * time.Second
	checkShare    = 100
	// listenPause is the time between attempts to listen for notifications.
	listenPause = 10 * time.Second
	// maxPause is the longest pause after a batch that failed.
	maxPause = 5 * time.Second
)

// Worker applies queued events. Make one with [New], and [Worker.Run] it.
type Worker struct {
	// Observe, when set before Run, is told of each batch after its transaction
	// has ended. Loops call it at the same time, and wait for it.
	Observe func(Batch)
	// AuditKeys, when set before Run, are what the audit log is chained with. Without
	// any, everybody who may write the tables can forge the chain.
	AuditKeys chain.Keys

	// BatchSize is how many events one transaction applies at most; 0 is 500. It is
	// to be set before Run.
	BatchSize int

	pool     *pgxpool.Pool
	log      *slog.Logger
	loops    int
	wake     chan struct{}
	rotation atomic.Uint32
	active   atomic.Int32
	// asked is whether Wake was called since a loop last began to look.
	asked atomic.Bool
	// began is when a loop last began to look, in nanoseconds since 1970.
	began atomic.Int64
	// full is whether the last batch was full, or almost.
	full     atomic.Bool
	marks    inbox.Marks
	backlogs backlogs
	express  chan struct{}

	preparing sync.Mutex // held during prepare
	prepared  bool

	mu sync.Mutex
	// warned holds the shards whose broken chain the log was told of.
	warned [contact.Shards]bool
	// failing holds, for each loop whose last batch failed, why.
	failing   map[int]error
	since     time.Time
	appliedAt time.Time
	troubled  pg.RetryLog
}

// Health tells whether batches succeed.
type Health struct {
	// AppliedAt is when a batch of events was last committed, zero before the first.
	AppliedAt time.Time
	// Err is why a loop's last batch failed, nil when none did.
	Err error
	// Since is when the first of them began to fail.
	Since time.Time
}

// New makes a worker with the given number of loops, each of which applies one
// batch at a time on a connection of pool. One more takes care of live traffic
// beside backlogs.
func New(pool *pgxpool.Pool, log *slog.Logger, loops int) *Worker {
	return &Worker{pool: pool, log: log, loops: loops, wake: make(chan struct{}, 1), express: make(chan struct{}, 1), failing: map[int]error{}}
}

// Wake asks for the queue to be looked at soon, for events of tenants; none stands
// for tenants that are not known. It never blocks.
//
// Of live traffic one loop takes all that has come since its last batch: several
// at once would only have less each. Another is woken where one is busy for long,
// or finds more than one batch.
func (w *Worker) Wake(tenants ...string) {
	w.asked.Store(true)
	if w.active.Load() == 0 || w.sinceBegun() > longBatch {
		signal(w.wake)
	}
	if w.backlogs.concerns(tenants) {
		signal(w.express)
	}
}

// sinceBegun is how long ago a loop last began to look.
func (w *Worker) sinceBegun() time.Duration {
	return time.Duration(time.Now().UnixNano() - w.began.Load())
}

// signal wakes one who waits for c, now or next.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Health reports whether batches succeed.
func (w *Worker) Health() Health {
	w.mu.Lock()
	defer w.mu.Unlock()
	health := Health{AppliedAt: w.appliedAt}
	for _, err := range w.failing {
		health.Err, health.Since = err, w.since
		break
	}
	return health
}

// Run applies events until ctx ends. A batch that is under way then is rolled
// back, and its events stay queued.
func (w *Worker) Run(ctx context.Context) error {
	var group errgroup.Group
	for i := range w.loops {
		group.Go(func() error { w.loop(ctx, i); return nil })
	}
	group.Go(func() error { w.expressLoop(ctx); return nil })
	group.Go(func() error { w.watchHeads(ctx); return nil })
	group.Go(func() error { w.poll(ctx); return nil })
	group.Go(func() error { w.listen(ctx); return nil })
	return group.Wait()
}

// loop applies batches while there are any, and then waits to be woken.
func (w *Worker) loop(ctx context.Context, number int) {
	b := w.batches(number, w.batch)
	for ctx.Err() == nil {
		if int(w.active.Add(1)) > max(1, w.loops-aside) && w.backlogs.beside() && w.sinceBegun() < stuckBatch {
			if w.active.Add(-1) > 0 || !w.asked.Load() { // those who go on will look again
				w.sleep(ctx)
			}
			continue
		}
		w.asked.Store(false)
		w.began.Store(time.Now().UnixNano())
		applied, more := b.next(ctx)
		alone := w.active.Add(-1) == 0
		if w.backlogs.awaited() {
			signal(w.express) // for what it had locked
		}
		if applied > b.most/2 {
			signal(w.wake) // there is more than one loop's work
		}
		if !more && !(alone && w.asked.Load()) {
			w.sleep(ctx)
		}
	}
}

func (w *Worker) sleep(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-w.wake:
	}
}

// expressLoop applies live traffic beside backlogs as soon as it comes, and what
// it finds locked once that is free.
func (w *Worker) expressLoop(ctx context.Context) {
	own := express{w: w}
	defer own.release()
	b := w.batches(w.loops, own.batch)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-w.express:
		}
		full := b.size
		applied, more := b.next(ctx)
		if more && (applied == 0 || applied >= full) { // it failed, or there is more
			signal(w.express)
		}
	}
}

// batches is one loop's. After a failure they are smaller, down to one event, for
// it may have been the size that failed.
type batches struct {
	w          *Worker
	number     int
	most, size int
	pause      *backoff.ExponentialBackOff
	apply      func(ctx context.Context, size int) (applied int, busy bool, err error)
}

func (w *Worker) batches(number int, apply func(context.Context, int) (int, bool, error)) *batches {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, maxPause
	most := cmp.Or(w.BatchSize, batchSize)
	return &batches{w, number, most, most, pause, apply}
}

// next applies a batch, and reports whether there may be more. After a failure it
// returns once it is time for the next attempt.
func (b *batches) next(ctx context.Context) (applied int, more bool) {
	applied, more, err := b.apply(ctx, b.size)
	if ctx.Err() != nil {
		return 0, false
	}
	b.w.report(b.number, applied, err)
	if err != nil {
		b.size = max(1, b.size/2)
		wait(ctx, b.pause.NextBackOff())
		return 0, true
	}
	b.pause.Reset()
	b.size = min(b.most, 2*b.size)
	return applied, more
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// report keeps the end of a batch for [Worker.Health], and logs when trouble comes and goes. What
// is no outage is logged as long as it lasts: the batch is tried again all the same,
// for it may be a right or a table that is missing, and a restart is no better.
func (w *Worker) report(number, applied int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	failing := len(w.failing) > 0
	if applied > 0 {
		w.appliedAt = time.Now()
	}
	if err != nil {
		w.failing[number] = err
	} else {
		delete(w.failing, number)
	}
	if !failing && err != nil {
		w.since = time.Now()
	}
	if err != nil && w.troubled.Due(err) {
		w.log.Error("can't apply events; they stay queued", "error", pg.Explain(err), "since", w.since)
	}
	if failing && len(w.failing) == 0 {
		w.troubled = pg.RetryLog{}
		w.log.Info("applying events again", "after", time.Since(w.since).Round(time.Millisecond))
	}
}

// poll finds what nobody has announced: events of another process, or those
// that a worker now dead had locked.
func (w *Worker) poll(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	check := time.Now().Add(checkInterval)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if began := time.Now(); began.After(check) {
			w.checkMarks(ctx)
			check = time.Now().Add(max(checkInterval, checkShare*time.Since(began)))
		}
		if int(w.active.Load()) == w.loops {
			continue // all are looking
		}
		bounded, cancel := context.WithTimeout(ctx, pollInterval)
		found, err := inbox.Waiting(bounded, w.pool, &w.marks)
		cancel()
		if found || err != nil { // a loop will meet the error too, and report it
			signal(w.wake)
		}
	}
}

// checkMarks has rows found that were copied into the queue below the marks. An
// error is one that the batches meet too.
func (w *Worker) checkMarks(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	if wrong, err := inbox.CheckMarks(bounded, w.pool, &w.marks); wrong && err == nil {
		w.log.Warn("the queue holds events of earlier transactions than those applied, as after a restore: reading all of it")
		signal(w.wake)
	}
}

// listen hears of other processes' events before the next poll.
func (w *Worker) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if err := inbox.Listen(ctx, w.pool.Config().ConnConfig, func() { w.Wake() }); ctx.Err() == nil {
			w.log.Debug("not listening for notifications; polling goes on", "error", err)
		}
		wait(ctx, listenPause)
	}
}
