package track

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

const trafficDir = "../../test/replay/testdata/traffic"

// captured is a line of a recording.
type captured struct {
	Seq        int         `json:"seq"`
	Listener   string      `json:"listener"`
	StartMS    float64     `json:"t_ms"`
	DurMS      float64     `json:"dur_ms"`
	TTFBMS     float64     `json:"ttfb_ms"`
	Remote     string      `json:"remote"`
	Method     string      `json:"method"`
	URI        string      `json:"uri"`
	Path       string      `json:"path"`
	Status     int         `json:"status"`
	Auth       auth        `json:"auth"`
	ReqHeader  http.Header `json:"req_header"`
	RespHeader http.Header `json:"resp_header"`
	RespBytes  int64       `json:"resp_bytes"`
	ReqBody    string      `json:"req_body"`
	ReqBodyB64 string      `json:"req_body_b64"`
	RespBody   string      `json:"resp_body"`
	RespB64    string      `json:"resp_body_b64"`
	Err        string      `json:"err"`
}

type auth struct {
	Scheme string `json:"scheme"`
	User   string `json:"user"`
	Claims struct {
		Sub string `json:"sub"`
	} `json:"claims"`
}

// expected is an event that a person expects.
type expected struct {
	Type        string         `json:"type"`
	Repository  string         `json:"repository"`
	Tags        []string       `json:"tags"`
	Digest      string         `json:"digest"`
	Operator    *string        `json:"operator"`
	Weak        bool           `json:"weak"`
	Observable  *bool          `json:"observable"`
	InRequest   *bool          `json:"digest_in_request"`
	TagsLost    []string       `json:"tags_lost"`
	TagsNamed   []string       `json:"tags_named"`
	Name        string         `json:"name"`
	Version     string         `json:"version"`
	Subject     string         `json:"subject"`
	Children    []detect.Child `json:"children"`
	ClientError bool           `json:"client_failed"`
}

// TestReplay plays recordings of real clients and compares the events, scenario by scenario, with
// the expectations that a person wrote.
func TestReplay(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(trafficDir, "*.jsonl"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no recordings in %s: %v", trafficDir, err)
	}
	exact, missing, extra := 0, 0, 0
	for _, name := range names {
		scenario := strings.TrimSuffix(filepath.Base(name), ".jsonl")
		t.Run(scenario, func(t *testing.T) {
			want := readExpected(t, strings.TrimSuffix(name, ".jsonl")+".expect.json")
			got := replay(t, readCaptured(t, name), want)
			lost, more := compare(want, got)
			missing, extra = missing+len(lost), extra+len(more)
			if len(lost)+len(more) == 0 {
				exact++
				return
			}
			t.Errorf("missing %q\nextra %q", lost, more)
		})
	}
	t.Logf("%d of %d scenarios exact, %d events missing, %d extra", exact, len(names), missing, extra)
}

func readCaptured(t *testing.T, name string) (lines []captured) {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	scan := bufio.NewScanner(bytes.NewReader(b))
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		var c captured
		if err := json.Unmarshal(scan.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		if c.Listener != "tokensrv" && c.Listener != "storage" {
			lines = append(lines, c)
		}
	}
	return lines
}

func readExpected(t *testing.T, name string) []expected {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var e struct{ Events []expected }
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	return e.Events
}

// step is a moment of a request.
type step struct {
	at   time.Duration
	seq  int
	kind int // 0 start, 1 answered, 2 end
}

// replay drives a Tracker through a recording in causal order, in virtual time.
func replay(t *testing.T, lines []captured, want []expected) (events []detect.Event) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ops, steps := map[int]*played{}, []step{}
		for i := range lines {
			c := &lines[i]
			ops[c.Seq] = &played{c: c, op: c.operation(t, want)}
			ms := func(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
			steps = append(steps, step{ms(c.StartMS), c.Seq, 0}, step{ms(c.StartMS + cmp.Or(c.TTFBMS, c.DurMS)), c.Seq, 1}, step{ms(c.StartMS + c.DurMS), c.Seq, 2})
		}
		slices.SortStableFunc(steps, func(a, b step) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq), cmp.Compare(a.kind, b.kind))
		})
		begin := time.Now()
		for _, s := range steps {
			time.Sleep(time.Until(begin.Add(s.at)))
			w.step(ops[s.seq], s.kind)
		}
		events = w.finish()
	})
	return events
}

