package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// What [Spool.Peek] hands out at a time, at most.
const (
	maxPeek      = 512
	maxPeekBytes = 4 << 20
)

// reader is a segment that is being handed out.
type reader struct {
	segment
	total   int      // records that could be read
	left    []Record // not taken yet
	refused []Record
	later   []Record // postponed
	rest    []byte   // of no record
	err     error    // of reading the file to its end
	content []byte   // what was read
	version fs.FileInfo
	again   *segment // what is handed out again of it, once all of it was handed out
}

// Peek returns the oldest records, some at a time, and waits until there are
// any or ctx ends. It returns the same ones until [Spool.Taken], [Spool.Refused]
// or [Spool.Postpone] is called. The four are for one goroutine, and Peek may be
// called again after an error.
func (s *Spool) Peek(ctx context.Context) ([]Record, error) {
	for {
		if s.reader == nil {
			if err := s.readOldest(ctx); err != nil {
				return nil, err
			}
		}
		if records := s.reader.peek(); len(records) > 0 {
			return records, nil
		}
		s.finish()
	}
}

// Taken tells that the first n of the records that Peek returned are kept
// elsewhere now. A segment of which everything is taken is removed.
func (s *Spool) Taken(n int) {
	r := s.reader
	r.left = r.left[n:]
	if len(r.left) == 0 {
		s.finish()
	}
}

// Refused tells that the first of the records that Peek returned is refused for
// what is in it. It is moved aside with its segment's other refused ones, once
// the segment has been handed out.
func (s *Spool) Refused(reason string) {
	record := s.reader.left[0]
	record.Reason = reason
	s.reader.refused = append(s.reader.refused, record)
	s.Taken(1)
}

// Postpone tells that the first of the records that Peek returned can't be taken
// now. It stays in the spool, and is handed out again after the records that are in
// the spool by now.
func (s *Spool) Postpone() {
	r := s.reader
	r.later = append(r.later, r.left[0])
	s.Taken(1)
}

// close closes the segment's file, to which nothing more is written.
func (r *reader) close() {
	if r.file != nil {
		_ = r.file.Close()
	}
}

func (r *reader) peek() []Record {
	n, size := 0, 0
	for n < len(r.left) && n < maxPeek && size <= maxPeekBytes {
		size += len(r.left[n].Payload)
		n++
	}
	return r.left[:n]
}

