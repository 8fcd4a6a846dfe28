package event

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// What a body that is no acceptable event may yet say: one that is no JSON is no
// object either, so its bytes are searched.
var (
	namedKey   = regexp.MustCompile(`(?i)"PrimaryKey"\s*:\s*"?\s*([^\s",}\]]+)`)
	namedEvent = regexp.MustCompile(`(?i)"Event"\s*:\s*"([^"]*)"`)
)

// mostSubjects is how many contacts a body may name and still be one that is
// about them. An event has one PrimaryKey; each id costs a look-up and may cost a
// lock where the body is stored.
const mostSubjects = 16

// Subjects returns the ids of the contacts that a stored body names, each once.
// told is false where it may be about a contact, but nobody can tell which: it
// names none, or more than [mostSubjects].
func Subjects(body []byte) (ids []int64, told bool) {
	if e, err := ParseStored(body, time.Time{}); err == nil && e.Contact != nil {
		return []int64{e.Contact.Key.ID}, true
	}
	names := namedEvent.FindAllSubmatch(body, -1)
	ofContacts := len(names) == 0
	for _, name := range names {
		ofContacts = ofContacts || bytes.HasPrefix(bytes.ToLower(name[1]), []byte("contact."))
	}
	if !ofContacts {
		return nil, true
	}
	for _, key := range namedKey.FindAllSubmatch(body, -1) {
		id, err := strconv.ParseInt(string(key[1]), 10, 64)
		if err != nil || slices.Contains(ids, id) {
			continue
		}
		if len(ids) == mostSubjects {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, len(ids) > 0
}
