package contact

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Ticks counts 100 ns since 1970-01-01 00:00 UTC. SuperOffice writes times
// with up to seven fractional digits, so a tick is exactly its resolution.
type Ticks int64

const ticksPerSecond = 10_000_000

// Micros is t in microseconds, PostgreSQL's resolution. The seventh digit is
// cut, not rounded: a rounded time could pass a later event's.
func (t Ticks) Micros() int64 {
	us := int64(t) / 10
	if int64(t)%10 < 0 {
		us--
	}
	return us
}

// Time is t cut to microseconds, in UTC.
func (t Ticks) Time() time.Time { return time.UnixMicro(t.Micros()).UTC() }

// TicksOf returns the tick that t falls into.
func TicksOf(t time.Time) Ticks {
	return Ticks(t.Unix()*ticksPerSecond + int64(t.Nanosecond())/100)
}

// ParseTime reads a date as SuperOffice's JSON writes it, for example
// 2018-04-24T07:50:50.6812131Z or 2020-02-16T17:50:17. An offset makes it an
// instant, without a zone it is UTC. Digits after the seventh are cut.
func ParseTime(s string) (Ticks, error) {
	whole, fraction, err := cutFraction(s)
	if err != nil {
		return 0, err
	}
	switch len(whole) { // exact, for time.Parse takes more than the layout says
	case len("2006-01-02T15:04:05"):
		return parseWhole(s, "2006-01-02T15:04:05", whole, fraction)
	case len("2006-01-02T15:04:05Z"), len("2006-01-02T15:04:05+07:00"):
		return parseWhole(s, time.RFC3339, whole, fraction)
	}
	return 0, notADate(s)
}

// parseMonikerTime reads the inside of [DT:09/16/2025 14:22:14.0000000], the
// month first, as SuperOffice's CultureDataFormatter writes it.
func parseMonikerTime(s string) (Ticks, error) {
	whole, fraction, err := cutFraction(s)
	if err != nil {
		return 0, err
	}
	return parseWhole(s, "01/02/2006 15:04:05", whole, fraction)
}

func parseWhole(s, layout, whole string, fraction Ticks) (Ticks, error) {
	t, err := time.Parse(layout, whole)
	if err != nil || t.Nanosecond() != 0 {
		return 0, notADate(s)
	}
	return Ticks(t.Unix()*ticksPerSecond) + fraction, nil
}

func notADate(s string) error {
	return fmt.Errorf("%.40q is no date like 2018-04-24T07:50:50.6812131Z", s)
}

// cutFraction takes the fraction of a second out of s, which stands behind the
// seconds and nowhere else.
func cutFraction(s string) (whole string, fraction Ticks, err error) {
	dot := strings.IndexByte(s, '.')
	if dot < 0 {
		return s, 0, nil
	}
	if dot != len("2006-01-02T15:04:05") {
		return "", 0, notADate(s)
	}
	end := dot + 1
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	digits := s[dot+1 : end]
	if digits == "" {
		return "", 0, fmt.Errorf("%.40q has no digits after its decimal point", s)
	}
	if len(digits) > 7 {
		digits = digits[:7]
	}
	n, err := strconv.Atoi((digits + "0000000")[:7])
	if err != nil {
		return "", 0, err
	}
	return s[:dot] + s[end:], Ticks(n), nil
}
