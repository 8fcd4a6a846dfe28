package chain

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

const (
	// MinKey is the least length of a key in bytes.
	MinKey = 16
	// MaxKeys is the most keys that may be given at a time.
	MaxKeys = 16
)

// KeyID names a key without telling it. Links made without a key have the zero
// id.
type KeyID [idSize]byte

// String writes id in hexadecimal.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// Key is what links are made with.
type Key struct {
	id     KeyID
	secret []byte
}

// NewKey makes a key of secret, which must have [MinKey] bytes or more.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) < MinKey {
		return nil, fmt.Errorf("is too short: %d bytes, at least %d are needed", len(secret), MinKey)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte{ofKey})
	k := &Key{secret: slices.Clone(secret)}
	copy(k.id[:], mac.Sum(nil))
	if k.id == (KeyID{}) { // stands for no key
		k.id[0] = 1
	}
	return k, nil
}

// ID is the key's id.
func (k *Key) ID() KeyID { return k.id }

// Keys are the keys in use: the first makes links, all of them sign heads and check
// both. There may be none.
type Keys []*Key

// ParseKeys reads keys, one a line. Empty lines are skipped. No error shows a key.
func ParseKeys(text string) (Keys, error) {
	var keys Keys
	for line := range strings.Lines(text) {
		secret := strings.TrimRight(line, "\r\n")
		if secret == "" {
			continue
		}
		n := len(keys) + 1
		key, err := NewKey([]byte(secret))
		switch {
		case err != nil && n == 1:
			return nil, err
		case err != nil:
			return nil, fmt.Errorf("key %d %w", n, err)
		case n > MaxKeys:
			return nil, fmt.Errorf("holds more than %d keys", MaxKeys)
		}
		if other := keys.index(key.id); other != unkeyed {
			return nil, fmt.Errorf("key %d has the id of key %d, %s: it is the same, or another must be generated", n, other+1, key.id)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("holds no key")
	}
	return keys, nil
}

// IDs lists the keys' ids in order.
func (keys Keys) IDs() []KeyID {
	ids := make([]KeyID, len(keys))
	for i, k := range keys {
		ids[i] = k.id
	}
	return ids
}

// index is the place of the key with this id, or unkeyed.
func (keys Keys) index(id KeyID) int {
	return slices.IndexFunc(keys, func(k *Key) bool { return k.id == id })
}
