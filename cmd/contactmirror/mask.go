package main

import (
	"net/url"
	"regexp"
	"strings"
)

// masked stands in for a secret wherever settings are shown.
const masked = "***"

// maskSecret shows that a secret is set, and nothing of it.
func maskSecret(string) string { return masked }

// secretKeys are the connection parameters whose values are never shown.
var secretKeys = map[string]bool{
	"password":            true,
	"sslpassword":         true,
	"oauth_client_secret": true,
	"scram_client_key":    true,
	"scram_server_key":    true,
}

// maskURL shows a database URL, or key=value string, without its passwords. It
// works on the text rather than on a parsed URL, so that it also holds for the
// URLs that some parser refuses, and hides too much rather than too little
// where a password was not escaped.
func maskURL(text string) string {
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL || strings.ContainsAny(scheme, "= '") {
		return maskKeywords(text)
	}
	rest, query, hasQuery := strings.Cut(rest, "?")
	if !strings.Contains(rest, "@") && strings.Contains(rest, ":") && strings.Contains(query, "@") {
		// An unescaped ? in a password, for all that can be told.
		rest, query, hasQuery = rest+"?"+query, "", false
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		if user, _, has := strings.Cut(rest[:at], ":"); has {
			rest = user + ":" + masked + rest[at:]
		}
	}
	if hasQuery {
		rest += "?" + maskQuery(query)
	}
	return scheme + "://" + rest
}

func maskQuery(query string) string {
	parts := strings.Split(query, "&")
	for i, part := range parts {
		key, _, pair := strings.Cut(part, "=")
		name, err := url.QueryUnescape(key)
		switch {
		case !pair || err != nil:
			parts[i] = masked
		case secretKeys[strings.ToLower(strings.TrimSpace(name))]:
			parts[i] = key + "=" + masked
		}
	}
	return strings.Join(parts, "&")
}

// keyword matches one key=value pair as libpq reads it: spaces around the =,
// and a value that is quoted or runs to the next space, with \ escaping.
var keyword = regexp.MustCompile(`(?s)^\s*([A-Za-z_]+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)(?:[^\s\\]|\\.)*|)(?:\s+|$)`)

// maskKeywords masks a key=value string. What does not read as one is hidden
// whole.
func maskKeywords(text string) string {
	var pairs []string
	for strings.TrimSpace(text) != "" {
		found := keyword.FindStringSubmatch(text)
		if found == nil {
			return masked
		}
		key, value := found[1], found[2]
		if secretKeys[strings.ToLower(key)] {
			value = masked
		}
		pairs = append(pairs, key+"="+value)
		text = text[len(found[0]):]
	}
	return strings.Join(pairs, " ")
}
