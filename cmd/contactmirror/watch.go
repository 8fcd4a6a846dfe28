package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pg"
	"contactmirror/internal/receive"
	"contactmirror/internal/sequence"
	"contactmirror/internal/settle"
	"contactmirror/internal/spool"
	"contactmirror/migrations"
)

const (
	// watchInterval is how often a database that was not there is asked whether it
	// is back, and calmInterval how often one that was there: deliveries find out
	// at once when it goes away.
	watchInterval, calmInterval = time.Second, 10 * time.Second
	// watchTimeout is how long it may take to answer. At the start, deliveries
	// wait for that.
	watchTimeout = time.Second
)

// watch knows whether the database can be used: that it answers, and that its
// schema is this build's. It looks by itself, so that strangers who ask for
// readyz ask for nothing more.
type watch struct {
	pool       *pgxpool.Pool
	migrateURL string // migrate here before the schema is checked; empty: don't
	log        *slog.Logger
	worker     func() mirror.Health // nil where this process has none
	settler    func() settle.Health // nil where worker is
	spool      func() spool.State   // nil where this process has none
	inboxAway  func() bool          // deliveries go to the spool; nil where spool is

	reachable atomic.Bool

	mu sync.Mutex
	// known is closed while the schema is known to be the right one, and lost while
	// it is not, or no more.
	known, lost chan struct{}
	// The rest is for whoever looks. tables tells one restore of the tables from
	// another, and found is whether they were ever right.
	tables string
	found  bool
}

func newWatch(pool *pgxpool.Pool, log *slog.Logger) *watch {
	w := &watch{pool: pool, log: log, known: make(chan struct{}), lost: make(chan struct{})}
	close(w.lost)
	return w
}

// whileSchema calls run once the schema is known to be the right one. Where that is
// another database's then, for a backup was restored, run is ended and called
// again: what it remembers of the database may not be so any more.
func (w *watch) whileSchema(ctx context.Context, run func(context.Context) error) error {
	for {
		known, _ := w.schema()
		select {
		case <-ctx.Done():
			return nil
		case <-known:
		}
		_, lost := w.schema()
		running, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer cancel()
			select {
			case <-lost:
			case <-ended:
			}
		}()
		err := run(running)
		close(ended)
		if err != nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-lost:
		default:
			return nil // it had no more to do
		}
	}
}

func (w *watch) schema() (known, lost <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known, w.lost
}

func (w *watch) schemaKnown() bool {
	known, _ := w.schema()
	select {
	case <-known:
		return true
	default:
		return false
	}
}

// know notes that the schema has been found right.
func (w *watch) know() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.known)
	w.lost, w.found = make(chan struct{}), true
}

// lose notes that what was known of the schema is so no more.
func (w *watch) lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.lost)
	w.known = make(chan struct{})
}

// first looks for the first time, and returns an error where no later look
// could be better: a wrong schema, a migration that failed, a password refused.
// A database that can't be reached is none: a restart in an outage must not
// keep deliveries out.
func (w *watch) first(ctx context.Context) error {
	err := w.look(ctx)
	if w.schemaKnown() || ctx.Err() != nil {
		return ctx.Err()
	}
	if _, later := errors.AsType[sequenceError](err); wrongSchema(err) || !pg.Transient(err) && !later {
		return err
	}
	w.log.Error("can't use the database yet; starting without it", "error", pg.Explain(err))
	return nil
}

// run goes on looking until ctx ends. It returns an error when the database that
// was away since the start comes back with a schema that is not this build's, and
// for nothing else: a password refused in the middle of a failover may be taken a
// minute later, and a backup may be restored any moment.
func (w *watch) run(ctx context.Context) error {
	for {
		next := watchInterval
		if w.reachable.Load() {
			next = calmInterval
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(next):
		}
		before := w.reachable.Load()
		err := w.look(ctx)
		switch now := w.reachable.Load(); {
		case ctx.Err() != nil:
			return nil
		case !w.found && wrongSchema(err):
			return err
		case before && !now:
			w.log.Error("the database is away", "error", pg.Explain(err))
		case !before && now:
			w.log.Info("the database is back")
		}
	}
}

// look asks the database whether it is there and, until that has been found
// right, for its schema: again where the tables are others than before.
func (w *watch) look(ctx context.Context) error {
	tables, err := w.identify(ctx)
	if err == nil && w.schemaKnown() && tables != w.tables {
		w.log.Warn("the tables are others than before, as after a restore; checking them")
		w.lose()
	}
	if err == nil && !w.schemaKnown() {
		if err = w.prepare(ctx); err == nil {
			if tables == "" { // migrated just now
				tables, err = w.identify(ctx)
			}
		}
		if err == nil {
			w.tables = tables
			w.know()
		}
	}
	w.reachable.Store(err == nil)
	return err
}

