package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"contactmirror/internal/smallfile"
)

// secretFile is the generated secret's name in the data directory.
const secretFile = "secret"

// generatedSecret reads the secret that an earlier start made in dataDir. The
// error is an [fs.ErrNotExist] where there was none.
func generatedSecret(dataDir string) (string, error) {
	content, err := smallfile.Read(filepath.Join(dataDir, secretFile))
	if err != nil {
		return "", fmt.Errorf("read the generated secret: %w", err)
	}
	secret := strings.TrimRight(string(content), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("read the generated secret: %s is empty; remove it, and the next start makes another", filepath.Join(dataDir, secretFile))
	}
	return secret, nil
}

// ensureSecret returns dataDir's generated secret, and makes it where there is
// none: 32 random bytes in a file that only its owner may read. The file
// appears whole or not at all, and of several starts at once one makes it.
func ensureSecret(dataDir string) (string, error) {
	secret, err := generatedSecret(dataDir)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	secret = base64.RawURLEncoding.EncodeToString(random)
	if err := placeSecret(dataDir, secret); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return generatedSecret(dataDir)
		}
		return "", fmt.Errorf("make a secret: %w", err)
	}
	return secret, nil
}

func placeSecret(dataDir, secret string) (err error) {
	if err := os.MkdirAll(dataDir, 0o755); err != nil {
		return err
	}
	draft, err := os.CreateTemp(dataDir, secretFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(draft.Name())) }()
	if _, err = draft.WriteString(secret + "\n"); err == nil {
		err = draft.Sync()
	}
	if err = errors.Join(err, draft.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, leaves a secret alone that is there by now.
	return os.Link(draft.Name(), filepath.Join(dataDir, secretFile))
}
