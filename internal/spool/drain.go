package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	left    []record // not taken yet
	damaged bool
}

// Peek returns the oldest records, some at a time, and waits until there are
// any or ctx ends. It returns the same ones until [Spool.Taken] is called. Both
// are for one goroutine, and may be called again after an error.
func (s *Spool) Peek(ctx context.Context) ([][]byte, error) {
	for {
		if s.reader == nil {
			if err := s.readOldest(ctx); err != nil {
				return nil, err
			}
		}
		if payloads := s.reader.peek(); len(payloads) > 0 {
			return payloads, nil
		}
		if err := s.finish(); err != nil {
			return nil, err
		}
	}
}

// Taken tells that the first n of the records that Peek returned are kept
// elsewhere now. A segment of which everything is taken is removed.
func (s *Spool) Taken(n int) error {
	r := s.reader
	if r.left = r.left[n:]; len(r.left) > 0 {
		return nil
	}
	return s.finish()
}

func (r *reader) peek() (payloads [][]byte) {
	size := 0
	for _, record := range r.left {
		if len(payloads) == maxPeek || size > maxPeekBytes {
			break
		}
		payloads, size = append(payloads, record.payload), size+len(record.payload)
	}
	return payloads
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
			content, err := os.ReadFile(s.path(oldest.number))
			if err != nil {
				return fmt.Errorf("spool: %w", err)
			}
			r := &reader{segment: *oldest}
			r.left, r.damaged = scan(content)
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

// finish removes the segment that has been handed out whole. One in which
// something could not be read is set aside instead.
func (s *Spool) finish() error {
	r := s.reader
	path := s.path(r.number)
	var err error
	if r.damaged {
		if err = os.Rename(path, path+damaged); err == nil {
			s.log.Error("a spool segment is damaged; what could be read of it was kept, the file is set aside", "file", path+damaged)
		}
	} else {
		err = os.Remove(path)
	}
	if errors.Is(err, os.ErrNotExist) { // done the last time, which failed behind it
		err = nil
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

// SetAside keeps payload, of a record that nobody can take, in a file of its
// own, out of the way of the others. Its name is returned.
func (s *Spool) SetAside(payload []byte) (name string, err error) {
	file, err := os.CreateTemp(s.dir, "*"+refused)
	if err != nil {
		return "", fmt.Errorf("spool: set a record aside: %w", err)
	}
	_, err = file.Write(payload)
	if err = errors.Join(err, file.Sync(), file.Close(), syncDir(s.dir)); err != nil {
		return "", fmt.Errorf("spool: set a record aside: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return file.Name(), nil
}

// survey finds the segments that earlier processes have left.
func (s *Spool) survey() error {
	names, err := filepath.Glob(filepath.Join(s.dir, "*"+suffix+"*"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		digits, end, _ := strings.Cut(filepath.Base(name), suffix)
		number, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || end != "" && end != damaged {
			s.log.Warn("a file in the spool's directory is none of its own; it is left alone", "file", name)
			continue
		}
		s.number = max(s.number, number)
		if end == damaged {
			continue
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		g := segment{number: number, byTenant: map[string]int64{}}
		records, _ := scan(content)
		for _, r := range records {
			g.add(r)
		}
		s.closed = append(s.closed, g)
		for tenant, bytes := range g.byTenant {
			s.byTenant[tenant] += bytes
		}
	}
	return nil
}
