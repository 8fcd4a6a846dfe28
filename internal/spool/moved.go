package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is why a file was moved aside.
type Kind string

// The kinds of files that are moved aside, as their names end.
const (
	// Damaged is a segment of which something could not be read: what is left of
	// it once its readable records are in the inbox, or all of it where the file
	// itself could not be read.
	Damaged Kind = "damaged"
	// Refused is records that the inbox refuses for what is in them.
	Refused Kind = "refused"
	// Stuck is a segment of which something could not be read or is refused, and
	// that could not be moved. It still has a segment's name.
	Stuck Kind = "stuck"
)

// File is a file that was moved aside: out of the way of the segments that drain.
// It holds deliveries that were accepted, until [Rewrite] or [Discard] removes it.
type File struct {
	Name  string `json:"name"`
	Kind  Kind   `json:"kind"`
	Bytes int64  `json:"bytes"`
	// Records can be read, UnreadableBytes can't.
	Records         int   `json:"records"`
	UnreadableBytes int64 `json:"unreadable_bytes"`
	// OldestAt is when the oldest delivery that may be in the file was received,
	// at the earliest.
	OldestAt time.Time `json:"oldest_at"`
	// Problem is why the file itself can't be read; empty where it can.
	Problem string `json:"problem,omitempty"`

	version fs.FileInfo
}

// Contents is what can be read of a file that was moved aside.
type Contents struct {
	File
	Readable []Record
	// Rest is every byte that is of no readable record.
	Rest []byte
}

// MovedAside counts files that were moved aside.
type MovedAside struct {
	Files int
	// Records are those that can be read.
	Records int
	Bytes   int64
	// Oldest is the smallest [File.OldestAt]; zero where there is no file.
	Oldest time.Time
}

func (m *MovedAside) add(f *File) {
	m.Files++
	m.Records += f.Records
	m.Bytes += f.Bytes
	if m.Oldest.IsZero() || f.OldestAt.Before(m.Oldest) {
		m.Oldest = f.OldestAt
	}
}

var (
	// ErrNotMovedAside is returned for a name that no file has that was moved aside.
	ErrNotMovedAside = errors.New("no such file was moved aside")
	// ErrChanged means that the file is not the one that was read any more.
	ErrChanged = errors.New("the file was changed or replaced after it was read; run the command again")
	// ErrPartlyRead is returned by [Rewrite] for a file of which more may be
	// readable another time.
	ErrPartlyRead = errors.New("the file could not be read to its end")
)

// patience is how long a delivery may have waited between its receipt and its
// append.
const patience = 2 * time.Second

// movedName is the name of a file that was moved aside: its segment's, a number
// where there is another one of that name, and its kind.
var movedName = regexp.MustCompile(`^([0-9]{1,20})\.spool(?:\.[0-9]+)?\.(damaged|refused)$`)

// Files lists the files in dir that were moved aside, oldest first, with the
// segments that could not be moved. A process may use the directory meanwhile.
func Files(dir string) ([]File, error) {
	stuck, err := readStuck(dir)
	if err != nil {
		return nil, err
	}
	found, err := list(dir, nil, stuck)
	if err != nil {
		return nil, err
	}
	files := make([]File, 0, len(found))
	for _, f := range found {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// Read reads a file that was moved aside. That it can't be read is its Problem,
// and no error.
func Read(dir, name string) (Contents, error) {
	info, err := lstatMoved(dir, name)
	if err != nil {
		return Contents{}, err
	}
	return inspect(dir, info), nil
}

// Rewrite has only these records and c's unreadable bytes left in the file, or
// removes the file where that is nothing.
func Rewrite(dir string, c *Contents, left []Record) error {
	if c.Problem != "" {
		return fmt.Errorf("spool: rewrite %s: %w: %s", c.Name, ErrPartlyRead, c.Problem)
	}
	if len(left) == len(c.Readable) { // an empty file too stays: what it held is missing
		return nil
	}
	if len(left) == 0 && len(c.Rest) == 0 {
		return Discard(dir, &c.File)
	}
	if err := checkUnchanged(dir, &c.File); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, c.Name), append(frames(left, maxFile-len(c.Rest)), c.Rest...)); err != nil {
		return fmt.Errorf("spool: rewrite %s: %w", c.Name, err)
	}
	return nil
}

// Discard removes f, a file that was moved aside, unless it was changed since f was
// read.
func Discard(dir string, f *File) error {
	if err := checkUnchanged(dir, f); err != nil {
		return err
	}
	err := os.RemoveAll(filepath.Join(dir, f.Name)) // it may be a directory
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("spool: remove %s: %w", f.Name, err)
	}
	return nil
}

