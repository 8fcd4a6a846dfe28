package feed

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// Cursor is a position in the audit log. It proves that the log it is used with is
// the log it was read from: it names the last row that was returned and the newest
// row that was visible then, each with a prefix of the row's link in the audit chain.
//
// The newest row counts too, because a change carries its contact's row as it is
// now: it shows rows above the position. A row below the newest one that is lost
// with the tail of the log is no gap: its event was accepted before the newest row
// got its number, so it is still queued, and gets a number above.
//
// The zero value is the beginning of the log.
type Cursor struct {
	last, newest row
}

// row is an audit row and the proof that it is still that row.
type row struct {
	AuditSeq int64
	Proof    string
}

// ErrMalformed is returned for a text that no [Cursor] is written as.
var ErrMalformed = errors.New("feed: malformed cursor")

var cursorText = regexp.MustCompile(`^([0-9]{1,19})(?:-([0-9a-f]{16}))?(?:\.([0-9]{1,19})-([0-9a-f]{16}))?$`)

// ParseCursor reads what [Cursor.String] wrote. A number without a proof is a
// cursor too, one that no log holds, unless it is 0.
func ParseCursor(text string) (Cursor, error) {
	parts := cursorText.FindStringSubmatch(text)
	if parts == nil {
		return Cursor{}, ErrMalformed
	}
	last, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return Cursor{}, ErrMalformed
	}
	c := Cursor{last: row{last, parts[2]}}
	if parts[3] == "" {
		c.newest = c.last
		return c, nil
	}
	newest, err := strconv.ParseInt(parts[3], 10, 64)
	if err != nil {
		return Cursor{}, ErrMalformed
	}
	c.newest = row{newest, parts[4]}
	return c, nil
}

// String writes c as consumers keep it. It needs no escaping in a URL.
func (c Cursor) String() string {
	if c.last == c.newest {
		return c.last.String()
	}
	return c.last.String() + "." + c.newest.String()
}

func (r row) String() string {
	if r.AuditSeq == 0 {
		return "0"
	}
	return fmt.Sprintf("%d-%s", r.AuditSeq, r.Proof)
}

// rows are the numbers of the rows that c names.
func (c Cursor) rows() []int64 {
	seqs := []int64{}
	for _, r := range [...]row{c.last, c.newest} {
		if r.AuditSeq != 0 {
			seqs = append(seqs, r.AuditSeq)
		}
	}
	return seqs
}

// in reports whether all rows that c names are among found.
func (c Cursor) in(found []row) bool {
	for _, r := range [...]row{c.last, c.newest} {
		if r.AuditSeq != 0 && !slices.Contains(found, r) {
			return false
		}
	}
	return true
}
