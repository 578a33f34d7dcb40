package carry

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
)

// readHeader reads the header of an answer.
func (c *fastConn) readHeader(r *http.Request) (*http.Response, error) {
	header, err := c.peekHeader(r.Context())
	if err != nil {
		return nil, err
	}
	c.framed = framedOnce(header)
	if whole, _ := c.br.Peek(len(header) + len("\r\n")); bytes.HasSuffix(whole, []byte("\r\n")) {
		if res := readPlain(header, c.br, r); res != nil {
			_, _ = c.br.Discard(len(whole))
			c.budget = -1
			return res, nil
		}
	}
	res, err := http.ReadResponse(c.br, r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 200 {
		c.budget = -1
	}
	return res, nil
}

// peekHeader returns a header as the upstream sent it, up to its empty line, because
// http.ReadResponse corrects some faults silently. It returns nil if the header is longer than the
// buffer.
func (c *fastConn) peekHeader(ctx context.Context) ([]byte, error) {
	for need := 1; ; {
		if _, err := c.br.Peek(need); err != nil {
			if errors.Is(err, bufio.ErrBufferFull) {
				c.wait(ctx)
				return nil, nil
			}
			if TimedOut(err) && c.wait(ctx) {
				continue
			}
			if err == io.EOF && c.br.Buffered() > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		b, _ := c.br.Peek(c.br.Buffered())
		if end := headerEnd(b); end >= 0 {
			return b[:end], nil
		}
		need = len(b) + 1
	}
}

// headerEnd returns where a header ends, or -1 if its end is not in b.
func headerEnd(b []byte) int {
	for from := 0; ; {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return -1
		}
		from += i + 1
		if rest := b[from:]; bytes.HasPrefix(rest, []byte("\n")) || bytes.HasPrefix(rest, []byte("\r\n")) {
			return from
		}
	}
}

// framedOnce reports whether a header states the length of its body at most once. For a header that
// peekHeader could not return it reports false.
func framedOnce(header []byte) bool {
	if len(header) == 0 {
		return false
	}
	lengths := 0
	for line := range bytes.SplitSeq(header, []byte("\n")) {
		if prefixFold(line, "content-length") || prefixFold(line, "transfer-encoding") {
			lengths++
		}
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			return false // a folded line: real servers do not send these
		}
	}
	return lengths <= 1
}

func prefixFold(line []byte, name string) bool {
	return len(line) >= len(name) && bytes.EqualFold(line[:len(name)], []byte(name))
}
