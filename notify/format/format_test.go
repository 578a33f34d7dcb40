package format

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	if d.Replication != nil {
		return detect.Event{Type: kind, At: occurAt, External: detect.External{Scheme: "http", Host: d.Replication.Hostname + ":23091"},
			Client: detect.Client{Operator: operator}, RequestID: requestID, Replication: runOf(d.Replication)}
	}
	var r harborResource
	if len(d.Resources) > 0 {
		r = d.Resources[0]
	}
	repo := d.Repository
	host, _, _ := strings.Cut(r.ResourceURL, "/")
	e := detect.Event{Type: kind, At: occurAt, External: detect.External{Scheme: "http", Host: host}, Repository: repo.RepoFullName, Visibility: repo.RepoType,
		Digest: r.Digest, Client: detect.Client{Operator: operator}, RequestID: requestID}
	if repo.DateCreated != 0 {
		e.FirstSeen = time.Unix(repo.DateCreated, 0)
	}
	if r.Tag != r.Digest {
		e.Tags = []string{r.Tag}
	}
	if details := d.Custom["Details"]; details != "" {
		e.Quota = quotaOf(t, details)
	}
	for mediaType, rep := range r.ScanOverview {
		e.Scan = &detect.Scan{ReportID: rep.ReportID, MediaType: mediaType, Status: rep.Status, Severity: rep.Severity, Started: rep.Start, Ended: rep.End, Scanner: rep.Scanner}
		if s := rep.Summary; s != nil {
			e.Scan.Summary = &detect.Summary{Total: s.Total, Fixable: s.Fixable, BySeverity: s.BySeverity}
		}
	}
	return e
}

// quotaOf parses the numbers in Harbor's text. The test then renders them and compares the texts.
func quotaOf(t *testing.T, details string) *detect.Quota {
	t.Helper()
	var added, used, limit float64
	var level int
	if _, err := fmt.Sscanf(details, "adding %f MiB of storage resource, which when updated to current usage of %f MiB will exceed the configured upper limit of %f MiB.", &added, &used, &limit); err != nil {
		if _, err := fmt.Sscanf(details, "quota usage reach %d%%: resource storage used %f MiB of %f MiB", &level, &used, &limit); err != nil {
			t.Fatalf("%q: %v", details, err)
		}
	}
	const mib = 1 << 20
	return &detect.Quota{Project: "quota", Added: int64(added * mib), Used: int64(used * mib), Limit: int64(limit * mib), Level: level}
}

func runOf(r *harborReplication) *detect.ReplicationRun {
	run := &detect.ReplicationRun{Name: "dr", Description: r.Description, Status: r.Status, Trigger: r.Trigger, Creator: r.Creator, Authentication: r.Authentication,
		Override: r.Override, ArtifactType: r.ArtifactType, Started: time.Unix(r.Started, 0), Execution: r.Execution, Task: r.Task,
		Source:      detect.Endpoint{Name: r.Source.Name, Type: r.Source.Type, URL: r.Source.URL, Namespace: r.Source.Namespace},
		Destination: detect.Endpoint{Name: r.Destination.Name, Type: r.Destination.Type, URL: r.Destination.URL, Namespace: r.Destination.Namespace}}
	for _, a := range r.Succeeded {
		name, _, _ := strings.Cut(a.NameTag, " ")
		run.Succeeded = append(run.Succeeded, detect.Replicated{Repository: name, References: a.References})
	}
	return run
}

func TestHarborByteForByte(t *testing.T) {
	files, _ := filepath.Glob("testdata/harbor/*.json")
	var plainBodies, cloud int
	types := map[detect.Type]int{}
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
			types[p.Type]++
		} else {
			cloud++
			var c cloudEvent
			unmarshal(t, rec.Body, &c)
			at, _ := time.Parse(time.RFC3339, c.Time)
			var kind detect.Type
			for t, name := range cloudEventTypes {
				if name == c.Type {
					kind = t
				}
			}
			post := Post{Event: eventOf(t, at, kind, c.Operator, c.RequestID, *c.Data), Webhook: "x"}
			got, err = cloudEvents{}.render(post)
			// the ids may differ: Harbor's are random
			var ours cloudEvent
			unmarshal(t, string(got.Bytes), &ours)
			got.Bytes = bytes.Replace(got.Bytes, []byte(ours.ID), []byte(c.ID), 1)
			got.Bytes = bytes.Replace(got.Bytes, []byte(ours.Source), []byte(c.Source), 1)
		}
		if err != nil || string(got.Bytes) != rec.Body || got.ContentType != rec.Headers["Content-Type"][0] {
			t.Errorf("%s: %v\n got %s %s\nwant %s %s", file, err, got.ContentType, got.Bytes, rec.Headers["Content-Type"], rec.Body)
		}
	}
	if plainBodies < 20 || cloud < 20 || len(types) < 8 {
		t.Errorf("only %d and %d recorded bodies of the types %v were compared", plainBodies, cloud, types)
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

// samples returns an event of each type, with every field that the type can have.
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
	all = append(all, untagged, single)
	for _, kind := range []detect.Type{detect.ScanningCompleted, detect.ScanningFailed, detect.QuotaExceed, detect.QuotaWarning, detect.Replication} {
		e := Sample(kind)
		e.Client = base.Client
		all = append(all, e)
	}
	refused := all[len(all)-3] // at a blob
	refused.Tags, refused.Digest, refused.Artifact = nil, "", nil
	failed := all[len(all)-1]
	run := *failed.Replication
	run.Status, run.Failed = "Error", []detect.Replicated{{Repository: "other", References: []string{"v2"}, Reason: "401"}}
	failed.Replication = &run
	return append(all, refused, failed)
}

