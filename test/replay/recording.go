// Package replay plays recordings of real clients through a real bellbuoy process, against an
// upstream that gives the recorded answers. It compares the webhooks with the expectations that a
// person wrote.
//
// A recording is a directory of scenarios: NAME.jsonl, what a proxy in front of a registry or a
// ChartMuseum saw, and NAME.expect.json, what happened. testdata/traffic has 133; BELLBUOY_TRAFFIC
// names another directory. The files, in the order in which a scenario passes through them:
//
//	recording.go  lines and expectations are read
//	order.go      the lines' starts, answers and ends become steps in the order in which they
//	              happened
//	player.go     a client sends each request on its recorded connection when its turn comes
//	upstream.go   a server answers as recorded when its turn comes, and bellbuoy's own
//	              questions from what the recording shows
//	stage.go      one bellbuoy between many clients and upstreams, and two webhooks
//	score.go      exact, missing, extra
//	vary.go       changes recordings: other connections, users, addresses, several clients at
//	              once (vary_answers.go: other answers)
//
// Each scenario has an upstream of its own in bellbuoy's configuration, chosen by Host, so that all
// of them can run at once and independently.
package replay

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Line is a request of a recording, with its answer.
type Line struct {
	Seq      int     `json:"seq"`
	Listener string  `json:"listener"`
	StartMS  float64 `json:"t_ms"`
	FirstMS  float64 `json:"ttfb_ms"`
	TookMS   float64 `json:"dur_ms"`
	Conn     int     `json:"conn"`
	Remote   string  `json:"remote"`

	Method    string      `json:"method"`
	URI       string      `json:"uri"`
	Path      string      `json:"path"`
	ReqHeader http.Header `json:"req_header"`
	ReqTE     []string    `json:"req_te"`
	ReqLength int64       `json:"req_content_length"`
	ReqBytes  int64       `json:"req_bytes"`
	ReqBody   string      `json:"req_body"`
	ReqB64    string      `json:"req_body_b64"`

	Status         int         `json:"status"`
	UpstreamStatus int         `json:"upstream_status"`
	RespHeader     http.Header `json:"resp_header"`
	RespBytes      int64       `json:"resp_bytes"`
	RespBody       string      `json:"resp_body"`
	RespB64        string      `json:"resp_body_b64"`

	Err        string `json:"err"`
	ClientGone bool   `json:"client_gone"`
}

// A Happening is one event that a person expects.
type Happening struct {
	Type       string   `json:"type"` // push | pull | delete | chart.push | chart.pull | chart.delete
	Repository string   `json:"repository"`
	Tags       []string `json:"tags"`
	Digest     string   `json:"digest"`
	Operator   *string  `json:"operator"` // nil: anonymous
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Weak       bool     `json:"weak"`              // a pull that bellbuoy may or may not report
	Observable *bool    `json:"observable"`        // false: the recording cannot show it
	InRequest  *bool    `json:"digest_in_request"` // false: a delete by tag
	TagsNamed  []string `json:"tags_named"`        // delete: the tags that the recording has
	TagsLost   []string `json:"tags_lost"`         // delete: the tags that it removed
}

// A Scenario is a recording of one operation of a client.
type Scenario struct {
	Name  string
	Auth  string // anon | basic | token | …
	Lines []Line // by arrival
	Want  []Happening
}

// Load reads all scenarios of a directory.
func Load(dir string) ([]Scenario, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no recordings in %s: %w", dir, cmp.Or(err, os.ErrNotExist))
	}
	all := make([]Scenario, 0, len(files))
	for _, file := range files {
		s, err := load(strings.TrimSuffix(file, ".jsonl"))
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func load(base string) (Scenario, error) {
	s := Scenario{Name: filepath.Base(base)}
	expect, err := os.ReadFile(base + ".expect.json")
	if err != nil {
		return s, err
	}
	var said struct {
		Auth   string
		Events []Happening
	}
	if err := json.Unmarshal(expect, &said); err != nil {
		return s, fmt.Errorf("%s.expect.json: %w", base, err)
	}
	s.Auth, s.Want = said.Auth, said.Events
	lines, err := os.ReadFile(base + ".jsonl")
	if err != nil {
		return s, err
	}
	scan := bufio.NewScanner(bytes.NewReader(lines))
	scan.Buffer(nil, 64<<20)
	for scan.Scan() {
		var l Line
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			return s, fmt.Errorf("%s.jsonl: %w", base, err)
		}
		if l.Listener != "tokensrv" && l.Listener != "storage" { // bellbuoy does not see these
			s.Lines = append(s.Lines, l)
		}
	}
	slices.SortFunc(s.Lines, func(a, b Line) int { return cmp.Compare(a.Seq, b.Seq) })
	return s, scan.Err()
}

// Charts reports whether the scenario is one of a ChartMuseum.
func (s *Scenario) Charts() bool {
	return slices.ContainsFunc(s.Lines, func(l Line) bool { return !strings.HasPrefix(l.Path, "/v2") })
}

// Prefix returns the context path of a ChartMuseum; "" if there is none.
func (s *Scenario) Prefix() string {
	for i := range s.Lines {
		if head, _, ok := strings.Cut(s.Lines[i].Path, "/api/"); ok && head != "" {
			return head
		}
	}
	return ""
}

// sent returns the request's body. If it was not recorded, it is filler of the recorded length.
func (l *Line) sent() []byte { return madeUp(l.ReqBody, l.ReqB64, l.ReqBytes) }

// got returns the answer's body, as far as it arrived.
func (l *Line) got() []byte {
	if l.Method == http.MethodHead {
		return nil
	}
	return madeUp(l.RespBody, l.RespB64, l.RespBytes)
}

// madeUp returns a recorded body, filled up to its true length: some bodies were not recorded, and
// some lost paths of the recording machine.
func madeUp(text, b64 string, length int64) []byte {
	body := []byte(text)
	if b64 != "" {
		if b, err := base64.StdEncoding.DecodeString(b64); err == nil {
			body = b
		}
	}
	if missing := int(length) - len(body); missing > 0 {
		return append(body, bytes.Repeat([]byte{' '}, missing)...)
	}
	return body[:max(length, 0)]
}
