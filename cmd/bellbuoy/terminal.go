package main

import (
	"fmt"
	"io"
	"unicode/utf8"
)

// visible writes text of strangers (a receiver's answer, names in a request) so that a terminal shows it and obeys none of it: characters that
// control it, or that turn the direction of the text, become \u001b and the like, as in JSON. Line ends and tabs stay.
type visible struct{ io.Writer }

func (v visible) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p)+16)
	for rest := p; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == '\r' && size < len(rest) && rest[size] == '\n': // a line's end
		case obeyed(r):
			out = fmt.Appendf(out, `\u%04x`, r)
		case r == utf8.RuneError && size == 1:
			out = fmt.Appendf(out, `\x%02x`, rest[0])
		default:
			out = append(out, rest[:size]...)
		}
		rest = rest[size:]
	}
	if _, err := v.Writer.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// obeyed reports whether a terminal does not show a character but does something.
func obeyed(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case r < ' ', 0x7f <= r && r < 0xa0:
		return true
	}
	return r == 0x200e || r == 0x200f || r == 0x061c || 0x2028 <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
}
