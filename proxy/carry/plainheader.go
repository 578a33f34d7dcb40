package carry

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// readPlain reads the header of an answer that has the form of nearly all answers of registries:
// one length, and each header once and on one line. header is the part before the empty line. For
// any other form readPlain returns nil, and http.ReadResponse must read it. The result is the same
// as that of http.ReadResponse, in a quarter of the time.
func readPlain(header []byte, br *bufio.Reader, r *http.Request) *http.Response {
	text := string(header)
	first, rest, whole := strings.Cut(text, "\r\n")
	status, ok := statusOf(first)
	if !ok || !whole {
		return nil
	}
	lines := strings.Count(rest, "\n")
	h, values, length := make(http.Header, lines), make([]string, lines), int64(-1)
	for i := range lines {
		var line string
		if line, rest, whole = strings.Cut(rest, "\r\n"); !whole {
			return nil
		}
		name, value, ok := field(line)
		if _, again := h[name]; !ok || again || framing(name) {
			return nil
		}
		if name == "Content-Length" {
			if length, ok = lengthOf(value); !ok {
				return nil
			}
		}
		values[i] = value
		h[name] = values[i : i+1 : i+1]
	}
	if rest != "" || length < 0 {
		return nil
	}
	res := &http.Response{
		Status: first[len("HTTP/1.1 "):], StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, ContentLength: length, Request: r, Body: http.NoBody,
	}
	if length > 0 && r.Method != http.MethodHead {
		res.Body = &exactBody{br, length}
	}
	return res
}

// statusOf reads a status line of an answer that has a body of its own length.
func statusOf(line string) (status int, ok bool) {
	code, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	if !ok || len(code) < 4 || code[3] != ' ' || !printable(code) {
		return 0, false
	}
	for _, c := range []byte(code[:3]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		status = 10*status + int(c-'0')
	}
	return status, status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// field reads a line of a header. The name is returned in its canonical form.
func field(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, ":")
	if !ok || name == "" || !printable(value) {
		return "", "", false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return "", "", false
		}
	}
	return textproto.CanonicalMIMEHeaderKey(name), strings.Trim(value, " "), true
}

func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// framing reports whether a header decides how the rest of an answer is read. name is canonical.
func framing(name string) bool {
	switch name {
	case "Connection", "Transfer-Encoding", "Trailer", "Upgrade", "Pragma":
		return true
	}
	return false
}

func lengthOf(s string) (int64, bool) {
	if s == "" || s[0] == '+' || s[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 63)
	return n, err == nil
}

// exactBody is a body of known length.
type exactBody struct {
	br   *bufio.Reader
	left int64
}

// Read returns io.EOF with the last byte, and io.ErrUnexpectedEOF if the connection ends before it.
func (b *exactBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.br.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	switch {
	case b.left == 0:
		return n, io.EOF
	case errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements io.Closer. It does nothing: the owner of the connection closes that.
func (b *exactBody) Close() error { return nil }