// testTemplate uses every helper.
const testTemplate = `{"text": {{json .type}}, "who": {{.operator | default "somebody" | upper | json}}, "day": {{.time | formatTime "2006-01-02" | json}},
 "short": {{.repository | trimPrefix "team/" | replace "/" "-" | lower | json}}, "tags": [{{range $i, $t := .tags}}{{if $i}}, {{end}}{{json $t}}{{end}}],
 "size": {{.size}}, "critical": {{with .scan}}{{with .summary}}{{json .by_severity}}{{else}}null{{end}}{{else}}null{{end}}, "plain": {{plain .user_agent | json}}}`

// options returns the options that the tests use for a format.
func options(name string) Options {
	if name == "template" {
		return Options{Template: testTemplate, Events: allTypes}
	}
	return Options{}
}

func newFormat(t *testing.T, name string) Format {
	t.Helper()
	f, err := New(name, "ci", options(name))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestGolden(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			f := newFormat(t, name)
			var out bytes.Buffer
			said := map[detect.Type]bool{}
			for _, e := range samples() {
				if !slices.Contains(f.Says(), e.Type) {
					if _, _, _, err := f.Render(e, 0); err == nil || !strings.Contains(err.Error(), "it has for PUSH_ARTIFACT") {
						t.Errorf("%s: %v", e.Type, err)
					}
					continue
				}
				said[e.Type] = true
				posts := 1
				if f.PerTag() && e.Type != detect.PullArtifact {
					posts = max(1, len(e.Tags))
				}
				for n := range posts {
					contentType, header, body, err := f.Render(e, n)
					if err != nil || !json.Valid(body) || contentType == "" {
						t.Errorf("%s %s %d: %v %s", name, e.Type, n, err, body)
					}
					fmt.Fprintf(&out, "%s: %s\n", e.Type, contentType)
					for _, key := range slices.Sorted(maps.Keys(header)) {
						fmt.Fprintf(&out, "%s: %s\n", key, header[key])
					}
					fmt.Fprintf(&out, "%s\n\n", body)
				}
			}
			if len(said) != len(f.Says()) {
				t.Errorf("there are samples of %v, and Says returns %v", said, f.Says())
			}
			golden(t, "testdata/"+name+".golden", out.Bytes())
		})
	}
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
		if f := newFormat(t, name); f.Name() != name {
			t.Errorf("%s: %v", name, f.Name())
		}
	}
	if _, err := New("yaml", "ci", Options{}); err == nil || !strings.Contains(err.Error(), "harbor") {
		t.Errorf("an unknown format: %v", err)
	}
}

func TestUnrenderable(t *testing.T) {
	for _, name := range Names() {
		f := newFormat(t, name)
		for _, e := range []detect.Event{{Type: "NEW_TYPE"}, {Type: detect.UploadChart}, {Type: detect.PushArtifact, Chart: &detect.Chart{}}, {Type: detect.QuotaExceed},
			{Type: detect.Replication}, {Type: detect.ScanningFailed}, {Type: detect.PushArtifact, Scan: &detect.Scan{}}} {
			if _, _, _, err := f.Render(e, 0); err == nil {
				t.Errorf("%s rendered %+v", name, e)
			}
		}
	}
}

// TestCloudEventsSDK decodes both modes with the CloudEvents SDK.
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
			t.Errorf("the SDK encodes\n%s\nthe format\n%s (%v)", again, b.Bytes, err)
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
	a := postID(&Post{Event: e, Webhook: "a"})
	if a != postID(&Post{Event: e, Webhook: "a"}) || a == postID(&Post{Event: e, Webhook: "b"}) || a == postID(&Post{Event: e, Webhook: "a", Number: 1}) {
		t.Error("ids differ between retries, or are equal for other webhooks or tags")
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
		t.Error("the schema accepts an empty event")
	}
}

func FuzzRender(f *testing.F) {
	f.Add("team/app", "v1", digestA, "alice", "crane")
	f.Add("", "", "", "", "")
	f.Fuzz(func(t *testing.T, repository, tag, digest, operator, agent string) {
		for _, e := range samples() {
			e.Repository, e.Tags, e.Digest, e.Client.Operator, e.Client.UserAgent = repository, []string{tag}, digest, operator, agent
			for _, name := range Names() {
				f := newFormat(t, name)
				if !slices.Contains(f.Says(), e.Type) {
					continue
				}
				_, _, body, err := f.Render(e, 0)
				if err != nil || !json.Valid(body) {
					t.Errorf("%s: %v %q", name, err, body)
				}
				checkChat(t, name, body)
			}
		}
	})
}
