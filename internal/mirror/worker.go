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
	"contactmirror/internal/inbox"
	"contactmirror/internal/pg"
)

const (
	// batchSize is how many events one transaction applies at most.
	batchSize = 500
	// shardsPerClaim is how many shards one transaction locks at most. Fewer
	// leave more for the other workers, more make fuller batches.
	shardsPerClaim = 8
	// While one tenant's backlog drains beside another's live traffic, which has
	// little to do with it but the time it waits, transactions are short and each
	// takes more shards: an event then waits for one or two of them.
	shortBatch, shortShards = 128, 16
	// shortFor is how long that goes on after it was last needed.
	shortFor = time.Second
	// batchTimeout bounds one transaction, so that a server that hangs is noticed:
	// after a failover the old primary may hang for ever, and the batch with it.
	batchTimeout = 20 * time.Second
	// pollInterval is how often an idle worker looks at the queue unasked.
	pollInterval = 2 * time.Second
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
	// AuditKey, when set before Run, is what the audit log is chained with. Without
	// one the chain holds, but whoever may write the tables can make it anew.
	AuditKey *chain.Key

	// BatchSize is how many events one transaction applies at most; 0 is 500. It is
	// to be set before Run.
	BatchSize int

	pool     *pgxpool.Pool
	log      *slog.Logger
	loops    int
	wake     chan struct{}
	rotation atomic.Uint32
	active   atomic.Int32
	marks    inbox.Marks
	// short is until when batches are to be short, in nanoseconds since 1970.
	short atomic.Int64

	mu sync.Mutex
	// failing holds, for each loop whose last batch failed, why.
	failing map[int]error
	since   time.Time
}

// Health tells whether batches succeed.
type Health struct {
	// Err is why a loop's last batch failed, nil when none did.
	Err error
	// Since is when the first of them began to fail.
	Since time.Time
}

// New makes a worker with the given number of loops, each of which applies one
// batch at a time on a connection of pool.
func New(pool *pgxpool.Pool, log *slog.Logger, loops int) *Worker {
	return &Worker{pool: pool, log: log, loops: loops, wake: make(chan struct{}, 1), failing: map[int]error{}}
}

// Wake asks for the queue to be looked at now. It never blocks.
func (w *Worker) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Health reports whether batches succeed.
func (w *Worker) Health() Health {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, err := range w.failing {
		return Health{Err: err, Since: w.since}
	}
	return Health{}
}

// Run applies events until ctx ends. A batch that is under way then is rolled
// back, and its events stay queued.
func (w *Worker) Run(ctx context.Context) error {
	var group errgroup.Group
	for i := range w.loops {
		group.Go(func() error { w.loop(ctx, i); return nil })
	}
	group.Go(func() error { w.sealUntilDone(ctx); return nil })
	group.Go(func() error { w.poll(ctx); return nil })
	group.Go(func() error { w.listen(ctx); return nil })
	return group.Wait()
}

// loop applies batches while there are any, and then waits to be woken. After
// a failure batches are smaller, down to one event, for it may have been the
// size that failed.
func (w *Worker) loop(ctx context.Context, number int) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, maxPause
	most := cmp.Or(w.BatchSize, batchSize)
	for size := most; ctx.Err() == nil; {
		w.active.Add(1)
		applied, busy, err := w.batch(ctx, size)
		w.active.Add(-1)
		if ctx.Err() != nil {
			return
		}
		w.report(number, err)
		switch {
		case err != nil:
			size = max(1, size/2)
			wait(ctx, pause.NextBackOff())
			continue
		case applied >= min(size/2, shortBatch):
			w.Wake() // there is more than one loop's work
		}
		pause.Reset()
		size = min(most, 2*size)
		if !busy {
			select {
			case <-ctx.Done():
			case <-w.wake:
			}
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// report keeps err for [Worker.Health], and logs when trouble comes and goes.
func (w *Worker) report(number int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	troubled := len(w.failing) > 0
	if err != nil {
		w.failing[number] = err
	} else {
		delete(w.failing, number)
	}
	switch {
	case !troubled && err != nil:
		w.since = time.Now()
		w.log.Error("can't apply events; they stay queued", "error", pg.Explain(err))
	case troubled && len(w.failing) == 0:
		w.log.Info("applying events again", "after", time.Since(w.since).Round(time.Millisecond))
	}
}

// poll finds what nobody has announced: events of another process, or those
// that a worker now dead had locked.
func (w *Worker) poll(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if int(w.active.Load()) == w.loops {
			continue // all are looking
		}
		bounded, cancel := context.WithTimeout(ctx, pollInterval)
		found, err := inbox.Waiting(bounded, w.pool, &w.marks)
		cancel()
		if found || err != nil { // a loop will meet the error too, and report it
			w.Wake()
		}
	}
}

// listen hears of other processes' events before the next poll.
func (w *Worker) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if err := inbox.Listen(ctx, w.pool.Config().ConnConfig, w.Wake); ctx.Err() == nil {
			w.log.Debug("not listening for notifications; polling goes on", "error", err)
		}
		wait(ctx, listenPause)
	}
}
