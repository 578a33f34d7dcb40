package detect

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonReader reads a JSON text once, from its beginning to its end, and builds nothing but what its
// caller keeps, so that its memory does not depend on what a client writes. The text must be valid
// (json.Valid). The first error stays; after it every call returns zero values.
type jsonReader struct {
	b   []byte
	at  int
	err error
}

var (
	errType = errors.New("a value has the wrong type")
	errDeep = errors.New("values are nested too deeply")
)

// maxDepth bounds the nesting of values that are skipped. Manifests nest four levels.
const maxDepth = 64

// next moves to the next value or delimiter and returns its first byte.
func (r *jsonReader) next() byte {
	for r.at < len(r.b) {
		switch c := r.b[r.at]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			r.at++
		default:
			return c
		}
	}
	return 0
}

// enter moves behind an opening bracket and returns true. If the value is null or of another type,
// it skips the value and returns false; another type is an error.
func (r *jsonReader) enter(bracket byte) bool {
	switch c := r.next(); {
	case r.err != nil:
		return false
	case c == bracket:
		r.at++
		return true
	case c != 'n':
		r.err = errType
	}
	r.skip()
	return false
}

// more reports whether an object or list has another member. Behind the last one it moves past the
// closing bracket.
func (r *jsonReader) more() bool {
	switch c := r.next(); {
	case r.err != nil || c == 0:
		return false
	case c == '}' || c == ']':
		r.at++
		return false
	}
	return true
}

// raw moves past a string and returns what stands between its quotes.
func (r *jsonReader) raw() []byte {
	begin := r.at + 1
	for r.at = begin; r.at < len(r.b) && r.b[r.at] != '"'; r.at++ {
		if r.b[r.at] == '\\' {
			r.at++
		}
	}
	if r.at >= len(r.b) {
		r.err = errType
		return nil
	}
	s := r.b[begin:r.at]
	r.at++
	return s
}

// text reads a string into a copy. It returns "" for null, and for a string longer than limit
// bytes.
func (r *jsonReader) text(limit int) string {
	s, _ := r.textOrLonger(limit)
	return s
}

// textOrLonger does the same, and reports whether the string is longer than limit.
func (r *jsonReader) textOrLonger(limit int) (s string, longer bool) {
	switch c := r.next(); {
	case r.err != nil:
		return "", false
	case c == 'n':
		r.skip()
		return "", false
	case c != '"':
		r.err = errType
		return "", false
	}
	const escaped = 6 // bytes that write one: \u0041
	raw := r.raw()
	if len(raw) > escaped*limit {
		return "", true
	}
	if s = unquote(raw); len(s) > limit {
		return "", true
	}
	return s, false
}

func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		if utf8.Valid(raw) {
			return string(raw)
		}
		return strings.ToValidUTF8(string(raw), "\uFFFD")
	}
	var s string
	_ = json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &s) // it is valid
	return s
}

// integer reads a number. It returns 0 for null.
func (r *jsonReader) integer() int64 {
	c := r.next()
	begin := r.at
	r.skip()
	if r.err != nil || c == 'n' {
		return 0
	}
	n, err := strconv.ParseInt(string(r.b[begin:r.at]), 10, 64)
	if err != nil {
		r.err = errType
	}
	return n
}

// skip moves past a value.
func (r *jsonReader) skip() {
	depth := 0
	for r.err == nil {
		switch c := r.next(); c {
		case 0:
			return
		case '"':
			r.raw()
		case '{', '[':
			r.at++
			if depth++; depth > maxDepth {
				r.err = errDeep
			}
			continue
		case '}', ']':
			r.at++
			depth--
		default: // a number, true, false, null
			for r.at < len(r.b) && !delimits(r.b[r.at]) {
				r.at++
			}
		}
		if depth <= 0 {
			return
		}
	}
}

func delimits(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ',', ':', '{', '}', '[', ']', '"':
		return true
	}
	return false
}
