package event

import (
	"bytes"
	"regexp"
	"strconv"
	"time"
)

// What a body that is no acceptable event may yet say: one that is no JSON is no
// object either, so its bytes are searched.
var (
	namedKey   = regexp.MustCompile(`(?i)"PrimaryKey"\s*:\s*"?\s*([^\s",}\]]+)`)
	namedEvent = regexp.MustCompile(`(?i)"Event"\s*:\s*"([^"]*)"`)
)

// Subjects returns the ids of the contacts that a stored body names. told is false
// where it may be about a contact, but nobody can tell which.
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
		if id, err := strconv.ParseInt(string(key[1]), 10, 64); err == nil {
			ids = append(ids, id)
		}
	}
	return ids, len(ids) > 0
}
