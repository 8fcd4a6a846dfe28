package smallfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"contactmirror/internal/smallfile"
)

// A file is read whole or not at all.
func TestReadUpTo_size(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	for size, want := range map[int]error{0: nil, 99: nil, 100: nil, 101: smallfile.ErrTooLarge, 5000: smallfile.ErrTooLarge} {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		content, err := smallfile.ReadUpTo(path, 100)
		if !errors.Is(err, want) || err == nil && len(content) != size || err != nil && content != nil {
			t.Errorf("%d bytes: read %d, %v", size, len(content), err)
		}
		if err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not name the file", err)
		}
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	if _, err := smallfile.Read(path); !errors.Is(err, smallfile.ErrTooLarge) {
		t.Errorf("a huge file: %v", err)
	}
	if _, err := smallfile.Read(path + ".gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
