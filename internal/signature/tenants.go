package signature

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// ParseTenantSecrets reads secrets by tenant from JSON:
//
//	{"Cust1234": [{"secret": "…", "not_before": "…", "not_after": "…"}], "*": […]}
//
// Times are RFC 3339, and may be null or left out. Names match exactly. What is
// unknown, repeated, empty or contradictory is an error that names the tenant
// and the entry, counted from 1, and quotes nothing else of the file.
func ParseTenantSecrets(data []byte) (map[string][]Secret, error) {
	data = bytes.TrimPrefix(data, []byte(byteOrderMark))
	if !utf8.Valid(data) {
		return nil, errors.New("tenant secrets are not valid UTF-8")
	}
	tenants := make(map[string][]Secret)
	err := members(data, func(tenant string, value json.RawMessage) error {
		if _, ok := tenants[tenant]; ok {
			return fmt.Errorf("tenant %q occurs twice", tenant)
		}
		if strings.Contains(tenant, "\x00") {
			return fmt.Errorf("tenant %q holds a NUL character, as no ContextIdentifier does", tenant)
		}
		secrets, err := parseEntries(value)
		if err != nil {
			return fmt.Errorf("tenant %q: %w", tenant, err)
		}
		tenants[tenant] = secrets
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tenants, nil
}

func parseEntries(value json.RawMessage) ([]Secret, error) {
	var entries []json.RawMessage
	if err := json.Unmarshal(value, &entries); err != nil {
		return nil, errors.New("not a list of secrets") // err may quote one
	}
	if len(entries) == 0 {
		return nil, errors.New("no secrets; leave the tenant out or give it one")
	}
	secrets := make([]Secret, len(entries))
	for i, entry := range entries {
		s, err := parseEntry(entry)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		secrets[i] = s
	}
	return secrets, nil
}

func parseEntry(entry json.RawMessage) (Secret, error) {
	var s Secret
	seen := make(map[string]bool)
	err := members(entry, func(name string, value json.RawMessage) (err error) {
		repeated := seen[name]
		seen[name] = true
		switch name {
		case "secret":
			s.Key, err = parseKey(value)
		case "not_before":
			s.NotBefore, err = parseTime(value)
		case "not_after":
			s.NotAfter, err = parseTime(value)
		default:
			// The name may be a secret that went astray.
			return errors.New("unknown field; there are secret, not_before and not_after")
		}
		if repeated {
			return fmt.Errorf("%s occurs twice", name)
		}
		if err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
		return nil
	})
	switch {
	case err != nil:
		return Secret{}, err
	case !seen["secret"]:
		return Secret{}, errors.New("secret is missing")
	case !s.NotAfter.IsZero() && s.NotAfter.Before(s.NotBefore):
		return Secret{}, errors.New("not_after lies before not_before")
	}
	return s, nil
}

func parseKey(value json.RawMessage) (string, error) {
	var key string
	if json.Unmarshal(value, &key) != nil {
		return "", errors.New("is not a string")
	}
	if problem := unusable(key); problem != "" {
		return "", errors.New(problem)
	}
	return key, nil
}

func parseTime(value json.RawMessage) (time.Time, error) {
	var text *string
	if json.Unmarshal(value, &text) != nil {
		return time.Time{}, errors.New("is not a string")
	}
	if text == nil {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, *text)
	if err != nil || t.IsZero() { // zero would be no bound
		return time.Time{}, errors.New("is not a time such as 2026-01-31T12:00:00Z") // err quotes the file
	}
	return t, nil
}

// members calls yield for each member of the JSON object that data holds. A
// struct would take a name in any case, and the last of two that are equal.
func members(data []byte, yield func(name string, value json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	invalid := func() error {
		return fmt.Errorf("not valid JSON, at byte %d", dec.InputOffset())
	}
	open, err := dec.Token()
	if err != nil {
		return invalid()
	}
	if open != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return invalid()
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return invalid()
		}
		if err := yield(name.(string), value); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return invalid()
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return invalid()
	}
	return nil
}
