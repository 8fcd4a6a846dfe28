//go:build unix

package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// lockName is the file that is locked. It also names the segments that could not
// be moved aside.
const lockName = "lock"

// lockDir takes dir for this process. The lock goes with the process, however
// that ends.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	info, err := os.Lstat(path)
	if err == nil {
		err = regular(path, info)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// atPath reports whether file is what its name leads to, rather than a file that
// was removed or whose directory was moved.
func atPath(file *os.File) error {
	held, err := file.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(file.Name())
	if err != nil {
		return err
	}
	if !os.SameFile(held, named) {
		return fmt.Errorf("%s is another file now", file.Name())
	}
	return nil
}

// reopen opens file for appending under the name that it was given since it was
// opened.
func reopen(file *os.File, path string) (*os.File, error) {
	again, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	was, err := file.Stat()
	if err == nil {
		var is fs.FileInfo
		if is, err = again.Stat(); err == nil && !os.SameFile(was, is) {
			err = fmt.Errorf("%s is another file now", path)
		}
	}
	if err != nil {
		return nil, errors.Join(err, again.Close())
	}
	return again, nil
}

// removeOpen closes file and removes it, unless path is another file by now.
func removeOpen(file *os.File, path string) error {
	was, err := file.Stat()
	if err == nil {
		var is fs.FileInfo
		if is, err = os.Lstat(path); err == nil && os.SameFile(was, is) {
			err = os.Remove(path)
		}
	}
	return errors.Join(err, file.Close())
}

// openFile opens a regular file for reading and nothing else: opening a named
// pipe blocks, and opening a device may do anything.
func openFile(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if err := regular(path, info); err != nil {
		return nil, err
	}
	// It may have been replaced since.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = file.Stat(); err == nil {
		err = regular(path, info)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// readFile reads a regular file. With an error it returns what it has read up to
// there. The info, of the file before it was read, is nil where it could not be
// opened.
func readFile(path string) (content []byte, info fs.FileInfo, err error) {
	file, err := openFile(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	if info, err = file.Stat(); err != nil {
		return nil, nil, err
	}
	content, err = readOpen(file)
	return content, info, err
}

// readOpen reads a file from its beginning, wherever it was written to last, up to
// [maxFile].
func readOpen(file *os.File) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	size := min(info.Size(), maxFile) + 1
	content := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	_, err = content.ReadFrom(io.NewSectionReader(file, 0, maxFile+1))
	if err == nil && content.Len() > maxFile {
		content.Truncate(maxFile)
		err = fmt.Errorf("%s is larger than %d bytes, the most that a spool file has; the rest was not read", file.Name(), int64(maxFile))
	}
	return content.Bytes(), err
}

func regular(path string, info fs.FileInfo) error {
	var what string
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		what = "a directory"
	case mode&fs.ModeSymlink != 0:
		what = "a symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		what = "a named pipe"
	case mode&fs.ModeSocket != 0:
		what = "a socket"
	default:
		what = "a device"
	}
	return fmt.Errorf("%s is %s, not a regular file", path, what)
}

// exhausted reports whether err says more of this process or machine than of the
// file.
func exhausted(err error) bool {
	for _, code := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EINTR, syscall.EAGAIN} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// writeFile writes a file with this content, whole or not at all, and durably.
// It replaces one of that name, and keeps its owner.
func writeFile(path string, content []byte) (err error) {
	draft, err := os.CreateTemp(filepath.Dir(path), ".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(draft.Name()))
		}
	}()
	_, err = draft.Write(content)
	if err == nil {
		err = keepOwner(draft, path)
	}
	if err == nil {
		err = draft.Sync()
	}
	if err = errors.Join(err, draft.Close()); err != nil {
		return err
	}
	if err = os.Rename(draft.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// overwriteFile writes content into a file that is there, which stays the same
// file.
func overwriteFile(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Close())
}

// keepOwner gives draft to the owner of the file at path, or else of its
// directory: a command that root runs must leave files that serve can read.
func keepOwner(draft *os.File, path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = os.Lstat(filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return draft.Chown(int(owner.Uid), int(owner.Gid))
}

// holds reports whether the file at path has exactly this content.
func holds(path string, content []byte) bool {
	has, _, err := readFile(path)
	return err == nil && bytes.Equal(has, content)
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// makeDir makes dir and what is missing above it, durably.
func makeDir(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	made := dir
	for parent := filepath.Dir(made); ; made, parent = parent, filepath.Dir(parent) {
		if _, err := os.Stat(made); err == nil || made == parent {
			break
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for ; dir != made; dir = filepath.Dir(dir) {
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}
