package feed

import (
	"errors"
	"regexp"
	"strconv"
)

// Cursor is a position in the audit log, and a proof of every row that was visible
// when it was read: of the rows up to the position, and of those above it, whose
// effects a change shows already in its contact's row. changes_cursor makes it and
// changes_held checks it, in the database; 00013_feed has the rule.
//
// The zero value is the beginning of the log.
type Cursor struct {
	after int64
	proof string // with the hyphen before it
}

// ErrMalformed is returned for a text that no [Cursor] is written as.
var ErrMalformed = errors.New("feed: malformed cursor")

// A number has 18 digits at most, so that it fits a bigint.
var cursorText = regexp.MustCompile(`^([0-9]{1,18})(-[0-9]{1,18}(?:\.[0-9]{1,18}){0,31}-[0-9a-f]{16})?$`)

// ParseCursor reads what [Cursor.String] wrote. A number without a proof is a
// cursor too, one that no log holds, unless it is 0.
func ParseCursor(text string) (Cursor, error) {
	parts := cursorText.FindStringSubmatch(text)
	if parts == nil {
		return Cursor{}, ErrMalformed
	}
	after, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return Cursor{}, ErrMalformed
	}
	return Cursor{after, parts[2]}, nil
}

// String writes c as consumers keep it. It needs no escaping in a URL.
func (c Cursor) String() string { return strconv.FormatInt(c.after, 10) + c.proof }
