package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// moved returns the File that is at name now.
func (s *Spool) moved(name string) File {
	info, err := os.Lstat(filepath.Join(s.dir, name))
	if err == nil {
		return inspect(s.dir, info).File
	}
	number, _ := segmentNumber(name)
	return File{Name: name, Kind: Stuck, OldestAt: time.UnixMicro(number).Add(-patience).UTC(), Problem: err.Error()}
}

// follow looks every while for files that were moved aside, so that those that an
// operator has resolved count no more.
func (s *Spool) follow(ctx context.Context) {
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.refresh()
		if err != nil && !failed {
			s.log.Error("can't look for spool files that were moved aside", "error", err)
		}
		failed = err != nil
	}
}

func (s *Spool) refresh() error {
	s.moving.Lock()
	defer s.moving.Unlock()
	s.mu.Lock()
	known, open := maps.Clone(s.aside), s.outage.err == nil
	s.mu.Unlock()
	if !open {
		return nil
	}
	s.moveStuck(known)
	files, err := list(s.dir, known, s.stuck)
	if err != nil {
		return err
	}
	for _, name := range s.stuck {
		if f, ok := known[name]; ok && f.version == nil { // no file, and no mark of it
			files[name] = f
		}
	}
	for name, f := range known {
		if _, ok := files[name]; !ok {
			s.log.Warn("a spool file that was moved aside was delivered, discarded or removed; it no longer holds back complete_through",
				"file", s.inDir(name), "deliveries", f.Records, "unreadable_bytes", f.UnreadableBytes, "bytes", f.Bytes, "oldest", f.OldestAt)
		}
	}
	s.mu.Lock()
	s.aside = files
	s.mu.Unlock()
	return nil
}

// moveStuck tries again to move aside the segments that could not be moved. Those
// that are moved, or are gone, are taken out of known and s.stuck.
func (s *Spool) moveStuck(known map[string]File) {
	if len(s.stuck) == 0 {
		return
	}
	s.stuck = slices.DeleteFunc(s.stuck, func(segment string) bool {
		var name string
		var err error
		if known[segment].version == nil {
			name, err = s.write(segment, Damaged, nil)
		} else {
			name, err = s.move(segment)
		}
		switch {
		case err == nil:
			delete(known, segment)
			s.log.Warn("a spool file that could not be moved aside is moved aside now", "file", s.inDir(segment), "to", name)
			return true
		case known[segment].version != nil && errors.Is(err, fs.ErrNotExist):
			return true
		}
		return false
	})
	s.noteStuck()
}

// noteStuck has the lock file name the stuck segments, for [Files].
func (s *Spool) noteStuck() {
	content := []byte(strings.Join(s.stuck, "\n"))
	if path := s.inDir(lockName); !holds(path, content) {
		if err := overwriteFile(path, content); err != nil {
			s.log.Error("can't note which spool files could not be moved aside; spool list does not show them", "files", s.stuck, "error", err)
		}
	}
}

