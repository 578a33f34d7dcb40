package format

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bellbuoy/bellbuoy/detect"
)

var update = flag.Bool("update", false, "rewrite golden files")

// recorded is a webhook that a real Harbor sent.
type recorded struct {
	Headers map[string][]string
	Body    string
}

// eventOf builds the event that must render to a recorded body.
func eventOf(t *testing.T, occurAt time.Time, kind detect.Type, operator, requestID string, d harborEventData) detect.Event {
	t.Helper()
	r, repo := d.Resources[0], d.Repository
	host, _, _ := strings.Cut(r.ResourceURL, "/")
	e := detect.Event{Type: kind, At: occurAt, External: detect.External{Scheme: "http", Host: host}, Repository: repo.RepoFullName, Visibility: repo.RepoType,
		Digest: r.Digest, Client: detect.Client{Operator: operator}, RequestID: requestID}
	if repo.DateCreated != 0 {
		e.FirstSeen = time.Unix(repo.DateCreated, 0)
	}
	if r.Tag != r.Digest {
		e.Tags = []string{r.Tag}
	}
	return e
}

func TestHarborByteForByte(t *testing.T) {
	files, _ := filepath.Glob("testdata/harbor/*.json")
	var plainBodies, cloud int
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var rec recorded
		if err := json.Unmarshal(raw, &rec); err != nil {
			t.Fatal(err)
		}
		var got Body
		if rec.Headers["Content-Type"][0] == "application/json" {
			plainBodies++
			var p harborPayload
			unmarshal(t, rec.Body, &p)
			got, err = renderHarbor(Post{Event: eventOf(t, time.Unix(p.OccurAt, 0), p.Type, p.Operator, "", *p.EventData)})
		} else {
			cloud++
			var c cloudEvent
			unmarshal(t, rec.Body, &c)
			at, _ := time.Parse(time.RFC3339, c.Time)
			kind := map[string]detect.Type{"harbor.artifact.pushed": detect.PushArtifact, "harbor.artifact.pulled": detect.PullArtifact, "harbor.artifact.deleted": detect.DeleteArtifact}[c.Type]
			post := Post{Event: eventOf(t, at, kind, c.Operator, c.RequestID, *c.Data), Webhook: "x"}
			got, err = cloudEvents{}.render(post)
			// ids apart: Harbor's are random and its own
			var ours cloudEvent
			unmarshal(t, string(got.Bytes), &ours)
			got.Bytes = bytes.Replace(got.Bytes, []byte(ours.ID), []byte(c.ID), 1)
			got.Bytes = bytes.Replace(got.Bytes, []byte(ours.Source), []byte(c.Source), 1)
		}
		if err != nil || string(got.Bytes) != rec.Body || got.ContentType != rec.Headers["Content-Type"][0] {
			t.Errorf("%s: %v\n got %s %s\nwant %s %s", file, err, got.ContentType, got.Bytes, rec.Headers["Content-Type"], rec.Body)
		}
	}
	if plainBodies < 10 || cloud < 10 {
		t.Errorf("only %d and %d recorded bodies were compared", plainBodies, cloud)
	}
}

func unmarshal(t *testing.T, s string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), v); err != nil {
		t.Fatal(err)
	}
}

const (
	digestA = "sha256:954b378c0000000000000000000000000000000000000000000000000000fbbf"
	digestB = "sha256:2bb501e60000000000000000000000000000000000000000000000000000002c"
)

