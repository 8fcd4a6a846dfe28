package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync"
	"time"
)

const (
	// segmentSize is the size at which a segment is closed and another begun.
	segmentSize = 8 << 20
	// maxBatch bounds the bytes of one write and fsync.
	maxBatch = 8 << 20
	// lookInterval is how often closed segments are looked for: one that was removed
	// is written again, as long as this process has it open.
	lookInterval = time.Second
	// tenantShare is the part of the spool that one tenant may fill, and noTenantShare
	// that of all records without a tenant. A tenant that sends such records too leaves
	// room to the others.
	tenantShare   = 0.75
	noTenantShare = 0.125
)

// These bound what is read of a file, which somebody else may have made or grown.
const (
	// MaxPayload is the largest [Record.Payload].
	MaxPayload = 65 << 20
	// maxFrame is the largest record on disk. The payload, and a tenant of up to
	// 64 KiB, may grow by a quarter where they are escaped.
	maxFrame = headerSize + (MaxPayload+64<<10)/4*5
	// maxFile is the largest segment: below segmentSize it takes another batch,
	// and a batch below maxBatch another record. What is moved aside of a segment
	// is not larger.
	maxFile = segmentSize + maxBatch + maxFrame
)

// The errors of [Spool.Append].
var (
	// ErrFull means that the spool, or the record's part of it, has no room.
	ErrFull = errors.New("spool: full")
	// ErrTooLarge means that the record is larger than one may be.
	ErrTooLarge = errors.New("spool: record too large")
	// ErrClosed means that the spool has stopped.
	ErrClosed = errors.New("spool: stopped")
)

// ErrInUse is returned by [Open] where another process has the directory.
var ErrInUse = errors.New("another contactmirror uses this directory")

// suffix is that of a segment. Its name is a number: when it was begun, in
// microseconds since 1970.
const suffix = ".spool"

// maxOpen is how many closed segments stay open, so that they outlive their names.
const maxOpen = 64

// followInterval is how often the files that were moved aside are looked at.
const followInterval = 5 * time.Second

// Spool is a directory of segments. Make one with [Open], and [Spool.Run] it.
type Spool struct {
	dir     string
	limit   int64
	log     *slog.Logger
	lock    *os.File // nil until the directory is open; Run's alone
	waiting chan *request
	rotate  chan struct{} // asks Run to close the current segment
	filled  chan struct{} // tells Peek that a segment was appended to or closed
	stopped chan struct{}

	interval time.Duration
	maxOpen  int

	file   *os.File // the current segment's; Run's alone
	reader *reader  // of the oldest segment; Peek's, Taken's and Refused's alone

	moving sync.Mutex // held while files are moved aside or looked at; before mu
	mu     sync.Mutex
	holdings
	current segment   // being written; empty when there is none; under mu
	failed  time.Time // as in State, under mu
	outage  outage    // under mu
}

// holdings is what is known to be in the directory.
type holdings struct {
	stuck []string // names of segments that could not be moved aside; under moving

	closed   []segment        // oldest first, complete: what Peek reads; under mu
	byTenant map[string]int64 // bytes by [Record.part], in closed and current; under mu
	aside    map[string]File  // the files that were, or could not be, moved aside, by name; under mu
}

// outage is since when, and why, the directory can't be opened.
type outage struct {
	err    error // nil where it is open
	since  time.Time
	oldest time.Time // receipt of the oldest delivery in it, as far as names tell
}

// segment is one file, with what is in it.
type segment struct {
	number   int64
	records  int
	bytes    int64
	oldest   time.Time
	byTenant map[string]int64
	file     *os.File // of a closed segment; nil where there are many

	postponed bool // all of its records
}

