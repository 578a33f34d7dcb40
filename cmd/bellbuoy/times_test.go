package main

import (
	"strings"
	"testing"
	"time"
)

func TestTimeOf(t *testing.T) {
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
		"3d":                   "2026-11-25T10:30:00+01:00",
	} {
		if got, err := timeOf(text, now, false); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("timeOf(%q): got %v, %v, want %s", text, got, err, want)
		}
	}
	if got, err := timeOf("2026-11-20", now, true); err != nil || got.Format(time.RFC3339) != "2026-11-21T00:00:00+01:00" {
		t.Errorf("timeOf of a date, last: got %v, %v, want the end of the day", got, err)
	}
	if _, err := timeOf("yesterday", now, false); err == nil || !strings.Contains(err.Error(), `"yesterday"`) {
		t.Errorf("timeOf(yesterday): got the error %v, want one that quotes the text", err)
	}
}
