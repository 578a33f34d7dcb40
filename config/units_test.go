package config

import (
	"encoding"
	"testing"
	"time"
)

func TestUnits(t *testing.T) {
	const day = Duration(24 * time.Hour)
	for _, tt := range []struct {
		text  string
		into  encoding.TextUnmarshaler
		want  any
		shown string
	}{
		{"0", new(Size), Size(0), "0"},
		{"1048576", new(Size), Size(1 << 20), "1MiB"},
		{"64KiB", new(Size), Size(64 << 10), "64KiB"},
		{"10GiB", new(Size), Size(10 << 30), "10GiB"},
		{"1.5GiB", new(Size), Size(3 << 29), "1536MiB"},
		{"500MB", new(Size), Size(500e6), "500000000"},
		{"7B", new(Size), Size(7), "7"},
		{"8191PiB", new(Size), Size(8191 << 50), "8191PiB"},
		{"0", new(Duration), Duration(0), "0s"},
		{"30s", new(Duration), Duration(30 * time.Second), "30s"},
		{"7d", new(Duration), 7 * day, "7d"},
		{"24h", new(Duration), day, "1d"},
		{"90m", new(Duration), Duration(90 * time.Minute), "1h30m"},
		{"1h30m", new(Duration), Duration(90 * time.Minute), "1h30m"},
		{"1d12h", new(Duration), day * 3 / 2, "36h"},
		{"1.5h", new(Duration), Duration(90 * time.Minute), "1h30m"},
		{"250ms", new(Duration), Duration(250 * time.Millisecond), "250ms"},
		{"3µs", new(Duration), Duration(3 * time.Microsecond), "3µs"},
		{"106751d", new(Duration), 106751 * day, "106751d"},
		{"85%", new(Percent), Percent(85), "85%"},
		{"99.5%", new(Percent), Percent(99.5), "99.5%"},
		{"100%", new(Percent), Percent(100), "100%"},
		{"", new(Rate), Rate{}, ""},
		{"1/s", new(Rate), Rate{1, time.Second}, "1/s"},
		{"30/m", new(Rate), Rate{30, time.Minute}, "30/m"},
		{"100/h", new(Rate), Rate{100, time.Hour}, "100/h"},
	} {
		if err := tt.into.UnmarshalText([]byte(tt.text)); err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		if got := pointedTo(tt.into); got != tt.want {
			t.Errorf("%q is %v, want %v", tt.text, got, tt.want)
		}
		text, err := tt.into.(encoding.TextMarshaler).MarshalText()
		if err != nil || string(text) != tt.shown {
			t.Errorf("%q prints as %q (%v), want %q", tt.text, text, err, tt.shown)
		}
	}
}

func pointedTo(p any) any {
	switch p := p.(type) {
	case *Size:
		return *p
	case *Duration:
		return *p
	case *Percent:
		return *p
	case *Rate:
		return *p
	}
	return nil
}

func TestUnitsRefuse(t *testing.T) {
	for into, texts := range map[encoding.TextUnmarshaler][]string{
		new(Size):     {"", "-1", "1K", "1 KiB", "GiB", "1e3", "1.5.5GiB", "0.3KiB", "0.0001GiB", "8192PiB", "9223372036854775808", "1gib", "٣KiB"},
		new(Duration): {"", "5", "-5s", "5 s", "s", "1w", "1h 30m", "5M", "0.0001s", "0.3ns", "106752d", "106751d24h", "9223372036854775808ns", "1.s.", "."},
		new(Percent):  {"", "85", "%", "-1%", "101%", "8 5%", "NaN%", "Inf%", "1e1%", "1.2.3%"},
		new(Rate):     {"1", "/s", "0/s", "-1/s", "1.5/s", "1/", "1/w", "1/s/s", "1 /s", "9999999999/s"},
	} {
		for _, text := range texts {
			if err := into.UnmarshalText([]byte(text)); err == nil {
				t.Errorf("%T takes %q as %v", into, text, pointedTo(into))
			}
		}
	}
}

func TestRatePerSecond(t *testing.T) {
	if got := (Rate{30, time.Minute}).PerSecond(); got != 0.5 {
		t.Errorf("30/m is %v/s", got)
	}
	if got := (Rate{}).PerSecond(); got != 0 {
		t.Errorf("no limit is %v/s", got)
	}
}
