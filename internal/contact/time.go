package contact

import (
	"fmt"
	"time"
)

// Ticks counts 100 ns since 1970-01-01 00:00 UTC. SuperOffice writes times
// with up to seven fractional digits, so a tick is exactly its resolution.
type Ticks int64

const (
	ticksPerSecond = 10_000_000
	ticksPerDay    = 24 * 60 * 60 * ticksPerSecond
)

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

// The grammar of dates. Nothing else is read, neither here nor by its second
// implementation, contactmirror_read_time in SQL, which must read the same
// strings as the same microseconds.
//
//	date     = iso | moniker
//	iso      = YYYY "-" MM "-" DD "T" clock [ zone ]
//	moniker  = "[DT:" MM "/" DD "/" YYYY " " clock "]"
//	clock    = hh ":" mm ":" ss [ "." digit { digit } ]
//	zone     = "Z" | ( "+" | "-" ) hh ":" mm
//
// Digits are ASCII, letters are upper case, and every field has its full width.
// The date must exist: years 0000 to 9999 of the Gregorian calendar, hours to
// 23, minutes and seconds to 59. A zone is at most 14:00, as in .NET, with
// minutes to 59. An offset makes the date an instant; without a zone it is UTC.
// Fractional digits after the seventh are cut. A date that its offset moves past
// the year 9999 is not read.
//
// The Timestamp of an event is an iso date. The value of a date column may also
// be a moniker, the form of SuperOffice's CultureDataFormatter.

const clockWidth = len("2006-01-02T15:04:05")

// ParseTime reads an iso date, for example 2018-04-24T07:50:50.6812131Z.
func ParseTime(s string) (Ticks, error) {
	if t, ok := parseISO(s); ok {
		return t, nil
	}
	return 0, fmt.Errorf("%.40q is not a date like 2018-04-24T07:50:50.6812131Z", s)
}

func parseISO(s string) (Ticks, bool) {
	if len(s) < clockWidth || s[4] != '-' || s[7] != '-' || s[10] != 'T' {
		return 0, false
	}
	t, rest, ok := parseClock(s[0:4], s[5:7], s[8:10], s[11:])
	if !ok {
		return 0, false
	}
	offset, ok := parseZone(rest)
	t -= offset
	return t, ok && t <= lastTick
}

// parseMoniker reads the inside of [DT:09/16/2025 14:22:14.0000000].
func parseMoniker(s string) (Ticks, bool) {
	if len(s) < clockWidth || s[2] != '/' || s[5] != '/' || s[10] != ' ' {
		return 0, false
	}
	t, rest, ok := parseClock(s[6:10], s[0:2], s[3:5], s[11:])
	return t, ok && rest == ""
}

// parseClock reads a date and the time of day that s begins with, and returns
// what follows in s, which holds 8 bytes at least.
func parseClock(yyyy, mm, dd, s string) (t Ticks, rest string, ok bool) {
	if s[2] != ':' || s[5] != ':' {
		return 0, "", false
	}
	year, month, day := number(yyyy), number(mm), number(dd)
	hour, minute, second := number(s[0:2]), number(s[3:5]), number(s[6:8])
	if year < 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 {
		return 0, "", false
	}
	fraction, rest, ok := parseFraction(s[8:])
	seconds := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC).Unix()
	return Ticks(seconds*ticksPerSecond) + fraction, rest, ok
}

// daysIn is the number of days of a month from 1 to 12.
func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// parseFraction reads the fraction of a second that s may begin with, and
// returns what follows.
func parseFraction(s string) (t Ticks, rest string, ok bool) {
	if s == "" || s[0] != '.' {
		return 0, s, true
	}
	end := 1
	for scale := Ticks(ticksPerSecond / 10); end < len(s) && isDigit(s[end]); end++ {
		t += Ticks(s[end]-'0') * scale
		scale /= 10
	}
	return t, s[end:], end > 1
}

func parseZone(s string) (offset Ticks, ok bool) {
	if s == "" || s == "Z" {
		return 0, true
	}
	if len(s) != len("+07:00") || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	hours, minutes := number(s[1:3]), number(s[4:6])
	if hours < 0 || minutes < 0 || minutes > 59 || hours*60+minutes > 14*60 {
		return 0, false
	}
	offset = Ticks(hours*60+minutes) * 60 * ticksPerSecond
	if s[0] == '-' {
		offset = -offset
	}
	return offset, true
}

// number is the value of a few ASCII digits, -1 when s holds anything else.
func number(s string) int {
	n := 0
	for i := range len(s) {
		if !isDigit(s[i]) {
			return -1
		}
		n = n*10 + int(s[i]-'0')
	}
	return n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func tick(year int, month time.Month, day int) Ticks {
	return TicksOf(time.Date(year, month, day, 0, 0, 0, 0, time.UTC))
}

var (
	lastTick = tick(10_000, time.January, 1) - 1

	// A date before unsetBefore, or from unsetFrom through unsetThrough, is not
	// set. SuperOffice's database writes that as 1760-01-01 and NetServer as .NET's
	// DateTime.MinValue, 0001-01-01; a conversion between zones moves either by up
	// to a day.
	unsetBefore             = tick(1, time.January, 3)
	unsetFrom, unsetThrough = tick(1759, time.December, 31), tick(1760, time.January, 2)

	// firstDeletion is the earliest DeletedDate that a CRM can mean.
	firstDeletion = tick(1980, time.January, 1)
)

// set reports whether t is a date rather than a way to say that there is none.
// It compares microseconds, as contactmirror_read_time does.
func (t Ticks) set() bool {
	us := t.Micros()
	return us >= unsetBefore.Micros() && (us < unsetFrom.Micros() || us > unsetThrough.Micros())
}

// plausibleDeletedDate reports whether an event of the time occurred can give
// t as its DeletedDate: no earlier than a CRM can mean, and at most a day later
// than the event.
func plausibleDeletedDate(t, occurred Ticks) bool {
	return t >= firstDeletion && t-ticksPerDay <= occurred
}