// State is how full a spool is.
type State struct {
	Records int
	Bytes   int64
	// Limit is the most that Bytes may be.
	Limit int64
	// Oldest is when the oldest record was received; zero when there is none. While
	// Unavailable, it is the earliest time that the names of the files allow, zero
	// where they can't be read.
	Oldest time.Time
	// Failed is when the disk last refused an append, whatever its reason; zero
	// once it has taken another one.
	Failed time.Time
	// MovedAside is not part of the above: those files do not drain.
	MovedAside MovedAside
	// Unavailable is why the directory could not be opened since UnavailableSince: what
	// it holds is not known, and appends fail. Nil once it is open.
	Unavailable      error
	UnavailableSince time.Time
}

type request struct {
	Record
	frame  []byte
	answer chan error // has room for one
}

// Open opens the spool in dir, which it makes where it is missing, for up to
// limit bytes. A directory belongs to one process at a time; that another one
// has it is [ErrInUse], and the only error. A directory that can't be opened for any
// other reason is [State.Unavailable], and [Spool.Run] tries again: the inbox may be
// able to take deliveries meanwhile.
func Open(dir string, limit int64, log *slog.Logger) (*Spool, error) {
	s := &Spool{
		dir: dir, limit: limit, log: log, waiting: make(chan *request),
		rotate: make(chan struct{}, 1), filled: make(chan struct{}, 1), stopped: make(chan struct{}),
		interval: followInterval, maxOpen: maxOpen, holdings: holdings{byTenant: map[string]int64{}},
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

// open tries to open the directory, and notes whether it could. It returns
// [ErrInUse] and no other error.
func (s *Spool) open() error {
	err := s.takeDir()
	if errors.Is(err, ErrInUse) {
		return err
	}
	var now outage
	if err != nil {
		now = outage{err: err, since: time.Now(), oldest: oldestNamed(s.dir)}
	}
	s.mu.Lock()
	was := s.outage
	if was.err != nil && err != nil {
		now.since = was.since
	}
	s.outage = now
	s.mu.Unlock()
	switch {
	case err != nil && (was.err == nil || was.err.Error() != err.Error()):
		s.log.Error("can't open the spool; it is tried again every second, and deliveries that the database does not take meanwhile are refused", "directory", s.dir, "error", err)
	case err == nil && was.err != nil:
		s.log.Info("the spool is open now", "directory", s.dir, "after", time.Since(was.since).Round(time.Millisecond))
		signal(s.filled)
	}
	return nil
}

// takeDir makes the directory where it is missing, takes it for this process and
// finds out what is in it.
func (s *Spool) takeDir() error {
	if err := makeDir(s.dir); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	lock, err := lockDir(s.dir)
	if err != nil {
		return fmt.Errorf("spool: %s: %w", s.dir, err)
	}
	found, err := s.survey()
	if err != nil {
		return errors.Join(fmt.Errorf("spool: survey %s: %w", s.dir, err), lock.Close())
	}
	s.lock = lock
	s.moving.Lock()
	defer s.moving.Unlock()
	s.mu.Lock()
	s.holdings = found
	s.mu.Unlock()
	s.noteStuck()
	return nil
}

// Run writes what is appended until ctx ends; then it answers what it has taken
// and gives the directory up. It returns [ErrInUse] where the directory could not be
// opened before another process took it.
func (s *Spool) Run(ctx context.Context) error {
	var following sync.WaitGroup
	defer following.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	following.Go(func() { s.follow(ctx) })
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-look.C:
			switch {
			case s.lock == nil:
				if err := s.open(); err != nil {
					close(s.stopped)
					return err
				}
			case s.missing():
				s.restore()
			}
		case first := <-s.waiting:
			s.store(s.gather(first))
		case <-s.rotate:
			if err := s.closeCurrent(); err != nil {
				s.log.Error("closing a segment", "error", err)
			}
		}
	}
	close(s.stopped)
	err := s.closeCurrent()
	s.restore()
	return errors.Join(err, s.Close())
}

