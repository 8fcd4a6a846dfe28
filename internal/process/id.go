package process

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/smallfile"
)

// ID identifies a process: a UUID.
type ID string

// NewID returns a new random ID.
func NewID() ID {
	u := pgtype.UUID{Valid: true}
	_, _ = rand.Read(u.Bytes[:])        // never fails
	u.Bytes[6] = u.Bytes[6]&0x0f | 0x40 // version 4: random
	u.Bytes[8] = u.Bytes[8]&0x3f | 0x80 // RFC 9562's variant
	return ID(u.String())
}

// idFile holds a data directory's ID. Its name does not say "pid", for it
// outlives the process.
const idFile = "process-uuid"

// Identity returns the ID kept in the data directory dir, and makes one the first
// time. A process that takes over the directory takes over its spool, and so the
// row that says what the spool holds, on whatever machine it runs.
func Identity(dir string) (ID, error) {
	id, err := readID(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = placeID(dir, NewID()); err == nil || errors.Is(err, fs.ErrExist) {
			id, err = readID(dir)
		}
	}
	if err != nil {
		return "", fmt.Errorf("process: identity of the data directory: %w", err)
	}
	return id, nil
}

func readID(dir string) (ID, error) {
	name := filepath.Join(dir, idFile)
	text, err := smallfile.Read(name)
	if err != nil {
		return "", err
	}
	id, err := ParseID(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("%s does not hold a UUID", name)
	}
	return id, nil
}

// ParseID parses text as an ID.
func ParseID(text string) (ID, error) {
	var u pgtype.UUID
	if err := u.Scan(text); err != nil {
		return "", fmt.Errorf("%.40q is not a UUID", text)
	}
	return ID(u.String()), nil
}

// placeID writes dir's ID atomically. It fails with [fs.ErrExist] if there is one.
func placeID(dir string, id ID) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	draft, err := os.CreateTemp(dir, idFile+".*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(draft.Name())) }()
	if _, err = draft.WriteString(string(id) + "\n"); err == nil {
		err = draft.Sync()
	}
	if err = errors.Join(err, draft.Close()); err != nil {
		return err
	}
	return os.Link(draft.Name(), filepath.Join(dir, idFile))
}
