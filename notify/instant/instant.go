// Package instant reads the times that people write. The commands and the console import it, so
// that both understand the same.
package instant

import (
	"time"

	"github.com/bellbuoy/bellbuoy/config"
)

// Parse parses a time in the zone of now: RFC 3339, a date, a time of day, both, or a duration
// before now, such as 2h or 3d. A time of day is the last such time in the past. A date is its
// beginning, or its end if last is set. ok reports whether the text is a time.
func Parse(text string, now time.Time, last bool) (t time.Time, ok bool) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, true
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, true
		}
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		if last {
			t = t.AddDate(0, 0, 1)
		}
		return t, true
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location())
			if t.After(now) {
				t = t.AddDate(0, 0, -1)
			}
			return t, true
		}
	}
	var before config.Duration
	if err := before.UnmarshalText([]byte(text)); err != nil {
		return time.Time{}, false
	}
	return now.Add(-time.Duration(before)), true
}