// identify returns what is another one after the database or the tables were
// dropped and restored, and after nothing else that is usual: a replica that is
// promoted has it from its primary. It is empty before the first migration.
func (w *watch) identify(ctx context.Context) (tables string, err error) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	err = w.pool.QueryRow(ctx, "select coalesce(pg_relation_filepath(to_regclass('webhook_events')), '')").Scan(&tables)
	return tables, err
}

// prepare migrates, where that is wanted, checks the schema, and moves sequences
// that are behind their tables. It migrates at the start only: tables that go away
// later are being restored.
func (w *watch) prepare(ctx context.Context) error {
	if w.migrateURL != "" && !w.found {
		ran, err := migrations.Up(ctx, w.migrateURL)
		for _, m := range ran {
			w.log.Info("migrated", "to", m.Name)
		}
		if err != nil {
			return migrationError{err}
		}
	}
	checking, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	if err := migrations.Check(checking, w.pool); err != nil {
		return err
	}
	moved, err := sequence.Advance(checking, w.pool)
	sequence.Log(w.log, moved)
	if err != nil {
		return sequenceError{err}
	}
	return nil
}

// sequenceError is that sequences could not be moved, or not yet. Nothing is stored
// meanwhile, but received: the next look may succeed.
type sequenceError struct{ error }

func (e sequenceError) Unwrap() error { return e.error }

// migrationError is a migration that failed, for whatever reason: it is not run
// again without somebody having looked.
type migrationError struct{ error }

func (e migrationError) Unwrap() error { return e.error }

// wrongSchema reports whether err is about the schema: looking again can't help.
func wrongSchema(err error) bool {
	var version *migrations.VersionError
	var migration migrationError
	return errors.As(err, &version) || errors.As(err, &migration)
}

// startPatience is how long the first look may keep deliveries out.
const startPatience = 3 * time.Second

// start begins to look. It returns what [watch.first] does, but no later than
// after startPatience: a database that hangs, or a long migration, must not
// keep deliveries out. What it returns with is to be run until ctx ends.
func (w *watch) start(ctx context.Context) (run func(context.Context) error, err error) {
	looked := make(chan error, 1)
	go func() { looked <- w.first(ctx) }()
	select {
	case err := <-looked:
		return w.run, err
	case <-time.After(startPatience):
	}
	w.log.Warn("the database takes its time; starting without it")
	return func(ctx context.Context) error {
		if err := <-looked; err != nil {
			return err
		}
		return w.run(ctx)
	}, nil
}

// errSchemaUnknown keeps deliveries out of a database that was away since the
// start, or is being restored.
var errSchemaUnknown = errors.New("the database has not been checked since the start, or since its tables were restored")

type put func(context.Context, inbox.Delivery) (inbox.Result, error)

// guardPut lets deliveries through once the schema is known.
func (w *watch) guardPut(p put) put {
	return func(ctx context.Context, d inbox.Delivery) (inbox.Result, error) {
		if !w.schemaKnown() {
			return "", errSchemaUnknown
		}
		return p(ctx, d)
	}
}

// guardProbe finds the database away until the schema is known.
func (w *watch) guardProbe(probe func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if !w.schemaKnown() {
			return errSchemaUnknown
		}
		return probe(ctx)
	}
}

// ready is the answer of readyz. The spool stands in for a database that is
// away, while it has room; a worker in trouble keeps nobody from delivering.
func (w *watch) ready(context.Context) receive.Readiness {
	r := receive.Readiness{Ready: w.reachable.Load(), Database: "unreachable"}
	if r.Ready {
		r.Database = "ok"
	}
	if w.spool != nil {
		if r.Ready && w.inboxAway() {
			r.Ready, r.Database = false, "not taking deliveries"
		}
		state := w.spool()
		r.Spool = "empty"
		if state.Records > 0 {
			r.Spool = fmt.Sprintf("%d deliveries, %d%% full", state.Records, state.Bytes*100/state.Limit)
		}
		if state.Unavailable != nil {
			r.Spool = "unavailable"
		}
		r.SpoolMovedAside = state.MovedAside.Files
		fits := state.Bytes+spoolReserve < state.Limit && time.Since(state.Failed) > spoolPause
		r.Ready = r.Ready || fits && state.Unavailable == nil
	}
	if w.worker != nil {
		r.Worker = "ok"
		switch {
		case !w.schemaKnown():
			r.Worker = "waiting for the database"
		case w.worker().Err != nil:
			r.Worker = "failing"
		}
	}
	return r
}

const (
	// spoolReserve is the room below which the spool counts as full, in bytes.
	spoolReserve = 64 << 10
	// spoolPause is how long a spool counts as full after its disk has refused
	// something; then a delivery may try again.
	spoolPause = 5 * time.Second
)