// checkUnchanged reports whether the file at f's name is the one that was read.
func checkUnchanged(dir string, f *File) error {
	info, err := lstatMoved(dir, f.Name)
	if err != nil {
		return err
	}
	if !unchanged(f.version, info) {
		return fmt.Errorf("%s: %w", f.Name, ErrChanged)
	}
	return nil
}

func lstatMoved(dir, name string) (fs.FileInfo, error) {
	if !movedName.MatchString(name) {
		stuck, err := readStuck(dir)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(stuck, name) {
			return nil, fmt.Errorf("%s: %w", name, ErrNotMovedAside)
		}
	}
	info, err := os.Lstat(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrNotMovedAside)
	}
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return info, nil
}

// list reads those files in dir that were moved aside and the stuck ones, by name.
// Of the known ones only those are read again that have changed.
func list(dir string, known map[string]File, stuck []string) (map[string]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("spool: %w", err)
	}
	files := map[string]File{}
	for _, entry := range entries {
		if !movedName.MatchString(entry.Name()) && !slices.Contains(stuck, entry.Name()) {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just been removed
		}
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		// What could not be read may be readable now, unless it is too large.
		if was, ok := known[entry.Name()]; ok && (was.Problem == "" || was.Bytes > maxFile) && unchanged(was.version, info) {
			files[was.Name] = was
			continue
		}
		files[entry.Name()] = inspect(dir, info).File
	}
	return files, nil
}

func unchanged(was, is fs.FileInfo) bool {
	return was != nil && os.SameFile(was, is) && was.Size() == is.Size() && was.ModTime().Equal(is.ModTime())
}

// inspect reads the file of info.
func inspect(dir string, info fs.FileInfo) Contents {
	name := info.Name()
	c := Contents{File: File{Name: name, Kind: Stuck, Bytes: info.Size(), version: info}}
	if parts := movedName.FindStringSubmatch(name); parts != nil {
		c.Kind = Kind(parts[2])
	}
	content, opened, err := readFile(filepath.Join(dir, name))
	if err != nil {
		c.Problem = err.Error()
	}
	if opened != nil { // it may have been replaced since info
		c.Bytes, c.version = opened.Size(), opened
	}
	records, rest := scan(content)
	c.Records, c.Rest, c.UnreadableBytes = len(records), rest, int64(len(rest))
	// Where all that is in the file is known, so is how old it is.
	if c.Kind != Refused || c.Problem != "" || len(rest) > 0 || len(records) == 0 {
		c.OldestAt = oldestPossible(name, info)
	}
	for _, r := range records {
		c.Readable = append(c.Readable, r.Record)
		if c.OldestAt.IsZero() || r.At.Before(c.OldestAt) {
			c.OldestAt = r.At
		}
	}
	return c
}

// oldestPossible is when a delivery in the file may have been received, at the
// earliest. The name says when the segment was begun, and the file when it was
// last written: the smaller one, as clocks are set back.
func oldestPossible(name string, info fs.FileInfo) time.Time {
	oldest := info.ModTime()
	if number, ok := segmentNumber(name); ok && time.UnixMicro(number).Before(oldest) {
		oldest = time.UnixMicro(number)
	}
	if oldest = oldest.Add(-patience); oldest.Before(time.Unix(0, 0)) {
		oldest = time.Unix(0, 0)
	}
	return oldest.UTC()
}

// oldestNamed is the smallest [oldestPossible] of the segments in dir and of the
// files that were moved aside; zero where there are none, or dir can't be read.
func oldestNamed(dir string) (oldest time.Time) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		number, ok := segmentNumber(entry.Name())
		if !ok || entry.Name() != segmentName(number) && !movedName.MatchString(entry.Name()) {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			continue
		}
		if at := oldestPossible(entry.Name(), info); oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	return oldest
}

// segmentNumber is the number that the name of a segment, or of a file that was
// one, begins with.
func segmentNumber(name string) (number int64, ok bool) {
	digits, _, ok := strings.Cut(name, suffix)
	if !ok {
		return 0, false
	}
	number, err := strconv.ParseInt(digits, 10, 64)
	return number, err == nil && number >= 0
}

// frames is records as they are on disk, in up to most bytes, which they fit into
// without their reasons. Reasons that would exceed that are left out.
func frames(records []Record, most int) (b []byte) {
	bare := make([][]byte, len(records))
	for i, r := range records {
		r.Reason = ""
		bare[i] = r.frame()
		most -= len(bare[i])
	}
	for i := range records {
		frame := bare[i]
		if whole := records[i].frame(); len(whole)-len(frame) <= most {
			most -= len(whole) - len(frame)
			frame = whole
		}
		b = append(b, frame...)
	}
	return b
}