// Close gives up the directory of a spool that Run was never called on. It does
// nothing after Run.
func (s *Spool) Close() error {
	if s.lock == nil {
		return nil
	}
	if err := s.lock.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Append makes r durable, and returns when it is. After an error it may be handed
// out or not.
func (s *Spool) Append(ctx context.Context, r Record) error {
	waiting := &request{Record: r, frame: r.frame(), answer: make(chan error, 1)}
	if len(waiting.frame) > maxFrame {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(waiting.frame), int64(maxFrame))
	}
	select {
	case s.waiting <- waiting:
	case <-s.stopped:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("spool: append: %w", ctx.Err())
	}
	select {
	case err := <-waiting.answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("spool: append: %w", ctx.Err())
	}
}

// State reports how full the spool is.
func (s *Spool) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{Limit: s.limit, Failed: s.failed}
	for _, g := range append(s.closed[:len(s.closed):len(s.closed)], s.current) {
		state.Records += g.records
		state.Bytes += g.bytes
		if state.Oldest.IsZero() || g.records > 0 && g.oldest.Before(state.Oldest) {
			state.Oldest = g.oldest
		}
	}
	for _, f := range s.aside {
		state.MovedAside.add(&f)
	}
	if s.outage.err != nil {
		state.Unavailable, state.UnavailableSince, state.Oldest = s.outage.err, s.outage.since, s.outage.oldest
	}
	return state
}

// gather adds to first what waits behind it at this moment.
func (s *Spool) gather(first *request) []*request {
	batch, size := []*request{first}, len(first.frame)
	for size < maxBatch {
		select {
		case r := <-s.waiting:
			batch, size = append(batch, r), size+len(r.frame)
		default:
			return batch
		}
	}
	return batch
}

// store writes a batch, and answers every request in it.
func (s *Spool) store(batch []*request) {
	batch = s.admit(batch)
	if len(batch) == 0 {
		return
	}
	err := s.sync(batch)
	s.mu.Lock()
	if s.failed = (time.Time{}); err != nil {
		s.failed = time.Now()
	}
	s.mu.Unlock()
	for _, r := range batch {
		r.answer <- err
	}
	if err == nil {
		signal(s.filled)
	}
}

// admit refuses those of batch that there is no room for, and returns the rest.
func (s *Spool) admit(batch []*request) []*request {
	s.mu.Lock()
	defer s.mu.Unlock()
	used, byTenant := s.current.bytes, maps.Clone(s.byTenant)
	for _, g := range s.closed {
		used += g.bytes
	}
	var fits []*request
	for _, r := range batch {
		size, part := int64(len(r.frame)), r.part()
		if used+size > s.limit || byTenant[part]+size > s.limitOf(part) {
			r.answer <- ErrFull
			continue
		}
		used += size
		byTenant[part] += size
		fits = append(fits, r)
	}
	return fits
}

// limitOf is the most bytes that this [Record.part] may take.
func (s *Spool) limitOf(part string) int64 {
	if part == noTenant {
		return int64(noTenantShare * float64(s.limit))
	}
	return int64(tenantShare * float64(s.limit))
}

// sync writes records to the current segment and waits until they are on disk,
// in a file that the next start finds: one whose name or directory was removed
// is left for a new one.
func (s *Spool) sync(batch []*request) error {
	if s.lock == nil {
		return fmt.Errorf("spool: not open yet: %w", s.outage.err)
	}
	var frames []byte
	for _, r := range batch {
		frames = append(frames, r.frame...)
	}
	if s.current.bytes >= segmentSize { // closing it failed, and must not fail while it grows
		if err := s.closeCurrent(); err != nil {
			return err
		}
	}
	if err := s.extend(frames); err != nil {
		return fmt.Errorf("spool: append %d records: %w", len(batch), err)
	}
	s.mu.Lock()
	for _, r := range batch {
		s.current.add(&r.Record, int64(len(r.frame)))
		s.byTenant[r.part()] += int64(len(r.frame))
	}
	full := s.current.bytes >= segmentSize
	s.mu.Unlock()
	if full {
		if err := s.closeCurrent(); err != nil {
			s.log.Error("closing a segment", "error", err) // what is in it is on disk
		}
	}
	return nil
}
