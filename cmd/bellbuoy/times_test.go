package main

import (
	"strings"
	"testing"
	"time"
)

func TestTimeOf(t *testing.T) {
	now := time.Date(2026, 11, 28, 10, 30, 0, 0, time.UTC)
	if got, err := timeOf("2h", now, false); err != nil || !got.Equal(now.Add(-2*time.Hour)) {
		t.Errorf("timeOf(2h): got %v, %v", got, err)
	}
	if _, err := timeOf("yesterday", now, false); err == nil || !strings.Contains(err.Error(), `"yesterday"`) {
		t.Errorf("timeOf(yesterday): got the error %v, want one that quotes the text", err)
	}
}
