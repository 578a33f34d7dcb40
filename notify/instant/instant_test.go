package instant

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 11, 28, 10, 30, 0, 0, zone)
	for text, want := range map[string]string{
		"09:15":                "2026-11-28T09:15:00+01:00",
		"11:00":                "2026-11-27T11:00:00+01:00", // yesterday's: it is earlier than that now
		"10:29:59":             "2026-11-28T10:29:59+01:00",
		"2026-11-20":           "2026-11-20T00:00:00+01:00",
		"2026-11-20 08:00":     "2026-11-20T08:00:00+01:00",
		"2026-11-20T08:00:01":  "2026-11-20T08:00:01+01:00",
		"2026-11-20T08:00:00Z": "2026-11-20T08:00:00Z",
		"2h":                   "2026-11-28T08:30:00+01:00",
		"1h30m":                "2026-11-28T09:00:00+01:00",
		"3d":                   "2026-11-25T10:30:00+01:00",
		"1.5d":                 "2026-11-26T22:30:00+01:00",
		"0":                    "2026-11-28T10:30:00+01:00",
	} {
		if got, ok := Parse(text, now, false); !ok || got.Format(time.RFC3339) != want {
			t.Errorf("Parse(%q): got %v, %v, want %s", text, got, ok, want)
		}
	}
	if got, ok := Parse("2026-11-20", now, true); !ok || got.Format(time.RFC3339) != "2026-11-21T00:00:00+01:00" {
		t.Errorf("Parse of a date, last: got %v, %v, want the end of the day", got, ok)
	}
	for _, text := range []string{"", "yesterday", "-2h", "25:00", "2026-13-01", "d", "1e9d"} {
		if got, ok := Parse(text, now, false); ok {
			t.Errorf("Parse(%q): got %v, want none", text, got)
		}
	}
}
