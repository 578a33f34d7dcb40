package main

import (
	"fmt"
	"io"
	"unicode/utf8"
)

// terminalWriter makes foreign text (a receiver's answer, names in a request) safe for a terminal.
// It escapes control characters and characters that change the direction of text, as \u001b and the
// like. Line ends and tabs stay.
type terminalWriter struct{ io.Writer }

func (v terminalWriter) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p)+16)
	for rest := p; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == '\r' && size < len(rest) && rest[size] == '\n': // the line end of Windows
		case isControl(r):
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

// isControl reports whether a character controls the terminal or the direction of text.
func isControl(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case r < ' ', 0x7f <= r && r < 0xa0:
		return true
	}
	return r == 0x200e || r == 0x200f || r == 0x061c || 0x2028 <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
}
