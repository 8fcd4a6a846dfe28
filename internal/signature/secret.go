package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Header is the request header that carries a signature.
const Header = "X-SuperOffice-Signature"

// Secret is one webhook secret and the time for which it is live. Its text and
// JSON forms are masked.
type Secret struct {
	// Key is the secret as typed into SuperOffice; its UTF-8 bytes are the HMAC's
	// key. A Secret with an empty Key is never live.
	Key string
	// NotBefore and NotAfter are the first and the last instant at which the
	// secret is live; zero is no bound.
	NotBefore, NotAfter time.Time
}

const masked = "[masked]"

func (Secret) String() string { return masked }

// GoString keeps %#v from printing the key.
func (Secret) GoString() string { return masked }

// MarshalText keeps encoding/json from printing the key.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// live reports whether s vouches for anything at now. Anybody can sign with an
// empty key.
func (s Secret) live(now time.Time) bool {
	return s.Key != "" &&
		(s.NotBefore.IsZero() || !now.Before(s.NotBefore)) &&
		(s.NotAfter.IsZero() || !now.After(s.NotAfter))
}

// Sign returns the header that SuperOffice sends with body under the secret key.
func Sign(key string, body []byte) string {
	return base64.StdEncoding.EncodeToString(mac(key, body))
}

func mac(key string, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(key))
	h.Write(body)
	return h.Sum(make([]byte, 0, sha256.Size))
}

// byteOrderMark is what some editors put before a file's UTF-8; left there it
// would become part of the first secret.
const byteOrderMark = "\ufeff"

// ParseSecrets reads secrets, one a line, all live without bounds. Carriage
// returns at a line's end and blank lines are dropped, other spaces are part of
// the secret. A text without any secret gives none and no error.
func ParseSecrets(text string) ([]Secret, error) {
	var secrets []Secret
	number := 0
	for line := range strings.SplitSeq(strings.TrimPrefix(text, byteOrderMark), "\n") {
		number++
		line = strings.TrimRight(line, "\r")
		if strings.TrimSpace(line) == "" {
			continue
		}
		if problem := unusable(line); problem != "" {
			return nil, fmt.Errorf("secret on line %d %s", number, problem)
		}
		secrets = append(secrets, Secret{Key: line})
	}
	return secrets, nil
}

// unusable says why key can't be what was typed into SuperOffice, or nothing.
// UTF-16, as some shells write it, shows by its NULs; a replacement character
// is what encoding/json makes of half a surrogate pair.
func unusable(key string) string {
	switch {
	case strings.TrimSpace(key) == "":
		return "is empty"
	case !utf8.ValidString(key) || strings.ContainsRune(key, utf8.RuneError):
		return "is not valid UTF-8"
	case strings.Contains(key, "\x00"):
		return "holds a NUL character"
	}
	return ""
}
