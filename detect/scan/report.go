package scan

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/detect"
)

// The bounds of what is read of a report, and of what an event has of it.
const (
	maxReport      = 32 << 20 // bytes; 5,000 findings are 6 MB
	maxFindings    = 1 << 20  // bytes of findings that an event carries
	maxDescription = 1 << 10
	maxWord        = 256 // ids, packages, versions
	maxLink        = 512
	maxLinks       = 5
	maxReason      = 1 << 10
)

// Report is what a scanner found.
type Report struct {
	MediaType string
	Scanner   detect.Scanner
	Severity  string // the worst of the findings
	Total     int    // findings; those of one id, package and version count once
	Fixable   int
	By        map[string]int // by severity
	Findings  []detect.Finding
	Truncated bool // there are more than Findings

	seen map[hash]bool // id, package and version of what was counted
	keys map[hash]bool // id and package of every finding, to be compared with those of other scans
	kept [7][]detect.Finding
	size int
}

// hash stands for a finding in sets: two of a million are the same once in a million reports.
type hash [8]byte

func hashOf(parts ...string) (h hash) {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	copy(h[:], sum[:])
	return h
}

type wireFinding struct {
	ID          string   `json:"id"`
	Package     string   `json:"package"`
	Version     string   `json:"version"`
	Fixed       string   `json:"fix_version"`
	Severity    string   `json:"severity"`
	Description string   `json:"description"`
	Links       []string `json:"links"`
	// Vendors put values of different types into these. They are decoded separately, and
	// ignored if they have another type.
	Preferred json.RawMessage `json:"preferred_cvss"`
	Vendor    json.RawMessage `json:"vendor_attributes"`
}

type preferredCVSS struct {
	Score  float64 `json:"score_v3"`
	Vector string  `json:"vector_v3"`
}

type vendorCVSS struct {
	Score  float64 `json:"V3Score"`
	Vector string  `json:"V3Vector"`
}

var errReportSize = fmt.Errorf("the report has more than %d bytes", maxReport)

// ReadReport reads a report as a stream. The error is a [*Refusal] if the bytes are no report.
func ReadReport(in io.Reader, mediaType string) (*Report, error) {
	r := &Report{MediaType: mediaType, By: map[string]int{}, seen: map[hash]bool{}, keys: map[hash]bool{}}
	limited := &io.LimitedReader{R: in, N: maxReport + 1}
	err := r.read(json.NewDecoder(limited))
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case limited.N <= 0:
		return nil, &Refusal{errReportSize.Error()}
	case errors.As(err, &syntax) || errors.As(err, &typ) || errors.Is(err, errNoReport):
		return nil, &Refusal{"reading the report: " + err.Error()}
	case err != nil:
		return nil, fmt.Errorf("reading the report: %w", err)
	}
	r.sortFindings()
	return r, nil
}

var errNoReport = errors.New("it is no report")

func (r *Report) read(d *json.Decoder) error {
	if err := expect(d, json.Delim('{')); err != nil {
		return err
	}
	scanner := false
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		switch key {
		case "scanner":
			scanner = true
			err = r.readScanner(d)
		case "vulnerabilities":
			err = r.readFindings(d)
		default:
			var skipped json.RawMessage
			err = d.Decode(&skipped)
		}
		if err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if !scanner {
		return fmt.Errorf("%w: it names no scanner", errNoReport)
	}
	return nil
}

func expect(d *json.Decoder, want json.Delim) error {
	switch got, err := d.Token(); {
	case err != nil:
		return err
	case got != want:
		return errNoReport
	}
	return nil
}

func (r *Report) readScanner(d *json.Decoder) error {
	var s detect.Scanner
	if err := d.Decode(&s); err != nil {
		return err
	}
	r.Scanner = detect.Scanner{Name: cut(s.Name, maxWord), Vendor: cut(s.Vendor, maxWord), Version: cut(s.Version, maxWord)}
	return nil
}

func (r *Report) readFindings(d *json.Decoder) error {
	begin, err := d.Token()
	if err != nil || begin == nil { // null: none
		return err
	}
	if begin != json.Delim('[') {
		return errNoReport
	}
	for d.More() {
		var f wireFinding
		if err := d.Decode(&f); err != nil {
			return err
		}
		r.add(&f)
	}
	_, err = d.Token()
	return err
}

