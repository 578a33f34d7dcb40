package proxy

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"

	godigest "github.com/opencontainers/go-digest"

	"github.com/bellbuoy/bellbuoy/detect"
)

// wholeRange reports whether a Content-Range names all of the bytes: "bytes 0-n/n+1".
func wholeRange(s string) bool {
	s, ok := strings.CutPrefix(s, "bytes 0-")
	if !ok {
		return false
	}
	last, length, ok := strings.Cut(s, "/")
	n, err := strconv.ParseInt(last, 10, 63)
	of, err2 := strconv.ParseInt(length, 10, 63)
	return ok && err == nil && err2 == nil && n >= 0 && of == n+1
}

// wholeList reports whether an answer lists everything: the request has asked for no part of the
// list, and the answer names no next one.
func wholeList(rawQuery string, h http.Header) bool {
	return rawQuery == "" && h.Get("Link") == ""
}

// contentDigest returns the digest that an answer names, or "" if there is none, or if the value
// cannot be one. Digests of algorithms that bellbuoy cannot compute are digests, too.
func contentDigest(h http.Header) string {
	d := h.Get("Docker-Content-Digest")
	if plainDigest(d) {
		return d
	}
	err := godigest.Digest(d).Validate()
	if len(d) > detect.MaxDigest || err != nil && !errors.Is(err, godigest.ErrDigestUnsupported) {
		return ""
	}
	return d
}

// plainDigest reports whether a digest is a SHA-256. Nearly all are, and this takes no regular
// expression.
func plainDigest(d string) bool {
	sum, ok := strings.CutPrefix(d, "sha256:")
	if !ok || len(sum) != 64 {
		return false
	}
	for i := range len(sum) {
		if c := sum[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// maxContentType bounds the length of a Content-Type that is read.
const maxContentType = 512

// mediaType returns the Content-Type without its parameters, or "" if it is too long.
func mediaType(h http.Header) string {
	v := h.Get("Content-Type")
	if len(v) > maxContentType {
		return ""
	}
	if plainType(v) {
		return v
	}
	if t, _, err := mime.ParseMediaType(v); err == nil {
		return t
	}
	t, _, _ := strings.Cut(v, ";")
	return bounded(strings.TrimSpace(t), 255)
}

// plainType reports whether a Content-Type is a media type in lower case and without parameters,
// as nearly all of a registry's are. It makes no allocation.
func plainType(v string) bool {
	if strings.Count(v, "/") != 1 {
		return false
	}
	for i := range len(v) {
		c := v[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '/' && c != '.' && c != '+' && c != '-' {
			return false
		}
	}
	return v[0] != '/' && v[len(v)-1] != '/'
}
