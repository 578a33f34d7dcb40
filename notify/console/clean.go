package console

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// clean replaces control characters and marks of text direction in a page. Whoever names a
// repository can thus not hide text or change its order. In a field's value they become character
// references, so that saving a form changes nothing that was not edited.
func clean(page []byte) []byte {
	if !hasUnwanted(page) {
		return page
	}
	var out bytes.Buffer
	out.Grow(len(page) + 64)
	var at position
	for i := 0; i < len(page); {
		r, size := utf8.DecodeRune(page[i:])
		at.next(page, i)
		switch {
		case !unwanted(r):
			out.Write(page[i : i+size])
		case at.value && r >= 0xa0: // references to lower ones would mean other characters
			fmt.Fprintf(&out, "&#%d;", r)
		default:
			out.WriteString("\ufffd")
		}
		i += size
	}
	return out.Bytes()
}

// hasUnwanted reports whether a page contains an unwanted character. Nearly no page does, so that
// it decodes only the characters whose first byte an unwanted one can have.
func hasUnwanted(page []byte) bool {
	for i, b := range page {
		if !beginsUnwanted[b] {
			continue
		}
		if r, _ := utf8.DecodeRune(page[i:]); unwanted(r) {
			return true
		}
	}
	return false
}

var beginsUnwanted = func() (begins [256]bool) {
	for r := range rune(0x10000) { // no unwanted character is above
		if unwanted(r) {
			begins[utf8.AppendRune(nil, r)[0]] = true
		}
	}
	return begins
}()

// unwanted reports whether a character is invisible and changes how others are shown.
func unwanted(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < 0x20, r >= 0x7f && r < 0xa0:
		return true
	case r == 0x61c, r == 0xfeff, r == 0x200b, r >= 0x200e && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x206f:
		return true
	}
	return false
}

// position is the place in a page: html/template has escaped every quote and bracket of a value, so
// that those that are left are the page's own.
type position struct{ tag, quoted, value bool }

func (p *position) next(page []byte, i int) {
	switch c := page[i]; {
	case !p.tag:
		p.tag = c == '<'
	case p.quoted:
		if c == '"' {
			p.quoted, p.value = false, false
		}
	case c == '"':
		p.quoted, p.value = true, bytes.HasSuffix(page[:i], []byte(" value="))
	case c == '>':
		p.tag = false
	}
}
