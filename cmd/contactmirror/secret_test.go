package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"
)

func TestEnsureSecret(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	first, err := ensureSecret(dir)
	if err != nil {
		t.Fatal(err)
	}
	if random, err := base64.RawURLEncoding.DecodeString(first); err != nil || len(random) != 32 {
		t.Errorf("got %d random bytes (%v), want 32", len(random), err)
	}
	info, err := os.Stat(filepath.Join(dir, secretFile))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode().Perm(), os.FileMode(0o600); got != want {
		t.Errorf("mode: got %v, want %v", got, want)
	}
	if again, err := ensureSecret(dir); err != nil || again != first {
		t.Errorf("second start: got another secret (%v), want the same", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("got %d files, want the secret alone", len(entries))
	}
}

func TestEnsureSecretAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secrets := make([]string, 16)
	var starts errgroup.Group
	for i := range secrets {
		starts.Go(func() (err error) {
			secrets[i], err = ensureSecret(dir)
			return err
		})
	}
	if err := starts.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if s == "" || s != secrets[0] {
			t.Fatal("got several secrets, want one")
		}
	}
}

func TestEnsureSecretRefusesEmpty(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, secretFile), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ensureSecret(dir); err == nil {
		t.Error("got no error for an empty secret")
	}
}
