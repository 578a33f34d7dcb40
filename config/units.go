package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written like 64KiB, 10GiB or 1.5GB; a bare number is bytes.
type Size int64

// Duration is a length of time, written like 30s, 5m, 1h30m or 7d.
type Duration time.Duration

// Percent is a percentage, written like 85%.
type Percent float64

// Interval is the time between two repetitions, written as a Duration. The empty text means never.
type Interval Duration

// Rate is a number of Events in each Per, written like 1/s or 30/m. The zero Rate is no limit.
type Rate struct {
	Events int
	Per    time.Duration
}

type unit struct {
	name string
	size int64
}

var sizeUnits = []unit{
	{"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"PB", 1e15}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1},
}

var durationUnits = []unit{
	{"d", int64(24 * time.Hour)}, {"h", int64(time.Hour)}, {"m", int64(time.Minute)}, {"s", int64(time.Second)},
	{"ms", int64(time.Millisecond)}, {"us", int64(time.Microsecond)}, {"µs", int64(time.Microsecond)}, {"ns", 1},
}

var rateUnits = []unit{
	{"s", int64(time.Second)}, {"m", int64(time.Minute)}, {"h", int64(time.Hour)}, {"d", int64(24 * time.Hour)},
}

// The texts of these errors follow the value in a message.
var (
	errSize     = errors.New("is not a size; write it like 64KiB, 10GiB or 500MB")
	errDuration = errors.New("is not a duration; write it like 30s, 5m, 1h30m or 7d")
	errPercent  = errors.New("is not a percentage from 0% to 100%; write it like 85%")
	errRate     = errors.New("is not a rate; write it like 1/s, 30/m or 100/h")
)

// UnmarshalText parses a size.
func (s *Size) UnmarshalText(text []byte) error {
	number, rest := cutNumber(string(text))
	size, ok := findUnit(sizeUnits, rest)
	if rest == "" {
		size, ok = 1, true
	}
	if !ok {
		return errSize
	}
	n, err := scale(number, size)
	if err != nil {
		return errSize
	}
	*s = Size(n)
	return nil
}

// String returns the size in the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits[:5] {
		if s != 0 && int64(s)%u.size == 0 {
			return fmt.Sprintf("%d%s", int64(s)/u.size, u.name)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText returns String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText parses a duration: one or more numbers, each with its unit, or 0.
func (d *Duration) UnmarshalText(text []byte) error {
	rest := string(text)
	if rest == "0" {
		*d = 0
		return nil
	}
	if rest == "" {
		return errDuration
	}
	var total int64
	for rest != "" {
		var n int64
		var err error
		if n, rest, err = nextDuration(rest); err != nil || n > math.MaxInt64-total {
			return errDuration
		}
		total += n
	}
	*d = Duration(total)
	return nil
}

// nextDuration parses the first number and unit of text and returns the rest.
func nextDuration(text string) (n int64, rest string, err error) {
	number, rest := cutNumber(text)
	end := strings.IndexFunc(rest, func(r rune) bool { return r >= '0' && r <= '9' || r == '.' })
	if end < 0 {
		end = len(rest)
	}
	size, ok := findUnit(durationUnits, rest[:end])
	if !ok {
		return 0, "", errDuration
	}
	n, err = scale(number, size)
	return n, rest[end:], err
}

// String returns whole days as days, and everything else as time.Duration does, without trailing
// zero units.
func (d Duration) String() string {
	const day = Duration(24 * time.Hour)
	if d != 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// MarshalText returns String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses an interval; an empty text is never.
func (i *Interval) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*i = 0
		return nil
	}
	return (*Duration)(i).UnmarshalText(text)
}

// String returns the interval as it is written in the file, "" for never.
func (i Interval) String() string {
	if i == 0 {
		return ""
	}
	return Duration(i).String()
}

// MarshalText returns String.
func (i Interval) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText parses a percentage from 0% to 100%.
func (p *Percent) UnmarshalText(text []byte) error {
	number, found := strings.CutSuffix(string(text), "%")
	if digits, rest := cutNumber(number); !found || digits == "" || rest != "" {
		return errPercent
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || value > 100 {
		return errPercent
	}
	*p = Percent(value)
	return nil
}

// String returns the percentage as it is written in the file.
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

// MarshalText returns String.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText parses a rate; an empty text is no limit.
func (r *Rate) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = Rate{}
		return nil
	}
	number, per, _ := strings.Cut(string(text), "/")
	size, ok := findUnit(rateUnits, per)
	events, err := strconv.ParseUint(number, 10, 31)
	if !ok || err != nil || events == 0 {
		return errRate
	}
	*r = Rate{Events: int(events), Per: time.Duration(size)}
	return nil
}

// String returns the rate as it is written in the file, or "" for no limit.
func (r Rate) String() string {
	for _, u := range rateUnits {
		if r.Events > 0 && int64(r.Per) == u.size {
			return fmt.Sprintf("%d/%s", r.Events, u.name)
		}
	}
	return ""
}

// MarshalText returns String.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// PerSecond returns the rate in events per second; 0 is no limit.
func (r Rate) PerSecond() float64 {
	if r.Per <= 0 {
		return 0
	}
	return float64(r.Events) / r.Per.Seconds()
}

// cutNumber splits text after its leading digits and dots.
func cutNumber(text string) (number, rest string) {
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || text[end] == '.') {
		end++
	}
	return text[:end], text[end:]
}

func findUnit(units []unit, name string) (int64, bool) {
	for _, u := range units {
		if u.name == name {
			return u.size, true
		}
	}
	return 0, false
}

// scale multiplies a decimal number by size exactly. A result that is not whole or too large is an
// error.
func scale(number string, size int64) (int64, error) {
	whole, fraction, _ := strings.Cut(number, ".")
	if whole == "" || len(fraction) > 3 {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseUint(whole, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/size {
		return 0, strconv.ErrRange
	}
	part, err := scaleFraction(fraction, size)
	if err != nil || part > math.MaxInt64-int64(n)*size {
		return 0, strconv.ErrRange
	}
	return int64(n)*size + part, nil
}

// scaleFraction returns the part of size for at most three digits after the point.
func scaleFraction(digits string, size int64) (int64, error) {
	if digits == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, err
	}
	div := int64(math.Pow10(len(digits)))
	// size is at most 2^50, so the product with three digits fits.
	if int64(n)*size%div != 0 {
		return 0, strconv.ErrRange
	}
	return int64(n) * size / div, nil
}
