package config

import (
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"
)

// syntaxHint is a hint for a line that YAML reads differently than the user meant. It shows
// nothing of the line, which may hold a secret.
type syntaxHint struct {
	pattern *regexp.Regexp // its first group begins at the text
	say     string
}

// valueBegins matches the text before an unquoted value.
const valueBegins = `(?:^\s*|[\[{,:-]\s*)`

// syntaxHints are tried in this order, the most likely first. They are compiled when the first line
// needs them.
var syntaxHints = sync.OnceValue(func() []syntaxHint {
	return []syntaxHint{
		{regexp.MustCompile(`(\{\{)`), "{{ }} is a template that was not rendered; write ${VAR} or ${file:/path}, in quotes"},
		{regexp.MustCompile(`[\[{].*?(\$\{[^}]*\}?)`), `quote it, as in "${TOKEN}": inside [ ] and { } YAML reads the braces of ${…}`},
		{regexp.MustCompile(valueBegins + `(\*)(?:[\s,\]}]|$)`), `quote it: "*"`},
		{regexp.MustCompile(valueBegins + `(\*)`), "a text that begins with * needs quotes"},
		{regexp.MustCompile(valueBegins + `(!)`), "a text that begins with ! needs quotes"},
		{regexp.MustCompile(valueBegins + `([A-Za-z0-9.*_-]+\{)`), "a text with { } needs quotes"},
		{regexp.MustCompile(`:\s+([A-Za-z][A-Za-z0-9-]*: )`), "a text with a colon needs quotes"},
	}
})

// adviseSyntax returns a hint for a line that is not YAML, and the column that it is about. The
// hint is "" if there is none.
func adviseSyntax(line string) (column int, say string) {
	line = maskQuoted(line)
	for _, a := range syntaxHints() {
		if at := a.pattern.FindStringSubmatchIndex(line); at != nil {
			return utf8.RuneCountInString(line[:at[2]]) + 1, a.say
		}
	}
	return 0, ""
}

// maskQuoted replaces quoted text and comments by spaces, so that columns stay the same.
func maskQuoted(line string) string {
	out := []rune(line)
	var quote, before rune
	for i, r := range out {
		switch {
		case quote == 0 && r == '#' && (before == 0 || before == ' ' || before == '\t'):
			return string(out[:i])
		case quote == 0 && (r == '"' || r == '\'') && (before == 0 || strings.ContainsRune(" \t[{,:-", before)):
			quote = r
			out[i] = ' '
		case quote != 0:
			out[i] = ' '
			if r == quote && before != '\\' {
				quote = 0
			}
		}
		before = r
	}
	return string(out)
}

// lineOf returns a line of data, counted from 1, without its line ending.
func lineOf(data string, number int) string {
	for range number - 1 {
		_, rest, more := strings.Cut(data, "\n")
		if !more {
			return ""
		}
		data = rest
	}
	line, _, _ := strings.Cut(data, "\n")
	return strings.TrimSuffix(line, "\r")
}
