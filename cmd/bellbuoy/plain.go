package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// plain is a text that others wrote, made harmless for a terminal: every character that could do more than show itself is
// written as Go would escape it. Lines stay lines, and tabs tabs.
func plain(text string) string {
	var out strings.Builder
	for i, r := range text {
		switch {
		case r == '\n' || r == '\t':
			out.WriteRune(r)
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD"):
			fmt.Fprintf(&out, `\x%02x`, text[i])
		case unicode.IsPrint(r):
			out.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&out, `\x%02x`, r)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

// plainLine is plain for a place where one line is expected.
func plainLine(text string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(plain(text))
}
