package upstream

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

const maxIndexLine = 1 << 20

// scanIndex reads an index.yaml as ChartMuseum and helm write it: block style, entries as a map of chart names to
// lists of versions. A YAML library would need many times the file's size in memory; this needs one line. It goes by
// indentation: the first item of a list fixes where its fields stand, and deeper lines (descriptions, dependencies,
// whatever they contain) are passed over.
func scanIndex(r io.Reader, limit int64, yield func(Chart) error) error {
	limited := &io.LimitedReader{R: r, N: limit + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, 64<<10), maxIndexLine)
	s := indexScan{yield: yield}
	for lines.Scan() {
		if err := s.line(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading a line: %w", err)
	}
	if limited.N == 0 {
		return ErrTooLarge
	}
	return s.flush()
}

// indexScan is where the reading stands.
type indexScan struct {
	yield  func(Chart) error
	inside bool // below entries:
	dash   int  // indentation of the dashes of the list being read; -1: none yet
	field  int  // indentation of an item's fields
	urls   bool // the field being read is urls
	open   bool // an item has begun
	chart  Chart
}

func (s *indexScan) line(line []byte) error {
	text := bytes.TrimLeft(line, " ")
	indent := len(line) - len(text)
	if len(text) == 0 || text[0] == '#' {
		return nil
	}
	if indent == 0 && text[0] != '-' {
		err := s.flush()
		s.inside, s.dash = bytes.HasPrefix(text, []byte("entries:")), -1
		return err
	}
	if !s.inside {
		return nil
	}
	isItem := bytes.HasPrefix(text, []byte("- "))
	if s.dash >= 0 && (indent < s.dash || indent == s.dash && !isItem) { // the next chart's name
		s.dash = -1
		return s.flush()
	}
	if isItem && (s.dash < 0 || indent == s.dash) {
		return s.item(text, indent)
	}
	if s.open {
		s.within(text, indent, isItem)
	}
	return nil
}

// item begins a version of a chart.
func (s *indexScan) item(text []byte, indent int) error {
	err := s.flush()
	rest := bytes.TrimLeft(text[1:], " ")
	s.dash, s.field, s.open = indent, indent+len(text)-len(rest), true
	s.set(rest)
	return err
}

// within reads a line of an item: a field, or the first of its urls.
func (s *indexScan) within(text []byte, indent int, isItem bool) {
	switch {
	case isItem && s.urls && indent <= s.field+4:
		if s.chart.File == "" {
			s.chart.File = fileOf(scalar(text[1:]))
		}
	case indent == s.field && !isItem:
		s.set(text)
	}
}

func (s *indexScan) set(text []byte) {
	key, value, ok := bytes.Cut(text, []byte(":"))
	if !ok {
		return
	}
	s.urls = string(key) == "urls"
	switch string(key) {
	case "name":
		s.chart.Name = scalar(value)
	case "version":
		s.chart.Version = scalar(value)
	case "digest":
		s.chart.Digest = chartDigest(scalar(value))
	}
}

// flush hands over the item that was read, if it is a chart.
func (s *indexScan) flush() error {
	chart := s.chart
	complete := s.open && chart.Name != "" && chart.Version != ""
	s.chart, s.open, s.urls = Chart{}, false, false
	if !complete {
		return nil
	}
	chart.Exists = true
	if chart.File == "" {
		chart.File = chartFileName(chart.Name, chart.Version)
	}
	return s.yield(chart)
}

// scalar is a YAML scalar on one line.
func scalar(raw []byte) string {
	text := strings.TrimSpace(string(raw))
	if len(text) < 2 {
		return text
	}
	switch quote := text[0]; {
	case quote == '"' && text[len(text)-1] == '"':
		if plain, err := strconv.Unquote(text); err == nil {
			return plain
		}
		return ""
	case quote == '\'' && text[len(text)-1] == '\'':
		return strings.ReplaceAll(text[1:len(text)-1], "''", "'")
	}
	plain, _, _ := strings.Cut(text, " #")
	return strings.TrimSpace(plain)
}

// fileOf is the last segment of a chart's URL, without its query.
func fileOf(address string) string {
	address, _, _ = strings.Cut(address, "?")
	if address == "" {
		return ""
	}
	return path.Base(address)
}
