// Package smallfile reads files that are expected to be small: settings, secrets
// and what is kept of a process. A file may be anything by the time it is read, so
// a read is bounded.
package smallfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Most is the size, in bytes, up to which [Read] reads a file.
const Most = 16 << 20

// ErrTooLarge means that a file is larger than is read of it.
var ErrTooLarge = errors.New("the file is too large")

// Read reads the file at path. One of more than [Most] bytes is [ErrTooLarge].
func Read(path string) ([]byte, error) { return ReadUpTo(path, Most) }

// ReadUpTo is [Read] for a file of up to most bytes.
func ReadUpTo(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	return ReadFrom(file, path, most)
}

// ReadFrom reads r, which is called name in errors, to its end.
func ReadFrom(r io.Reader, name string, most int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(content)) > most {
		err = &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%w: more than %d bytes", ErrTooLarge, most)}
	}
	if err != nil {
		return nil, err
	}
	return content, nil
}
