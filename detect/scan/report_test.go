package scan

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestReadReport(t *testing.T) {
	const scanner = `"scanner":{"name":"S","vendor":"V","version":"1"}`
	for name, tc := range map[string]struct{ body, want string }{
		"none":                                  {`{` + scanner + `}`, "None 0 0 map[]"},
		"null":                                  {`{` + scanner + `,"vulnerabilities":null}`, "None 0 0 map[]"},
		"the report's own severity is not used": {`{"severity":"Critical",` + scanner + `,"vulnerabilities":[{"id":"C","package":"p","version":"1","severity":"Low"}]}`, "Low 1 0 map[Low:1]"},
		"unknown alone":                         {`{` + scanner + `,"vulnerabilities":[{"id":"C","package":"p","version":"1","fix_version":"2","severity":"Unknown"}]}`, "None 1 1 map[Unknown:1]"},
		"the first of equal findings is kept":   {`{` + scanner + `,"vulnerabilities":[{"id":"C","package":"p","version":"1","severity":"Low"},{"id":"C","package":"p","version":"1","severity":"High","fix_version":"2"},{"id":"C","package":"q","version":"1","severity":"Medium"}]}`, "Medium 2 0 map[Low:1 Medium:1]"},
		"a severity that Harbor does not know is the worst": {`{` + scanner + `,"vulnerabilities":[{"id":"C","package":"p","version":"1","severity":"Critical"},{"id":"D","package":"p","version":"1","severity":"Dire"}]}`, "Dire 2 0 map[Critical:1 Dire:1]"},
	} {
		r, err := ReadReport(strings.NewReader(tc.body), "m")
		if err != nil {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		if got := fmt.Sprint(r.Severity, " ", r.Total, " ", r.Fixable, " ", r.By); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

func TestInvalidReports(t *testing.T) {
	for _, body := range []string{`[]`, `"x"`, `{}`, `{"scanner":3}`, `{"scanner":{},"vulnerabilities":{}}`, `{"scanner":{},"vulnerabilities":[3]}`, `nonsense`} {
		var refusal *Refusal
		if _, err := ReadReport(strings.NewReader(body), "m"); !errors.As(err, &refusal) {
			t.Errorf("%s: got %v", body, err)
		}
	}
	// A connection that breaks in the middle is no end of the scan.
	var refusal *Refusal
	if _, err := ReadReport(strings.NewReader(`{"scanner":{},"vulnerabilities":[{"id":"C"`), "m"); err == nil || errors.As(err, &refusal) {
		t.Errorf("half a report: %v", err)
	}
}

func TestLargeReportKeepsTheWorstFindings(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"scanner":{"name":"S","vendor":"V","version":"1"},"vulnerabilities":[`)
	for i := range 20_000 {
		severity := "Low"
		if i%100 == 99 {
			severity = "Critical"
		}
		fmt.Fprintf(&b, `{"id":"CVE-%d","package":"p","version":"1","severity":%q,"description":%q},`, i, severity, strings.Repeat("long ", 200))
	}
	b.WriteString(`{"id":"CVE-X","package":"p","version":"1","severity":"High"}]}`)
	r, err := ReadReport(strings.NewReader(b.String()), "m")
	if err != nil {
		t.Fatal(err)
	}
	if !r.Truncated || r.Total != 20_001 || r.By["Low"] != 19_800 || r.Severity != "Critical" {
		t.Errorf("truncated %v, total %d, %v, %s", r.Truncated, r.Total, r.By, r.Severity)
	}
	size := 0
	for i := range r.Findings {
		size += sizeOf(&r.Findings[i])
		if i < 200 && r.Findings[i].Severity != "Critical" {
			t.Fatalf("finding %d is %s", i, r.Findings[i].Severity)
		}
	}
	if size > maxFindings || len(r.Findings) < 201 || r.Findings[200].ID != "CVE-X" {
		t.Errorf("kept %d findings of %d bytes", len(r.Findings), size)
	}
}

func TestEndlessReport(t *testing.T) {
	var refusal *Refusal
	_, err := ReadReport(&endless{begin: `{"scanner":{},"vulnerabilities":[`}, "m")
	if !errors.As(err, &refusal) || !strings.Contains(refusal.Reason, "more than") {
		t.Errorf("got the error %v", err)
	}
}

// endless is a report that never ends.
type endless struct{ begin string }

func (e *endless) Read(p []byte) (int, error) {
	if e.begin != "" {
		n := copy(p, e.begin)
		e.begin = e.begin[n:]
		return n, nil
	}
	const one = `{"id":"CVE-1","package":"p","version":"1","severity":"Low"},`
	n := 0
	for n+len(one) <= len(p) {
		n += copy(p[n:], one)
	}
	if n == 0 { // whitespace may continue for ever
		p[0], n = ' ', 1
	}
	return n, nil
}

func TestCVSS(t *testing.T) {
	for name, tc := range map[string]struct {
		finding string
		want    float64
	}{
		"preferred":             {`{"preferred_cvss":{"score_v3":7.5},"vendor_attributes":{"CVSS":{"nvd":{"V3Score":9.8}}}}`, 7.5},
		"nvd":                   {`{"vendor_attributes":{"CVSS":{"ghsa":{"V3Score":5},"nvd":{"V3Score":9.8}}}}`, 9.8},
		"the first by name":     {`{"vendor_attributes":{"CVSS":{"redhat":{"V3Score":5},"ghsa":{"V3Score":6}}}}`, 6},
		"of another shape":      {`{"preferred_cvss":"7.5","vendor_attributes":{"CVSS":[1,2]}}`, 0},
		"none":                  {`{}`, 0},
		"version 2 is not used": {`{"vendor_attributes":{"CVSS":{"nvd":{"V2Score":9.8}}}}`, 0},
	} {
		r, err := ReadReport(strings.NewReader(`{"scanner":{},"vulnerabilities":[`+tc.finding+`]}`), "m")
		if err != nil || r.Findings[0].CVSS != tc.want {
			t.Errorf("%s: got %+v, %v", name, r, err)
		}
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"a\n\tb\x00c\x1b[31m": "a b c [31m",
		"  ":                  "",
		"\xff\xfeok":          "ok",
	} {
		if got := OneLine(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	long := OneLine(strings.Repeat("ä", 3000) + "\nthe cause")
	if len(long) > maxReason || !utf8.ValidString(long) || !strings.HasSuffix(long, "the cause") || !strings.HasPrefix(long, "…") {
		t.Errorf("%d bytes: %q", len(long), long)
	}
}
