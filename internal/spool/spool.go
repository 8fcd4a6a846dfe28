package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// segmentSize is the size at which a segment is closed and another begun.
	segmentSize = 8 << 20
	// maxBatch bounds the bytes of one write and fsync.
	maxBatch = 8 << 20
	// tenantShare is the part of the spool that one tenant may fill.
	tenantShare = 0.75
)

// The errors of [Spool.Append].
var (
	// ErrFull means that the spool, or the tenant's part of it, has no room.
	ErrFull = errors.New("spool: full")
	// ErrClosed means that the spool has stopped.
	ErrClosed = errors.New("spool: stopped")
)

// ErrInUse is returned by [Open] where another process has the directory.
var ErrInUse = errors.New("another contactmirror uses this directory")

// suffix is a segment's, to which damaged is added when something in it could not
// be read; refused is that of a record that nobody could take.
const suffix, damaged, refused = ".spool", ".damaged", ".refused"

// Spool is a directory of segments. Make one with [Open], and [Spool.Run] it.
type Spool struct {
	dir     string
	limit   int64
	log     *slog.Logger
	lock    *os.File
	waiting chan *request
	rotate  chan struct{} // asks Run to close the current segment
	filled  chan struct{} // tells Peek that a segment was appended to or closed
	stopped chan struct{}

	file   *os.File // the current segment's; Run's alone
	number uint64   // the newest segment's; Run's alone
	reader *reader  // of the oldest segment; Peek's and Taken's alone

	mu       sync.Mutex
	closed   []segment        // oldest first, complete: what Peek reads
	current  segment          // being written; empty when there is none
	byTenant map[string]int64 // bytes, in closed and current
	failed   time.Time        // as in State
}

// segment is one file, with what is in it.
type segment struct {
	number   uint64
	records  int
	bytes    int64
	oldest   time.Time
	byTenant map[string]int64
}

// State is how full a spool is.
type State struct {
	Records int
	Bytes   int64
	// Limit is the most that Bytes may be.
	Limit int64
	// Oldest is when the oldest record was appended; zero when there is none.
	Oldest time.Time
	// Failed is when the disk last refused an append, whatever its reason; zero
	// once it has taken another one.
	Failed time.Time
}

type request struct {
	record
	answer chan error // has room for one
}

// Open opens the spool in dir, which it makes where it is missing, for up to
// limit bytes. A directory belongs to one process at a time; that another one
// has it is [ErrInUse].
func Open(dir string, limit int64, log *slog.Logger) (*Spool, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %s: %w", dir, err)
	}
	s := &Spool{
		dir: dir, limit: limit, log: log, lock: lock, waiting: make(chan *request),
		rotate: make(chan struct{}, 1), filled: make(chan struct{}, 1), stopped: make(chan struct{}),
		byTenant: map[string]int64{},
	}
	if err := s.survey(); err != nil {
		return nil, errors.Join(fmt.Errorf("spool: survey %s: %w", dir, err), lock.Close())
	}
	return s, nil
}

// Run writes what is appended until ctx ends; then it answers what it has taken
// and gives the directory up.
func (s *Spool) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case first := <-s.waiting:
			s.store(s.gather(first))
		case <-s.rotate:
			if err := s.closeCurrent(); err != nil {
				s.log.Error("closing a segment", "error", err)
			}
		}
	}
	close(s.stopped)
	return errors.Join(s.closeCurrent(), s.Close())
}

// Close gives up the directory of a spool that Run was never called on. It does
// nothing after Run.
func (s *Spool) Close() error {
	if err := s.lock.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Append makes payload durable, and returns when it is. After an error it may be
// handed out or not.
func (s *Spool) Append(ctx context.Context, tenant string, payload []byte) error {
	r := &request{record: record{tenant: tenant, at: time.Now(), payload: payload}, answer: make(chan error, 1)}
	select {
	case s.waiting <- r:
	case <-s.stopped:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("spool: append: %w", ctx.Err())
	}
	select {
	case err := <-r.answer:
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
		if state.Oldest.IsZero() {
			state.Oldest = g.oldest
		}
	}
	return state
}

// gather adds to first what waits behind it at this moment.
func (s *Spool) gather(first *request) []*request {
	batch, size := []*request{first}, len(first.payload)
	for size < maxBatch {
		select {
		case r := <-s.waiting:
			batch, size = append(batch, r), size+len(r.payload)
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
		size := r.size()
		if used+size > s.limit || byTenant[r.tenant]+size > int64(tenantShare*float64(s.limit)) {
			r.answer <- ErrFull
			continue
		}
		used += size
		byTenant[r.tenant] += size
		fits = append(fits, r)
	}
	return fits
}

// sync writes records to the current segment and waits until they are on disk.
func (s *Spool) sync(batch []*request) error {
	if s.file == nil {
		if err := s.begin(); err != nil {
			return fmt.Errorf("spool: begin a segment: %w", err)
		}
	}
	var bytes []byte
	for _, r := range batch {
		bytes = appendRecord(bytes, r.encode())
	}
	_, err := s.file.Write(bytes)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("spool: append %d records: %w", len(batch), errors.Join(err, s.abandon()))
	}
	s.mu.Lock()
	for _, r := range batch {
		s.current.add(r.record)
		s.byTenant[r.tenant] += r.size()
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

// begin makes a new segment. Its name is on disk before any record is.
func (s *Spool) begin() error {
	s.number++ // also after a failure: what it leaves must not be in the way
	file, err := os.OpenFile(s.path(s.number), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	s.file = file
	s.mu.Lock()
	s.current = segment{number: s.number, byTenant: map[string]int64{}}
	s.mu.Unlock()
	return nil
}

// abandon ends the current segment after a write or an fsync that failed: after
// a failed fsync nobody knows what is on disk, and a second one may claim
// success. So the segment is cut back to what was answered for, and never
// written again.
func (s *Spool) abandon() error {
	return errors.Join(s.file.Truncate(s.current.bytes), s.closeCurrent())
}

// closeCurrent ends the current segment, if any, and leaves it to Peek.
func (s *Spool) closeCurrent() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	s.mu.Lock()
	ended := s.current
	if s.current = (segment{}); ended.records > 0 {
		s.closed = append(s.closed, ended)
	}
	s.mu.Unlock()
	if ended.records == 0 {
		err = errors.Join(err, os.Remove(s.path(ended.number)))
	}
	signal(s.filled)
	if err != nil {
		return fmt.Errorf("spool: close a segment: %w", err)
	}
	return nil
}

func (s *Spool) path(number uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%020d%s", number, suffix))
}

func (g *segment) add(r record) {
	if g.records == 0 {
		g.oldest = r.at
	}
	g.records++
	g.bytes += r.size()
	g.byTenant[r.tenant] += r.size()
}

// signal wakes whoever waits on c, now or next.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