// played is a request of a recording on its way.
type played struct {
	c  *captured
	op *detect.Operation
	in *Intent
	tr Transfer
}

func (w *world) step(p *played, kind int) {
	p.op.Status = 0
	switch kind {
	case 0:
		p.op.At = time.Now()
		p.tr = w.Start(p.op)
		if p.op.Action.Writes() {
			p.in = w.intend(p.op)
		}
		return
	case 1:
		p.op.Status = p.c.Status
		if p.in != nil {
			w.settle(p.in, p.op)
		}
		w.Answered(&p.tr, p.op)
	case 2:
		p.op.Status = p.c.Status
		w.End(&p.tr, p.op)
		if p.in != nil && p.op.Complete {
			w.Acknowledged(p.in)
		}
	}
}

func (c *captured) operation(t *testing.T, want []expected) *detect.Operation {
	u, err := url.ParseRequestURI(c.URI)
	if err != nil {
		t.Fatal(err)
	}
	kind := detect.Registry
	if strings.HasPrefix(c.Listener, "cm") || !strings.HasPrefix(c.Path, "/v2") {
		kind = detect.ChartMuseum
	}
	host := c.Remote[:strings.LastIndex(c.Remote, ":")]
	op := &detect.Operation{
		Request:  detect.Classify(kind, "", c.Method, u.Path, u.RawQuery),
		Upstream: "up", Kind: kind,
		Client:    detect.Client{Operator: cmp.Or(c.Auth.User, c.Auth.Claims.Sub), Address: host, UserAgent: c.ReqHeader.Get("User-Agent")},
		Range:     c.ReqHeader.Get("Range") != "",
		NotModify: c.ReqHeader.Get("If-None-Match") != "",

		ContentDigest: c.RespHeader.Get("Docker-Content-Digest"), OCITags: c.RespHeader.Values("Oci-Tag"),
		Size: c.RespBytes, Complete: c.Err == "",
		Got: body(c.RespBody, c.RespB64, c.RespHeader),
	}
	op.MediaType = op.Got.MediaType
	sent := body(c.ReqBody, c.ReqBodyB64, c.ReqHeader)
	switch op.Action {
	case detect.ManifestPut:
		op.Sent = sent
	case detect.ChartPost:
		op.Sent = sent
		op.Upload = detect.ReadUpload(c.ReqHeader.Get("Content-Type"), bytes.NewReader(sent.Bytes))
	case detect.ManifestDelete:
		op.Before = lookedUp(op, want)
	}
	return op
}

// lookedUp returns what the registry would have answered about a tag before its delete. No request
// of the recording shows it.
func lookedUp(op *detect.Operation, want []expected) *detect.Found {
	for _, e := range want {
		if e.Type == "delete" && e.InRequest != nil && !*e.InRequest && slices.Contains(e.Tags, op.Reference) {
			return &detect.Found{Digest: e.Digest}
		}
	}
	return nil
}

func body(text, b64 string, h http.Header) detect.Body {
	b := []byte(text)
	if b64 != "" {
		b, _ = base64.StdEncoding.DecodeString(b64)
	}
	mediaType, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	sum := sha256.Sum256(b)
	return detect.Body{Bytes: b, Digest: "sha256:" + hex.EncodeToString(sum[:]), MediaType: mediaType, Size: int64(len(b))}
}