// add counts a finding as Harbor does: those of one id, package and version are one, the first.
func (r *Report) add(f *wireFinding) {
	k := hashOf(f.ID, f.Package, f.Version)
	if r.seen[k] {
		return
	}
	r.seen[k] = true
	r.keys[hashOf(f.ID, f.Package)] = true
	r.Total++
	if f.Fixed != "" {
		r.Fixable++
	}
	if f.Severity == "" {
		f.Severity = "Unknown"
	}
	severity := cut(f.Severity, maxWord)
	if _, known := r.By[severity]; known || len(r.By) < 32 {
		r.By[severity]++
	}
	if detect.SeverityRank(severity) > detect.SeverityRank(r.Severity) {
		r.Severity = severity
	}
	r.keep(f.finding())
}

// keep adds a finding to the report. If there are too many, the least severe are removed.
func (r *Report) keep(f detect.Finding) {
	rank := min(detect.SeverityRank(f.Severity), len(r.kept)-1)
	r.kept[rank] = append(r.kept[rank], f)
	r.size += sizeOf(&f)
	for i := 0; r.size > maxFindings; {
		if last := len(r.kept[i]) - 1; last >= 0 {
			r.size -= sizeOf(&r.kept[i][last])
			r.kept[i] = r.kept[i][:last]
			r.Truncated = true
		} else {
			i++
		}
	}
}

// sortFindings puts the findings in order, the worst first.
func (r *Report) sortFindings() {
	if r.Severity == "" {
		r.Severity = "None"
	}
	for i := len(r.kept) - 1; i >= 0; i-- {
		r.Findings = append(r.Findings, r.kept[i]...)
	}
	r.kept, r.seen = [7][]detect.Finding{}, nil
}

func sizeOf(f *detect.Finding) int {
	n := 200 + len(f.ID) + len(f.Description) + len(f.Package) + len(f.Version) + len(f.FixedVersion) + len(f.Severity) + len(f.Vector)
	for _, l := range f.Links {
		n += len(l) + 3
	}
	return n
}

func (f *wireFinding) finding() detect.Finding {
	out := detect.Finding{
		ID: cut(f.ID, maxWord), Description: cut(f.Description, maxDescription), Package: cut(f.Package, maxWord),
		Version: cut(f.Version, maxWord), FixedVersion: cut(f.Fixed, maxWord), Severity: cut(f.Severity, maxWord),
	}
	for _, l := range f.Links {
		if len(out.Links) < maxLinks && len(l) <= maxLink {
			out.Links = append(out.Links, strings.ToValidUTF8(l, ""))
		}
	}
	out.CVSS, out.Vector = f.cvss()
	out.Vector = cut(out.Vector, maxWord)
	return out
}

// cvss returns the score that the scanner prefers, else that of the NVD, else that of the first
// source by name.
func (f *wireFinding) cvss() (float64, string) {
	var preferred preferredCVSS
	if json.Unmarshal(f.Preferred, &preferred) == nil && preferred.Score > 0 {
		return preferred.Score, preferred.Vector
	}
	var vendor struct{ CVSS map[string]vendorCVSS }
	if json.Unmarshal(f.Vendor, &vendor) != nil {
		return 0, ""
	}
	if c := vendor.CVSS["nvd"]; c.Score > 0 {
		return c.Score, c.Vector
	}
	var sources []string
	for name, c := range vendor.CVSS {
		if c.Score > 0 {
			sources = append(sources, name)
		}
	}
	if len(sources) == 0 {
		return 0, ""
	}
	c := vendor.CVSS[slices.Min(sources)]
	return c.Score, c.Vector
}

// cut returns the beginning of a text, at most n bytes of valid UTF-8.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
	}
	return strings.ToValidUTF8(s, "")
}

// OneLine returns a reason on one line and without control characters. Of a long one it is the end,
// because scanners name the cause there.
func OneLine(s string) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= maxReason {
		return s
	}
	s = s[len(s)-maxReason+len("…"):]
	for len(s) > 0 && !utf8.RuneStart(s[0]) {
		s = s[1:]
	}
	return "…" + s
}

// fill sets the part of an event that the report knows.
func (r *Report) fill(s *detect.Scan) {
	scanner := r.Scanner
	s.MediaType, s.Scanner, s.Severity = r.MediaType, &scanner, r.Severity
	s.Summary = &detect.Summary{Total: r.Total, Fixable: r.Fixable, BySeverity: r.By}
	s.Findings, s.Truncated = slices.Clone(r.Findings), r.Truncated
}
