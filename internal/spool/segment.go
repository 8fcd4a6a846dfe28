package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// extend writes frames to the current segment, or to a new one where there is none.
func (s *Spool) extend(frames []byte) error {
	if s.file == nil {
		lock := s.lock
		file, err := s.begin(time.Now().UnixMicro(), frames)
		if err != nil {
			return fmt.Errorf("begin a segment: %w", err)
		}
		s.use(file, segment{byTenant: map[string]int64{}})
		if s.lock != lock { // the directory was removed, and closed segments with it
			s.restore()
		}
		return nil
	}
	if err := write(s.file, frames); err != nil {
		return errors.Join(err, s.abandon())
	}
	if atPath(s.file) != nil {
		return s.relocate(frames)
	}
	return nil
}

func write(file *os.File, content []byte) error {
	if _, err := file.Write(content); err != nil {
		return err
	}
	return file.Sync()
}

// draftPattern is the name of a segment before it has one.
const draftPattern = ".segment-*.tmp"

// begin makes a new segment with this number, or the next one that is free, and
// this content. It gets its name when the content is durable, so that a segment
// without content has lost it.
func (s *Spool) begin(number int64, content []byte) (file *os.File, err error) {
	if err := s.ensureDir(); err != nil {
		return nil, err
	}
	draft, err := os.CreateTemp(s.dir, draftPattern)
	if err != nil {
		return nil, err
	}
	path := draft.Name()
	err = write(draft, content)
	if err == nil {
		path, err = s.nameSegment(path, number)
	}
	if err == nil {
		err = syncDir(s.dir)
	}
	if err == nil {
		file, err = reopen(draft, path)
	}
	if err != nil {
		return nil, errors.Join(err, removeOpen(draft, path))
	}
	_ = draft.Close() // file is open
	return file, nil
}

// nameSegment renames the file at path to the segment of this number, or of the next
// one that is free, and returns where it is.
func (s *Spool) nameSegment(path string, number int64) (string, error) {
	for ; ; number++ {
		info, err := os.Lstat(s.path(number))
		switch {
		case err == nil && info.Mode().IsRegular() && info.Size() == 0:
			// Somebody replaced the segment, and it is written again.
		case err == nil:
			continue
		case !errors.Is(err, fs.ErrNotExist):
			return path, err
		}
		if err := os.Rename(path, s.path(number)); err != nil {
			return path, err
		}
		return s.path(number), nil
	}
}

// ensureDir makes the directory again where it was removed, and takes it for this
// process again.
func (s *Spool) ensureDir() error {
	if atPath(s.lock) == nil {
		return nil
	}
	if err := makeDir(s.dir); err != nil {
		return err
	}
	lock, err := lockDir(s.dir)
	if err != nil {
		return fmt.Errorf("%s: %w", s.dir, err)
	}
	old := s.lock
	s.lock = lock
	s.log.Warn("the spool's directory or its lock file was removed or replaced; both are there again", "directory", s.dir)
	return old.Close()
}

// use makes file the current segment, with what it holds.
func (s *Spool) use(file *os.File, holds segment) {
	s.file = file
	holds.number, _ = segmentNumber(filepath.Base(file.Name()))
	s.mu.Lock()
	s.current = holds
	s.mu.Unlock()
}

// relocate leaves the current segment, which was removed or moved while it was
// written, for a new one with all that it holds, and more. After an error the
// segment is as it was before more was written to it: the next append tries again.
func (s *Spool) relocate(more []byte) error {
	old, holds := s.file, s.current
	content := make([]byte, holds.bytes, holds.bytes+int64(len(more)))
	_, err := old.ReadAt(content, 0)
	var file *os.File
	if err == nil {
		// Its number stays: it is the earliest time of what the segment holds.
		file, err = s.begin(holds.number, append(content, more...))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s was removed; write its records again: %w", old.Name(), err), old.Truncate(holds.bytes))
	}
	s.log.Warn("a spool file was removed while it was written; its deliveries were written again", "file", old.Name(), "to", file.Name(), "deliveries", holds.records)
	s.use(file, holds)
	_ = old.Close() // has no name any more
	s.restore()
	return nil
}

// missing reports whether the file of a closed segment was removed, or is being
// removed because the segment was drained.
func (s *Spool) missing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.closed, func(g segment) bool { return g.file != nil && atPath(g.file) != nil })
}

// restore writes closed segments again that were removed or moved before they
// were drained, as far as they are open.
func (s *Spool) restore() {
	s.moving.Lock() // none is drained and removed meanwhile
	defer s.moving.Unlock()
	s.mu.Lock()
	closed := slices.Clone(s.closed)
	s.mu.Unlock()
	for _, g := range closed {
		if g.file == nil || atPath(g.file) == nil {
			continue
		}
		content, err := readOpen(g.file)
		if err == nil {
			err = s.ensureDir()
		}
		if err == nil {
			err = writeFile(s.path(g.number), content)
		}
		if err != nil {
			s.log.Error("a spool file was removed; it can't be written again", "file", g.file.Name(), "deliveries", g.records, "error", err)
			continue
		}
		s.log.Warn("a spool file was removed; it was written again", "file", g.file.Name(), "deliveries", g.records)
	}
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
	if atPath(s.file) != nil {
		if err := s.relocate(nil); err != nil { // the open file is all there is of it
			return fmt.Errorf("spool: close a segment: %w", err)
		}
	}
	file := s.file
	s.file = nil
	s.mu.Lock()
	ended := s.current
	s.current = segment{}
	if len(s.closed) < s.maxOpen {
		ended.file, file = file, nil
	}
	s.closed = append(s.closed, ended)
	s.mu.Unlock()
	signal(s.filled)
	if file != nil {
		if err := file.Close(); err != nil {
			return fmt.Errorf("spool: close a segment: %w", err)
		}
	}
	return nil
}

func segmentName(number int64) string { return fmt.Sprintf("%020d%s", number, suffix) }

func (s *Spool) path(number int64) string { return s.inDir(segmentName(number)) }

func (s *Spool) inDir(name string) string { return filepath.Join(s.dir, name) }

func (g *segment) add(r *Record, size int64) {
	if g.records == 0 || r.At.Before(g.oldest) {
		g.oldest = r.At
	}
	g.records++
	g.bytes += size
	g.byTenant[r.part()] += size
}

// signal wakes whoever waits on c, now or next.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
