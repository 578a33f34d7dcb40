package upstream

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

var errEncoding = errors.New("content encoding not supported")

// unpack returns the body of a response with its Content-Encoding undone.
func unpack(resp *http.Response) (io.Reader, error) {
	switch coding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding"))); coding {
	case "", "identity":
		return resp.Body, nil
	case "gzip", "x-gzip":
		plain, err := gzip.NewReader(resp.Body)
		if err != nil {
			return nil, fmt.Errorf("reading a gzipped answer: %w", err)
		}
		return plain, nil
	default:
		return nil, fmt.Errorf("reading an answer: %w", errEncoding)
	}
}

func packed(h http.Header) bool {
	coding := h.Get("Content-Encoding")
	return coding != "" && !strings.EqualFold(coding, "identity")
}

// readAll reads a body of at most limit decoded bytes. It returns ErrTooLarge for a longer one.
func readAll(resp *http.Response, limit int64) ([]byte, error) {
	plain, err := unpack(resp)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(plain, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading an answer: %w", err)
	}
	if int64(len(body)) > limit {
		return nil, ErrTooLarge
	}
	return body, nil
}