// samples are one event of each type, with everything set that the type can have.
func samples() []detect.Event {
	at := time.Date(2026, 11, 23, 9, 1, 27, 123456789, time.UTC)
	base := detect.Event{ID: "019ab0c4-7b5a-7c3e-8d2f-0123456789ab", At: at, Upstream: "registry", External: detect.External{Scheme: "https", Host: "registry.example.com"},
		Repository: "team/app/web", FirstSeen: at.Add(-time.Hour), Visibility: "private", Hint: "docker.io", Digest: digestA,
		Client: detect.Client{Operator: "robot$team+ci", Claimed: "eve", Address: "10.0.0.7", UserAgent: "crane/v0.22.1"}, RequestID: "req-1",
		Artifact: &detect.Artifact{Kind: detect.Index, MediaType: "application/vnd.oci.image.index.v1+json", Size: 5 << 20, Platforms: []string{"linux/amd64", "linux/arm64"},
			Children: []detect.Child{{Digest: digestB, MediaType: "application/vnd.oci.image.manifest.v1+json", Platform: "linux/amd64", Size: 583}}, Annotations: map[string]string{"a": "b"}}}
	var all []detect.Event
	for _, kind := range []detect.Type{detect.PushArtifact, detect.PullArtifact, detect.DeleteArtifact, detect.DeleteTag} {
		e := base
		e.Type = kind
		switch kind {
		case detect.PushArtifact:
			e.Tags, e.Previous, e.Mismatch, e.Inferred = []string{"v1", "latest"}, digestB, true, true
		case detect.PullArtifact:
			e.Tags, e.KnownTags, e.Moved = []string{"v1"}, []string{"latest", "v1"}, detect.MovedConfig
		case detect.DeleteArtifact:
			e.Tags, e.TagsComplete = []string{"v1", "latest"}, true
		case detect.DeleteTag:
			e.Tags = []string{"v1"}
		}
		all = append(all, e)
	}
	for _, kind := range []detect.Type{detect.UploadChart, detect.DownloadChart, detect.DeleteChart} {
		e := base
		e.Type, e.Repository, e.Artifact, e.Hint = kind, "org/team", nil, ""
		e.Chart = &detect.Chart{Name: "demo", Version: "1.0.0-2", Type: "application", AppVersion: "7", Digest: digestB, Size: 2048}
		all = append(all, e)
	}
	untagged := base
	untagged.Type, untagged.Repository, untagged.Client = detect.PushArtifact, "single", detect.Client{}
	untagged.Artifact = &detect.Artifact{Kind: detect.Signature, Subject: digestB, ArtifactType: "application/vnd.dev.sigstore.bundle.v0.3+json", Size: 12}
	single := all[4]
	single.Repository = ""
	return append(all, untagged, single)
}

func TestGolden(t *testing.T) {
	var out bytes.Buffer
	for _, name := range Names() {
		f, err := New(name, "ci", Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range samples() {
			posts := 1
			if f.PerTag() && e.Type != detect.PullArtifact {
				posts = max(1, len(e.Tags))
			}
			for n := range posts {
				b, err := f.render(Post{Event: e, Number: n, Webhook: "ci"})
				if err != nil || !json.Valid(b.Bytes) || b.ContentType == "" {
					t.Errorf("%s %s %d: %v %s", name, e.Type, n, err, b.Bytes)
				}
				out.WriteString(name + " " + string(e.Type) + "\n" + string(b.Bytes) + "\n")
			}
		}
	}
	golden(t, "testdata/bodies.golden", out.Bytes())
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, diff)
	}
}

func TestNew(t *testing.T) {
	for _, name := range Names() {
		if f, err := New(name, "ci", Options{}); err != nil || f.Name() != name {
			t.Errorf("%s: %v %v", name, f.Name(), err)
		}
	}
	if _, err := New("yaml", "ci", Options{}); err == nil || !strings.Contains(err.Error(), "harbor") {
		t.Errorf("an unknown format: %v", err)
	}
}

func TestUnrenderable(t *testing.T) {
	for _, name := range Names() {
		f, _ := New(name, "ci", Options{})
		for _, e := range []detect.Event{{Type: "NEW_TYPE"}, {Type: detect.UploadChart}, {Type: detect.PushArtifact, Chart: &detect.Chart{}}} {
			if _, _, _, err := f.Render(e, 0); err == nil {
				t.Errorf("%s rendered %+v", name, e)
			}
		}
	}
}

// The CloudEvents SDK is the independent judge of both modes.
func TestCloudEventsSDK(t *testing.T) {
	f, _ := New("cloudevents", "ci", Options{Subject: "team/app", Type: "own.type"})
	for _, e := range samples() {
		b, err := f.render(Post{Event: e, Webhook: "ci"})
		if err != nil {
			t.Fatal(err)
		}
		var ce event.Event
		if err := json.Unmarshal(b.Bytes, &ce); err != nil || ce.Validate() != nil {
			t.Errorf("%s: %v %v", b.Bytes, err, ce.Validate())
		}
		again, err := json.Marshal(ce)
		if err != nil || string(again) != string(b.Bytes) {
			t.Errorf("the SDK writes\n%s\nwe write\n%s (%v)", again, b.Bytes, err)
		}
	}
	binary, _ := New("cloudevents", "ci", Options{Mode: "binary"})
	e := samples()[0]
	e.Client.Operator = "jürgen \"x\"%"
	b, err := binary.render(Post{Event: e, Webhook: "ci"})
	if err != nil || b.ContentType != "application/json" || b.Header["ce-type"] != "harbor.artifact.pushed" || b.Header["ce-operator"] != "j%C3%BCrgen%20%22x%22%25" || b.Header["ce-id"] == "" {
		t.Errorf("%v %+v", err, b)
	}
	if _, ok := b.Header["ce-subject"]; ok {
		t.Error("an empty attribute was sent")
	}
}