// readStuck reads what [Spool.noteStuck] has written.
func readStuck(dir string) ([]string, error) {
	content, _, err := readFile(filepath.Join(dir, lockName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return slices.DeleteFunc(strings.Split(string(content), "\n"), func(name string) bool {
		number, ok := segmentNumber(name)
		return !ok || name != segmentName(number)
	}), nil
}

// keepRest puts what must be kept of the segment of r into files of its own, and
// removes the segment. It returns the files, and the segment where that could not
// be moved.
func (s *Spool) keepRest(r *reader) (moved, stuck []File) {
	name := segmentName(r.number)
	lost := max(0, r.segment.records-r.total)
	var names []string
	var err error
	switch {
	case errors.Is(r.err, fs.ErrNotExist):
		// The mark that it has been.
		if name, err = s.write(name, Damaged, nil); err == nil {
			names = append(names, name)
		}
	case r.err != nil:
		if name, err = s.move(name); err == nil {
			names = append(names, name)
		}
	default:
		names, err = s.writeRest(name, r, lost > 0 || len(r.content) == 0)
		if err == nil && !s.isAsRead(r) {
			r.err = errors.New("it was changed or replaced while it was drained")
		}
		if err == nil && r.err == nil && len(r.later) > 0 {
			s.putBack(r)
		} else if err == nil && r.err == nil {
			s.remove(name)
		} else if name, err = s.move(name); err == nil {
			names = append(names, name)
		}
	}
	for _, n := range names {
		f := s.moved(n)
		moved = append(moved, f)
		s.report(r, f, lost)
	}
	if err != nil {
		f := s.moved(segmentName(r.number))
		stuck = append(stuck, f)
		s.log.Error("a spool file holds accepted deliveries that can't be drained, and can't be moved aside; the rest drains, and it is tried again every few seconds: see contactmirror spool list",
			"file", s.path(r.number), "problem", problem(r), "error", err)
	}
	return moved, stuck
}

// isAsRead reports whether the segment of r holds what was read, if it is there.
func (s *Spool) isAsRead(r *reader) bool {
	info, err := os.Lstat(s.path(r.number))
	return err != nil || unchanged(r.version, info) ||
		holds(s.path(r.number), r.content) // [Spool.restore] has written it again
}

// writeRest writes the refused records of r and the unreadable bytes of its
// segment, each into a file.
func (s *Spool) writeRest(segment string, r *reader, incomplete bool) (names []string, err error) {
	if len(r.refused) > 0 {
		name, err := s.write(segment, Refused, frames(r.refused, maxFile))
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	if len(r.rest) > 0 || incomplete {
		name, err := s.write(segment, Damaged, r.rest)
		if err != nil {
			return names, err
		}
		names = append(names, name)
	}
	return names, nil
}

func (s *Spool) report(r *reader, f File, lost int) {
	path := filepath.Join(s.dir, f.Name)
	if f.Kind == Refused {
		s.log.Error("the inbox refuses accepted deliveries for what is in them; they were moved aside: see contactmirror spool list",
			"file", path, "deliveries", f.Records, "reason", r.refused[0].Reason)
		return
	}
	s.log.Error("a spool file with accepted deliveries can't be read, or not all of it; it was moved aside: see contactmirror spool list",
		"file", path, "problem", problem(r), "deliveries_read", r.total, "deliveries_missing_at_least", lost, "unreadable_bytes", len(r.rest))
}

func problem(r *reader) string {
	switch {
	case r.err != nil:
		return r.err.Error()
	case len(r.content) == 0:
		return "it is empty: what it held is missing"
	}
	return "it is damaged"
}

// write writes a file that is to be moved aside. A file that has this content
// already, from before a crash, is that file.
func (s *Spool) write(segment string, kind Kind, content []byte) (name string, err error) {
	if err := makeDir(s.dir); err != nil {
		return "", err
	}
	for i := 0; ; i++ {
		name := movedFileName(segment, kind, i)
		path := filepath.Join(s.dir, name)
		_, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return name, writeFile(path, content)
		case err != nil:
			return "", err
		case holds(path, content):
			return name, nil
		}
	}
}

// move moves a segment aside as it is.
func (s *Spool) move(segment string) (name string, err error) {
	for i := 0; ; i++ {
		name := movedFileName(segment, Damaged, i)
		path := filepath.Join(s.dir, name)
		_, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := os.Rename(filepath.Join(s.dir, segment), path); err != nil {
				return "", err
			}
			return name, syncDir(s.dir)
		case err != nil:
			return "", err
		}
	}
}

// movedFileName is the name of the file of segment that is moved aside after i
// others of its kind.
func movedFileName(segment string, kind Kind, i int) string {
	if i > 0 {
		segment = fmt.Sprintf("%s.%d", segment, i)
	}
	return segment + "." + string(kind)
}

// remove removes a segment of which nothing is left to drain. Where it can't, the
// segment is drained again at the next start, which does no harm.
func (s *Spool) remove(segment string) {
	err := os.Remove(filepath.Join(s.dir, segment))
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Error("can't remove a drained spool file", "error", err)
	}
}
