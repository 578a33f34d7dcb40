package main

import (
	"fmt"
	"net/url"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/instant"
)

// span is a time span from two flags.
type span struct{ since, until string }

// add adds the span to a query.
func (s span) add(q url.Values) error {
	now := time.Now()
	for _, end := range []struct{ key, text string }{{"since", s.since}, {"until", s.until}} {
		if end.text == "" {
			continue
		}
		t, err := timeOf(end.text, now, end.key == "until")
		if err != nil {
			return fmt.Errorf("--%s %w", end.key, err)
		}
		q.Set(end.key, t.Format(time.RFC3339Nano))
	}
	return nil
}

const timeHelp = "a time of day (15:04), a date (2006-01-02), both, RFC 3339, or a duration before now (2h, 3d)"

// timeOf parses a time; see instant.Parse.
func timeOf(text string, now time.Time, last bool) (time.Time, error) {
	t, ok := instant.Parse(text, now, last)
	if !ok {
		return t, fmt.Errorf("%q is not a time: write %s", text, timeHelp)
	}
	return t, nil
}

// fullTime formats a time with its zone; "-" for none.
func fullTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

// ago formats how long ago t was, in one unit.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return lengthOf(now.Sub(t)) + " ago"
}

// lengthOf formats a duration in its largest unit.
func lengthOf(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return fmt.Sprintf("%ds", max(int(d.Seconds()), 0))
}
