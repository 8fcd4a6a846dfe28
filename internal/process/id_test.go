package process_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"contactmirror/internal/process"
)

func TestIdentity_staysWithTheDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	ids := make(chan process.ID, 10)
	var starts sync.WaitGroup
	for range cap(ids) {
		starts.Go(func() {
			id, err := process.Identity(dir)
			if err != nil {
				t.Error(err)
			}
			ids <- id
		})
	}
	starts.Wait()
	first := <-ids
	for range cap(ids) - 1 {
		if id := <-ids; id != first {
			t.Errorf("one directory has the identities %s and %s", first, id)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
	if other, err := process.Identity(t.TempDir()); err != nil || other == first {
		t.Errorf("another directory: %s, %v", other, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "process-uuid"), []byte("none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := process.Identity(dir); err == nil || !strings.Contains(err.Error(), "does not hold a UUID") {
		t.Errorf("a damaged file: %q, %v", id, err)
	}
}
