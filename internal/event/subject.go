package event

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"contactmirror/internal/contact"
)

// What a body that is no acceptable event may yet say. It need not be JSON, so its
// bytes are searched, after escapes were replaced by what they stand for.
var (
	namedKey    = regexp.MustCompile(`(?i)"PrimaryKey"\s*:\s*("[^"]*"?|[^\s",}\]]+)`)
	namedEvent  = regexp.MustCompile(`(?i)"Event"\s*:\s*(?:"([^"]*)")?`)
	namedEntity = regexp.MustCompile(`(?i)"Entity"\s*:\s*(?:"([^"]*)("?)|$)`)
	escape      = regexp.MustCompile(`\\u00[0-7][0-9a-fA-F]`)
)

// mostSubjects is how many contacts a body may name and still be one that is
// about them. An event has one PrimaryKey; each id costs a look-up and may cost a
// lock where the body is stored.
const mostSubjects = 16

// Subjects returns the ids of the contacts that a stored body names, each once:
// every PrimaryKey that an event could have, wherever it is in the body. told is
// false where the body may be about another contact too: it names none, or more than
// [mostSubjects], or has a PrimaryKey that can't be read.
func Subjects(body []byte) (ids []int64, told bool) {
	if e, err := ParseStored(body, time.Time{}); err == nil && e.Contact != nil {
		return []int64{e.Contact.Key.ID}, true
	}
	body = escape.ReplaceAllFunc(body, func(e []byte) []byte {
		n, _ := strconv.ParseUint(string(e[2:]), 16, 8) // the expression lets only digits pass
		return []byte{byte(n)}
	})
	if !mayBeOfContact(body) {
		return nil, true
	}
	told = true
	for _, key := range namedKey.FindAllSubmatch(body, -1) {
		number := strings.Trim(string(key[1]), "\" \t\r\n")
		id, ok := contact.ParseInt(contact.Scalar{Kind: contact.String, Text: number})
		if !ok { // as in broken JSON
			id, ok = contact.ParseInt(contact.Scalar{Kind: contact.String, Text: strings.TrimRight(number, ".")})
		}
		switch {
		case !ok:
			told = false
		case slices.Contains(ids, id):
		case len(ids) == mostSubjects:
			return nil, false
		default:
			ids = append(ids, id)
		}
	}
	return ids, told && len(ids) > 0
}

// mayBeOfContact reports whether an Event or an Entity in body says that it is about a
// contact, as contactmirror_is_of_contact asks of an event that could be read, or can't
// be read and may say so: an Event that is no string, an Entity that is cut off. Where
// body has no Event it may be about a contact too.
func mayBeOfContact(body []byte) bool {
	names := namedEvent.FindAllSubmatch(body, -1)
	if len(names) == 0 {
		return true
	}
	for _, name := range names {
		if name[1] == nil || bytes.HasPrefix(bytes.ToLower(name[1]), []byte("contact.")) {
			return true
		}
	}
	for _, entity := range namedEntity.FindAllSubmatch(body, -1) {
		value, closed := strings.ToLower(string(entity[1])), len(entity[2]) > 0
		if value == "contact" || !closed && strings.HasPrefix("contact", value) {
			return true
		}
	}
	return false
}