// compare compares one line for each tag. Weak expectations, pulls that a person may or may not
// call so, may be missing; inspections go only to webhooks with manifest_reads.
func compare(want []expected, got []detect.Event) (missing, extra []string) {
	var may []string
	for _, e := range want {
		if e.Observable != nil && !*e.Observable {
			continue
		}
		for _, s := range e.lines() {
			if e.Weak {
				may = append(may, s)
			} else {
				missing = append(missing, s)
			}
		}
	}
	for i := range got {
		if got[i].Inspection() {
			continue
		}
		for _, s := range lines(&got[i], want) {
			if j := slices.Index(missing, s); j >= 0 {
				missing = slices.Delete(missing, j, j+1)
			} else if j := slices.Index(may, s); j >= 0 {
				may = slices.Delete(may, j, j+1)
			} else {
				extra = append(extra, s)
			}
		}
	}
	return missing, extra
}

func (e *expected) lines() (lines []string) {
	operator := ""
	if e.Operator != nil {
		operator = *e.Operator
	}
	if strings.HasPrefix(e.Type, "chart.") {
		return []string{fmt.Sprintf("%s %s %s-%s by %q", e.Type, e.Repository, e.Name, e.Version, operator)}
	}
	tags := e.Tags
	if e.Type == "delete" && len(e.TagsNamed) > 0 {
		tags = e.TagsNamed // the recording does not show the others
	}
	if len(tags) == 0 {
		tags = []string{""}
	}
	for _, tag := range tags {
		lines = append(lines, fmt.Sprintf("%s %s:%s %s by %q", e.Type, e.Repository, tag, e.Digest, operator))
	}
	return lines
}

func lines(e *detect.Event, want []expected) (lines []string) {
	switch e.Type {
	case detect.UploadChart, detect.DownloadChart, detect.DeleteChart:
		verb := map[detect.Type]string{detect.UploadChart: "push", detect.DownloadChart: "pull", detect.DeleteChart: "delete"}[e.Type]
		return []string{fmt.Sprintf("chart.%s %s %s-%s by %q", verb, e.Repository, e.Chart.Name, e.Chart.Version, e.Client.Operator)}
	}
	verb := map[detect.Type]string{detect.PushArtifact: "push", detect.PullArtifact: "pull", detect.DeleteArtifact: "delete", detect.DeleteTag: "delete"}[e.Type]
	tags := e.Tags
	if len(tags) == 0 {
		tags = []string{""}
	}
	for _, tag := range tags {
		lines = append(lines, fmt.Sprintf("%s %s:%s %s by %q", verb, e.Repository, tag, e.Digest, e.Client.Operator))
	}
	return lines
}

// world is a Tracker with a fake ledger and a fake upstream.
type world struct {
	*Tracker
	t        testing.TB
	db       *rows
	ledger   *fakeLedger
	upstream *fakeUpstream
	cfg      Config
	stop     func()
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, db: newRows(), upstream: &fakeUpstream{}, cfg: Config{Accessories: true}}
	w.begin()
	return w
}

// begin starts a process with the stored rows.
func (w *world) begin() {
	w.ledger = &fakeLedger{t: w.t, db: w.db}
	w.Tracker = New(w.cfg, w.ledger, w.upstream)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	tracker := w.Tracker
	go func() {
		defer close(ended)
		if err := tracker.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	w.stop = func() {
		cancel()
		<-ended
	}
}

// crash loses everything in memory.
func (w *world) crash() {
	w.stop()
	w.ledger.close()
	w.begin()
}

// finish waits until everything is decided and returns the events.
func (w *world) finish() []detect.Event {
	time.Sleep(3 * time.Minute)
	w.stop()
	w.ledger.close()
	return w.events()
}

func (w *world) events() []detect.Event {
	w.db.mu.Lock()
	defer w.db.mu.Unlock()
	return slices.Clone(w.db.events)
}

func (w *world) intend(op *detect.Operation) *Intent {
	in, err := w.Intend(w.t.Context(), op)
	if err != nil {
		w.t.Errorf("intend: %v", err)
	}
	return in
}

func (w *world) settle(in *Intent, op *detect.Operation) {
	if op.Status >= 500 {
		w.LeaveOpen(in)
		return
	}
	if err := w.Settle(w.t.Context(), in, op); err != nil {
		w.t.Errorf("settle: %v", err)
	}
}