// readOldest waits for a segment and reads it.
func (s *Spool) readOldest(ctx context.Context) error {
	for {
		s.mu.Lock()
		var oldest *segment
		if len(s.closed) > 0 {
			oldest = &s.closed[0]
		}
		writing := s.current.records > 0
		s.mu.Unlock()
		if oldest != nil {
			if oldest.postponed && writing {
				signal(s.rotate) // so that what is written now has its turn
			}
			r, _, err := s.read(*oldest)
			if err != nil {
				return err
			}
			s.reader = r
			return nil
		}
		if writing {
			signal(s.rotate)
		}
		select {
		case <-s.filled:
		case <-s.stopped:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read reads a segment, of which g is known. found is what is in it. That
// something can't be read is no error, but for want of files or memory.
func (s *Spool) read(g segment) (r *reader, found segment, err error) {
	opened := g.file == nil
	if opened {
		g.file, err = openFile(s.path(g.number))
	}
	var (
		content []byte
		version fs.FileInfo
	)
	if err == nil {
		version, err = g.file.Stat()
	}
	if err == nil {
		content, err = readOpen(g.file)
	}
	if exhausted(err) {
		if opened && g.file != nil {
			_ = g.file.Close() // nothing was written
		}
		return nil, segment{}, fmt.Errorf("spool: %w", err)
	}
	records, rest := scan(content)
	found = segment{number: g.number, file: g.file, byTenant: map[string]int64{}}
	r = &reader{segment: g, total: len(records), rest: rest, err: err, content: content, version: version}
	for i := range records {
		r.left = append(r.left, records[i].Record)
		found.add(&records[i].Record, records[i].size)
	}
	if info, statErr := os.Lstat(s.path(g.number)); statErr == nil && (err != nil || len(rest) > 0) {
		if oldest := oldestPossible(segmentName(g.number), info); oldest.Before(found.oldest) {
			found.oldest = oldest
		}
	}
	return r, found, nil
}

// finish removes the segment that has been handed out whole, and moves aside
// what of it is not in the inbox.
func (s *Spool) finish() {
	r := s.reader
	s.moving.Lock()
	defer s.moving.Unlock()
	moved, stuck := s.keepRest(r)
	r.close()
	s.reader = nil
	if len(stuck) > 0 {
		defer s.noteStuck()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = slices.Delete(s.closed, 0, 1)
	s.count(moved, stuck)
	for tenant, bytes := range r.byTenant {
		if s.byTenant[tenant] -= bytes; s.byTenant[tenant] == 0 {
			delete(s.byTenant, tenant)
		}
	}
	if r.again == nil {
		return
	}
	if len(s.closed) >= s.maxOpen && r.again.file != nil {
		_ = r.again.file.Close() // nothing is written to it
		r.again.file = nil
	}
	s.closed = append(s.closed, *r.again)
	for tenant, bytes := range r.again.byTenant {
		s.byTenant[tenant] += bytes
	}
}

// putBack has the segment of r hold only the postponed records, and sets r.again.
// Where it can't be written, those that were taken are handed out again too.
func (s *Spool) putBack(r *reader) {
	again := segment{number: r.number, postponed: true, byTenant: map[string]int64{}}
	var content []byte
	for i := range r.later {
		frame := r.later[i].frame()
		again.add(&r.later[i], int64(len(frame)))
		content = append(content, frame...)
	}
	r.again = &again
	if len(content) == len(r.content) { // it holds nothing else
		again.file, r.file = r.file, nil
		return
	}
	err := makeDir(s.dir)
	if err == nil {
		err = writeFile(s.path(r.number), content)
	}
	if err != nil {
		s.log.Error("can't remove drained deliveries from a spool file; they are delivered again", "file", s.path(r.number), "error", err)
		again = r.segment
		again.postponed = true
		r.file = nil
		return
	}
	again.file, _ = openFile(s.path(r.number)) // not open, it is not written again where it is removed
}

// count adds files that were, or could not be, moved aside. Both locks are held.
func (c *holdings) count(moved, stuck []File) {
	for _, f := range append(moved, stuck...) {
		c.aside[f.Name] = f
	}
	for _, f := range stuck {
		c.stuck = append(c.stuck, f.Name)
	}
}

// survey finds the segments that earlier processes have left. One in which
// nothing can be read is moved aside; whatever it is, it does not keep the spool
// from being opened.
func (s *Spool) survey() (found holdings, err error) {
	found.byTenant = map[string]int64{}
	if found.aside, err = list(s.dir, nil, nil); err != nil {
		return holdings{}, err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return holdings{}, err
	}
	for _, entry := range entries {
		if draft, _ := filepath.Match(draftPattern, entry.Name()); draft {
			s.removeDraft(entry.Name())
			continue
		}
		if err := s.surveyFile(entry.Name(), &found); err != nil {
			found.close()
			return holdings{}, err
		}
	}
	return found, nil
}

// surveyFile adds the segment of this name to found, or what is kept of it.
func (s *Spool) surveyFile(name string, found *holdings) error {
	number, ok := segmentNumber(name)
	if !ok || name != segmentName(number) {
		if strings.Contains(name, suffix) && !movedName.MatchString(name) {
			s.log.Warn("a file in the spool's directory is not the spool's; it is left alone", "file", name)
		}
		return nil
	}
	r, g, err := s.read(segment{number: number})
	if err != nil {
		return err
	}
	if r.total == 0 {
		if !errors.Is(r.err, fs.ErrNotExist) {
			found.count(s.keepRest(r))
		}
		r.close()
		return nil
	}
	if len(found.closed) >= s.maxOpen || r.err != nil { // of which no copy can be made
		r.close()
		g.file = nil
	}
	found.closed = append(found.closed, g)
	for tenant, bytes := range g.byTenant {
		found.byTenant[tenant] += bytes
	}
	return nil
}

// close closes the segments' files.
func (c *holdings) close() {
	for _, g := range c.closed {
		if g.file != nil {
			_ = g.file.Close() // nothing was written
		}
	}
}

// removeDraft removes what is left of a segment that was being written when the
// process ended. It had no name yet, so nothing in it was answered for.
func (s *Spool) removeDraft(name string) {
	if err := os.Remove(s.inDir(name)); err != nil {
		s.log.Warn("can't remove an unfinished spool file", "error", err)
	}
}
