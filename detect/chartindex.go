package detect

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v2"
)

const (
	maxIndexEntries = 20_000 // versions of charts that are read
	// bytes of a line of an index.yaml; a longer one is read as its beginning
	maxIndexLine  = 64 << 10
	maxIndexEntry = 16 << 10 // bytes of what is read of one version of a chart
	maxIndexURLs  = 16       // of one version of a chart
)

// IndexedCharts reads an index.yaml, line by line, and calls each for every archive that it lists.
// It keeps no more than one version of a chart at a time. It reads block style, as all programs
// write it, and JSON, and skips everything else. An error means that r failed.
func IndexedCharts(r io.Reader, each func(url string, c Chart)) error {
	left := maxIndexEntries
	x := indexReader{each: each, wants: func([]byte) bool { left--; return left >= 0 }}
	return x.readAll(r)
}

// FindCharts reads an index.yaml for the charts that have one of some digests.
func FindCharts(r io.Reader, byDigest map[string]Chart, each func(Chart)) error {
	x := indexReader{each: func(_ string, c Chart) { each(c) }}
	x.wants = func(entry []byte) bool {
		for digest := range byDigest {
			if bytes.Contains(entry, []byte(strings.TrimPrefix(digest, "sha256:"))) {
				return true
			}
		}
		return false
	}
	return x.readAll(r)
}

func (x *indexReader) readAll(r io.Reader) error {
	lines := bufio.NewReaderSize(r, maxIndexLine)
	if first, _ := lines.Peek(1); string(first) == "{" {
		x.readJSON(json.NewDecoder(lines))
		return nil
	}
	for continued := false; ; {
		line, more, err := lines.ReadLine()
		if errors.Is(err, io.EOF) {
			x.flush()
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading index.yaml: %w", err)
		}
		if !continued {
			x.line(line)
		}
		continued = more
	}
}

// indexReader reads an index.yaml by the indentation of its lines:
//
//	entries:
//	  NAME:
//	  - name: NAME       one item for each version
//	    urls:
//	    - charts/…
type indexReader struct {
	each  func(url string, c Chart)
	wants func(entry []byte) bool // reports whether to read an entry

	entries bool // within "entries:"
	item    int  // column of an item's dash; -1: no item has begun
	field   int  // column of the item's keys; 0: not known
	wanted  bool // the field to which the line belongs is to be read
	entry   []byte
}

// readJSON reads what "helm repo index --json" writes, up to the first part that is no index.
func (x *indexReader) readJSON(d *json.Decoder) {
	if !begins(d, '{') {
		return
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return
		}
		if key == "entries" {
			x.readEntries(d)
			return
		}
		var other json.RawMessage
		if d.Decode(&other) != nil {
			return
		}
	}
}

func (x *indexReader) readEntries(d *json.Decoder) {
	if !begins(d, '{') {
		return
	}
	for d.More() {
		if _, err := d.Token(); err != nil || !begins(d, '[') {
			return
		}
		for d.More() {
			var c struct {
				Name, Version, Digest string
				URLs                  []string
			}
			var wrong *json.UnmarshalTypeError
			if err := d.Decode(&c); err != nil && !errors.As(err, &wrong) {
				return
			}
			if x.wants([]byte(c.Digest)) {
				x.found(Chart{Name: c.Name, Version: c.Version, Digest: prefixedDigest(c.Digest)}, c.URLs)
			}
		}
		if _, err := d.Token(); err != nil { // ]
			return
		}
	}
}

func begins(d *json.Decoder, with json.Delim) bool {
	t, err := d.Token()
	return err == nil && t == with
}

// line reads the next line.
func (x *indexReader) line(line []byte) {
	text := bytes.TrimLeft(line, " ")
	column := len(line) - len(text)
	if len(text) == 0 || text[0] == '#' {
		return
	}
	switch {
	case column == 0 && !isDash(text):
		x.flush()
		x.entries, x.item = bytes.HasPrefix(text, []byte("entries:")), -1
	case !x.entries:
	case x.item >= 0 && column > x.item:
		x.inItem(column, text)
	case isDash(text) && (x.item < 0 || column == x.item):
		x.flush()
		x.item, x.field = column, 0
		if rest := bytes.TrimLeft(text[1:], " "); len(rest) > 0 {
			x.inItem(column+len(text)-len(rest), rest)
		}
	default: // the next chart's key
		x.flush()
		x.item = -1
	}
}

// inItem reads a line of an item, or the text behind the dash of its first line.
func (x *indexReader) inItem(column int, text []byte) {
	if x.field == 0 {
		x.field = column
	}
	if column == x.field && !isDash(text) {
		x.wanted = isIndexField(text)
	}
	if !x.wanted || len(x.entry)+column+len(text) >= maxIndexEntry {
		return
	}
	for range column - x.field {
		x.entry = append(x.entry, ' ')
	}
	x.entry = append(append(x.entry, text...), '\n')
}

func isDash(text []byte) bool { return text[0] == '-' && (len(text) == 1 || text[1] == ' ') }

func isIndexField(text []byte) bool {
	key, _, _ := bytes.Cut(text, []byte(":"))
	switch string(bytes.Trim(key, `"' `)) {
	case "name", "version", "digest", "urls":
		return true
	}
	return false
}

// flush ends an item. An item that cannot be read is left out.
func (x *indexReader) flush() {
	if len(x.entry) == 0 {
		return
	}
	entry := x.entry
	x.entry = x.entry[:0]
	if !x.wants(entry) {
		return
	}
	if c, urls, err := readEntry(entry); err == nil {
		x.found(c, urls)
	}
}

// found calls each for a version of a chart.
func (x *indexReader) found(c Chart, urls []string) {
	if !c.Named() {
		return
	}
	for _, u := range urls[:min(len(urls), maxIndexURLs)] {
		x.each(u, c)
	}
}

// readEntry reads a version of a chart from the lines of its fields.
func readEntry(entry []byte) (c Chart, urls []string, err error) {
	defer recovered(&err)
	var fields map[string]lazy
	if err := yaml.Unmarshal(entry, &fields); err != nil {
		return c, nil, err
	}
	for key, to := range map[string]*string{"name": &c.Name, "version": &c.Version, "digest": &c.Digest} {
		text, err := fields[key].text()
		if err != nil {
			return c, nil, err
		}
		*to, _ = text.(string)
	}
	c.Digest = prefixedDigest(c.Digest)
	if decode := fields["urls"].decode; decode != nil {
		err = decode(&urls)
	}
	return c, urls, err
}

// prefixedDigest returns the bare hex of an index.yaml as a digest.
func prefixedDigest(s string) string {
	if s == "" || strings.Contains(s, ":") {
		return s
	}
	return "sha256:" + s
}

// ArchivePath returns the path of an archive that an index.yaml lists. at is the path of the
// index.yaml, host the server as users call it. ok is false for an archive on another server.
func ArchivePath(at, host, listed string) (path string, ok bool) {
	ref, err := url.Parse(listed)
	if err != nil {
		return "", false
	}
	name, _, _ := strings.Cut(host, "/")
	if ref.Host != "" && !strings.EqualFold(ref.Host, name) {
		return "", false
	}
	path = (&url.URL{Path: at}).ResolveReference(ref).Path
	return path, len(path) <= 2*MaxChart && strings.HasPrefix(path, "/") && !hasControl(path)
}
