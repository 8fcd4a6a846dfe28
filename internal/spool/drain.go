package spool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxPeek bounds what [Spool.Peek] hands out at a time.
const (
	maxPeek      = 512
	maxPeekBytes = 4 << 20
)

// reader is a segment that is being handed out.
type reader struct {
	segment
	file   *os.File
	buffer *bufio.Reader
	peeked [][]byte
	ended  error // why there is no more to read: io.EOF, errTorn, errCorrupt
}

// Peek returns the oldest records, some at a time, and waits until there are
// any or ctx ends. It returns the same ones until [Spool.Taken] is called.
// Both are for one goroutine.
func (s *Spool) Peek(ctx context.Context) ([][]byte, error) {
	for {
		if s.reader == nil {
			if err := s.openOldest(ctx); err != nil {
				return nil, err
			}
		}
		if err := s.reader.fill(); err != nil {
			return nil, fmt.Errorf("spool: read segment %d: %w", s.reader.number, err)
		}
		if len(s.reader.peeked) > 0 {
			return s.reader.peeked, nil
		}
		if err := s.finish(); err != nil {
			return nil, err
		}
	}
}

// Taken tells that what Peek returned is kept elsewhere now. A segment of which
// everything is taken is removed.
func (s *Spool) Taken() error {
	if s.reader == nil {
		return nil
	}
	s.reader.peeked = nil
	if err := s.reader.fill(); err != nil {
		return fmt.Errorf("spool: read segment %d: %w", s.reader.number, err)
	}
	if len(s.reader.peeked) == 0 {
		return s.finish()
	}
	return nil
}

// openOldest waits for a segment and opens it.
func (s *Spool) openOldest(ctx context.Context) error {
	for {
		s.mu.Lock()
		var oldest *segment
		if len(s.closed) > 0 {
			oldest = &s.closed[0]
		}
		writing := s.current.records > 0
		s.mu.Unlock()
		if oldest != nil {
			file, err := os.Open(s.path(oldest.number))
			if err != nil {
				return fmt.Errorf("spool: %w", err)
			}
			s.reader = &reader{segment: *oldest, file: file, buffer: bufio.NewReaderSize(file, 256<<10)}
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

// fill reads the next records, unless there are some that nobody has taken.
func (r *reader) fill() error {
	if len(r.peeked) > 0 {
		return nil
	}
	for size := 0; len(r.peeked) < maxPeek && size < maxPeekBytes && r.ended == nil; {
		b, err := readRecord(r.buffer)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, errTorn), errors.Is(err, errCorrupt):
			r.ended = err
			return nil
		case err != nil:
			return err
		}
		record, err := decode(b)
		if err != nil {
			r.ended = err
			return nil
		}
		r.peeked, size = append(r.peeked, record.payload), size+len(b)
	}
	return nil
}

// finish removes the segment that has been handed out whole. One that was
// changed from outside is set aside instead, for what stands behind the change
// can't be told from noise.
func (s *Spool) finish() error {
	r := s.reader
	path := s.path(r.number)
	err := r.file.Close()
	if errors.Is(r.ended, errCorrupt) {
		s.log.Error("a spool segment is damaged; what could be read of it was kept, the file is set aside", "file", path+damaged)
		err = errors.Join(err, os.Rename(path, path+damaged))
	} else {
		err = errors.Join(err, os.Remove(path))
	}
	if err = errors.Join(err, syncDir(s.dir)); err != nil {
		return fmt.Errorf("spool: remove segment %d: %w", r.number, err)
	}
	s.reader = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = slices.Delete(s.closed, 0, 1)
	for tenant, bytes := range r.byTenant {
		if s.byTenant[tenant] -= bytes; s.byTenant[tenant] == 0 {
			delete(s.byTenant, tenant)
		}
	}
	return nil
}

// survey finds the segments that earlier processes have left.
func (s *Spool) survey() error {
	names, err := filepath.Glob(filepath.Join(s.dir, "*"+suffix+"*"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		digits, _, _ := strings.Cut(filepath.Base(name), suffix)
		number, err := strconv.ParseUint(digits, 10, 64)
		if err != nil {
			return fmt.Errorf("%s is no segment", name)
		}
		s.number = max(s.number, number)
		if strings.HasSuffix(name, damaged) {
			continue
		}
		g, err := read(name, number)
		if err != nil {
			return err
		}
		s.closed = append(s.closed, g)
		for tenant, bytes := range g.byTenant {
			s.byTenant[tenant] += bytes
		}
	}
	return nil
}

// read counts what is in a segment.
func read(name string, number uint64) (segment, error) {
	g := segment{number: number, byTenant: map[string]int64{}}
	file, err := os.Open(name)
	if err != nil {
		return segment{}, err
	}
	defer func() { _ = file.Close() }() // only read
	buffer := bufio.NewReaderSize(file, 256<<10)
	for {
		b, err := readRecord(buffer)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, errTorn) || errors.Is(err, errCorrupt) {
				return g, nil
			}
			return segment{}, err
		}
		r, err := decode(b)
		if err != nil {
			return g, nil //nolint:nilerr // as a wrong checksum: Peek meets it again
		}
		g.add(r)
	}
}
