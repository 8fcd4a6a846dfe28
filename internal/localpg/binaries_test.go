//go:build unix

package localpg

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		initdb, postgres string
		want             int // 0: an error
	}{
		"release":    {"initdb (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", 15},
		"beta":       {"initdb (PostgreSQL) 19beta1", "postgres (PostgreSQL) 19beta1", 19},
		"old":        {"initdb (PostgreSQL) 9.6.24", "postgres (PostgreSQL) 9.6.24", 9},
		"mixed":      {"initdb (PostgreSQL) 16.1", "postgres (PostgreSQL) 15.1", 0},
		"other":      {"initdb (PostgreSQL) 16.1", "Welcome to the postgres shim!", 0},
		"only one":   {"initdb (PostgreSQL) 16.1", "", 0},
		"no program": {"", "", 0},
	}
	a, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			for program, line := range map[string]string{"initdb": test.initdb, "postgres": test.postgres} {
				if line == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\necho '"+line+"'\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			got, err := a.version(t.Context(), dir)
			if got != test.want || (err == nil) != (test.want != 0) {
				t.Errorf("version is %d (%v), want %d", got, err, test.want)
			}
		})
	}
}

func TestNewestFirst(t *testing.T) {
	t.Parallel()
	got := []string{"/usr/lib/postgresql/9.6/bin", "/Versions/latest/bin", "/usr/lib/postgresql/15/bin", "/opt/postgresql@17/bin"}
	want := []string{"/opt/postgresql@17/bin", "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/9.6/bin", "/Versions/latest/bin"}
	slices.SortFunc(got, newestFirst)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// A cluster must not depend on who starts it.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	got := environment([]string{"PATH=/bin", "LANG=de_DE.UTF-8", "LC_TIME=de_DE", "TZ=Asia/Tokyo", "PGDATA=/precious", "PGOPTIONS=-c fsync=off", "LD_LIBRARY_PATH=/opt/lib"})
	want := []string{"LC_ALL=C", "TZ=UTC", "PATH=/bin", "LD_LIBRARY_PATH=/opt/lib"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}