func TestCloudEventIDs(t *testing.T) {
	e := samples()[0]
	a := cloudEventID(&Post{Event: e, Webhook: "a"})
	if a != cloudEventID(&Post{Event: e, Webhook: "a"}) || a == cloudEventID(&Post{Event: e, Webhook: "b"}) || a == cloudEventID(&Post{Event: e, Webhook: "a", Number: 1}) {
		t.Error("ids must be the same on retries and differ by webhook and tag")
	}
}

func TestBellbuoySchema(t *testing.T) {
	r := jsonschema.Reflector{ExpandedStruct: true, AllowAdditionalProperties: true}
	schema := r.Reflect(&BellbuoyEvent{})
	schema.Title = "A bellbuoy event"
	raw, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "bellbuoy.schema.json", append(raw, '\n'))
	doc, err := validator.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("s.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled := c.MustCompile("s.json")
	for _, e := range samples() {
		b, err := renderBellbuoy(Post{Event: e})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := validator.UnmarshalJSON(bytes.NewReader(b.Bytes))
		if err := compiled.Validate(v); err != nil {
			t.Errorf("%s: %v", b.Bytes, err)
		}
	}
	if compiled.Validate(map[string]any{"schema": Schema}) == nil {
		t.Error("the schema accepts an event without anything")
	}
}

// checkSlack holds a message against Slack's published limits and against what a name may do to it.
func checkSlack(t *testing.T, body []byte) {
	t.Helper()
	var m slackMessage
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if m.Text == "" || len(m.Blocks) > 50 || len(body) > 13_200 {
		t.Errorf("text %q, %d blocks, %d bytes", m.Text, len(m.Blocks), len(body))
	}
	for _, b := range m.Blocks {
		if b.Text != nil && utf8.RuneCountInString(b.Text.Text) > 3000 || len(b.Fields) > 10 || len(b.Elements) > 10 || b.Type == "section" && b.Text == nil && len(b.Fields) == 0 {
			t.Errorf("block over the limits: %+v", b)
		}
		texts := append(append([]slackText{}, b.Fields...), b.Elements...)
		if b.Text != nil {
			texts = append(texts, *b.Text)
		}
		for _, f := range texts {
			s := f.Text
			if i := strings.Index(s, "<!date^"); i >= 0 {
				s = s[:i] + s[strings.Index(s[i:], ">")+i+1:]
			}
			if utf8.RuneCountInString(s) > 2000 || strings.ContainsAny(s, "<>") || strings.Contains(s, "@everyone") || strings.Contains(s, "@channel") || strings.Contains(s, "@here") {
				t.Errorf("text %q", s)
			}
		}
	}
}

func TestSlackHostile(t *testing.T) {
	for _, hostile := range []string{"<!everyone>", "@everyone", "a&b", "<@U123>", "`code`", "*bold*", "<https://x|y>", strings.Repeat("ü", 300), "line\nbreak\t\x00", "\xff\xfe", strings.Repeat("<", 300), strings.Repeat("@here", 100), "@every\u200bone"} {
		for _, e := range samples() {
			e.Repository, e.Upstream, e.External.Host, e.Client.Operator, e.Client.UserAgent, e.Digest, e.Previous = hostile, hostile, hostile, hostile, hostile, hostile, hostile
			e.Tags = []string{hostile}
			if e.Artifact != nil {
				a := *e.Artifact
				a.Platforms = []string{hostile, hostile}
				e.Artifact = &a
			}
			if e.Chart != nil {
				e.Chart = &detect.Chart{Name: hostile, Version: hostile, AppVersion: hostile}
			}
			b, err := renderSlack(Post{Event: e, Webhook: hostile})
			if err != nil {
				t.Fatal(err)
			}
			checkSlack(t, b.Bytes)
			for range 30 {
				e.Tags = append(e.Tags, hostile)
			}
			if b, err = renderSlack(Post{Event: e}); err != nil {
				t.Fatal(err)
			}
			checkSlack(t, b.Bytes)
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add("team/app", "v1", digestA, "alice", "crane")
	f.Add("", "", "", "", "")
	f.Fuzz(func(t *testing.T, repository, tag, digest, operator, agent string) {
		for _, e := range samples() {
			e.Repository, e.Tags, e.Digest, e.Client.Operator, e.Client.UserAgent = repository, []string{tag}, digest, operator, agent
			for _, name := range Names() {
				format, _ := New(name, "ci", Options{})
				b, err := format.render(Post{Event: e})
				if err != nil || !json.Valid(b.Bytes) {
					t.Errorf("%s: %v %q", name, err, b.Bytes)
				}
				if name == "slack" {
					checkSlack(t, b.Bytes)
				}
			}
		}
	})
}
