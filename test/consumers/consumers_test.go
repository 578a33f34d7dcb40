// Package consumers passes real POSTs of bellbuoy to the code of real consumers. It is a module of
// its own, so that their dependencies are not bellbuoy's. go test ./... of the main module does not
// run it; make test does.
package consumers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atc0005/go-teams-notify/v2/adaptivecard"
	"github.com/bwmarrin/discordgo"
	cdevents "github.com/cdevents/sdk-go/pkg/api"
	cdeventsv04 "github.com/cdevents/sdk-go/pkg/api/v04"
	cdeventsv05 "github.com/cdevents/sdk-go/pkg/api/v05"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/distribution/distribution/v3/notifications"
	"github.com/distribution/reference"
	"github.com/go-playground/webhooks/v6/docker"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/slack-go/slack"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

const (
	external = "registry.example.com"
	secret   = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// stage has the POSTs of each webhook about a push of team/app:v1, its tag v2, a pull, and the
// delete of its digest. A push of a signature is one of them: consumers must not take it for an
// image.
type stage struct {
	hooks  *harness.Receiver
	digest string
}

// formats are the webhooks, by the paths of their receivers, and the number of their POSTs.
var formats = []struct {
	path, options string
	posts         int
}{
	{"/distribution", "format: distribution, events: ['*']", 5},
	{"/cdevents04", "format: cdevents, events: ['*']", 5},
	{"/cdevents05", "format: cdevents, events: ['*'], format_options: {spec: 0.5.1}", 5},
	{"/cloudevents", "format: cloudevents, events: ['*'], signing_secrets: [" + secret + "]", 5},
	{"/binary", "format: cloudevents, events: ['*'], format_options: {mode: binary}", 5},
	{"/dockerhub", "format: dockerhub", 2},
	{"/quay", "format: quay", 2},
	{"/acr", "format: acr", 4},
	{"/harbor", "preset: kargo, auth_header: a-secret", 2},
	{"/slack", "format: slack, events: ['*'], rate_limit: 100/s", 4},
	{"/teams", "format: teams, events: ['*'], rate_limit: 100/s", 4},
	{"/discord", "format: discord, events: ['*'], rate_limit: 100/s", 4},
	{"/grouped", "format: discord, events: ['*'], rate_limit: 100/s, group: {wait: 4s}", 2},
}

func raise(t *testing.T) *stage {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real registry and client")
	}
	registry, hooks := harness.Registry(t, harness.RegistryOptions{Delete: true}), harness.NewReceiver(t)
	config := fmt.Sprintf("upstreams: [{type: registry, url: %q, external_url: https://%s}]\ncorrelation: {pull: 2s, repeat: 1s}\nwebhooks:\n", registry.URL, external)
	for _, f := range formats {
		config += fmt.Sprintf("  - {name: %s, url: %q, exclude: {kinds: [signature]}, %s}\n", f.path[1:], hooks.URL(f.path), f.options)
	}
	b := harness.Bellbuoy(t, config)
	s := &stage{hooks: hooks}
	env := harness.Env(t)
	crane := func(args ...string) string {
		return strings.TrimSpace(harness.Run(t, env, "crane", append(args, "--insecure")...))
	}
	ref := b.Host + "/team/app"
	crane("push", harness.NewImage(harness.ImageOptions{}).Layout(t, "v1"), ref+":v1")
	s.digest = crane("digest", ref+":v1")
	crane("push", harness.NewImage(harness.ImageOptions{Seed: 7}).Layout(t, "sig"), ref+":"+strings.Replace(s.digest, ":", "-", 1)+".sig")
	crane("tag", ref+":v1", "v2")
	time.Sleep(1500 * time.Millisecond) // longer than correlation.repeat
	crane("pull", ref+":v2", filepath.Join(t.TempDir(), "image.tar"))
	crane("delete", ref+"@"+s.digest)
	for _, f := range formats {
		hooks.WaitAt(f.path, f.posts, 30*time.Second)
	}
	for _, f := range formats {
		if got := len(hooks.Posts(f.path)); got != f.posts {
			t.Errorf("%s got %d posts, want %d", f.path, got, f.posts)
		}
	}
	return s
}

// read checks the tags that a consumer reads in the posts to a path, sorted: two webhooks' posts of
// one event may arrive in any order.
func (s *stage) read(t *testing.T, path string, of func(harness.Post) string, want ...string) {
	t.Helper()
	var got []string
	for _, p := range s.hooks.Posts(path) {
		got = append(got, of(p))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: the consumer read\n%s\nwant\n%s", path, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// request returns a post as the consumer's server gets it.
func request(p harness.Post) *http.Request {
	r, err := http.NewRequest(http.MethodPost, "http://consumer"+p.Path, bytes.NewReader(p.Body))
	if err != nil {
		panic(err)
	}
	r.Header = p.Header.Clone()
	return r
}

// strict decodes a body into its consumer's type, and refuses fields that the type does not have.
func strict(t *testing.T, body []byte, v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Errorf("decoding the body: %v\n%s", err, body)
	}
}

func TestConsumers(t *testing.T) {
	s := raise(t)
	t.Run("distribution", func(t *testing.T) { s.distribution(t) })
	t.Run("cdevents", func(t *testing.T) { s.cdevents(t) })
	t.Run("cloudevents", func(t *testing.T) { s.cloudevents(t) })
	t.Run("standard webhooks", func(t *testing.T) { s.signatures(t) })
	t.Run("docker hub", func(t *testing.T) { s.dockerhub(t) })
	t.Run("quay", func(t *testing.T) { s.quay(t) })
	t.Run("acr", func(t *testing.T) { s.acr(t) })
	t.Run("harbor", func(t *testing.T) { s.harbor(t) })
	t.Run("slack", func(t *testing.T) { s.slack(t) })
	t.Run("teams", func(t *testing.T) { s.teams(t) })
	t.Run("discord", func(t *testing.T) { s.discord(t) })
}

func (s *stage) distribution(t *testing.T) {
	s.read(t, "/distribution", func(p harness.Post) string {
		if p.Header.Get("Content-Type") != notifications.EventsMediaType {
			t.Errorf("Content-Type %s", p.Header.Get("Content-Type"))
		}
		var envelope struct {
			Events []notifications.Event `json:"events"` // notifications.Envelope has them as type any
		}
		strict(t, p.Body, &envelope)
		e := envelope.Events[0]
		if len(envelope.Events) != 1 || e.Request.Host != external || e.Target.Digest.String() != s.digest || e.Timestamp.IsZero() || e.Target.Size == 0 ||
			!strings.HasPrefix(e.Target.URL, "https://"+external+"/v2/team/app/manifests/") {
			t.Errorf("got the event %+v", e)
		}
		return e.Action + " " + e.Target.Repository + ":" + e.Target.Tag
	}, "push team/app:v1", "push team/app:v2", "pull team/app:v2", "delete team/app:v1", "delete team/app:v2")
}

func (s *stage) cdevents(t *testing.T) {
	for path, parse := range map[string]func([]byte) (cdevents.CDEventV04, error){
		"/cdevents04": func(b []byte) (cdevents.CDEventV04, error) { return cdeventsv04.NewFromJsonBytes(b) },
		"/cdevents05": func(b []byte) (cdevents.CDEventV04, error) { return cdeventsv05.NewFromJsonBytes(b) },
	} {
		s.read(t, path, func(p harness.Post) string {
			e, err := parse(p.Body)
			if err != nil {
				t.Fatalf("reading a CDEvent: %v\n%s", err, p.Body)
			}
			if err := cdevents.Validate(e); err != nil {
				t.Errorf("validating a CDEvent: %v\n%s", err, p.Body)
			}
			if p.Header.Get("Ce-Type") != e.GetType().String() || p.Header.Get("Ce-Id") != e.GetId() {
				t.Errorf("headers %v of %s", p.Header, p.Body)
			}
			_, tag, _ := strings.Cut(e.GetSubjectId(), "&tag=")
			return e.GetType().Predicate + " " + tag
		}, "published v1", "published v2", "downloaded v2", "deleted v1", "deleted v2")
	}
}

func (s *stage) cloudevents(t *testing.T) {
	for _, path := range []string{"/cloudevents", "/binary"} {
		s.read(t, path, func(p harness.Post) string {
			e, err := cehttp.NewEventFromHTTPRequest(request(p))
			if err != nil || e.Validate() != nil {
				t.Fatalf("reading a CloudEvent: %v, %v\n%s", err, e.Validate(), p.Body)
			}
			return e.Type() + " " + resourceURL(t, e)
		}, "harbor.artifact.pushed "+external+"/team/app:v1", "harbor.artifact.pushed "+external+"/team/app:v2", "harbor.artifact.pulled "+external+"/team/app:v2",
			"harbor.artifact.deleted "+external+"/team/app:v1", "harbor.artifact.deleted "+external+"/team/app:v2")
	}
}

func resourceURL(t *testing.T, e *event.Event) string {
	t.Helper()
	var data struct {
		Resources []struct {
			ResourceURL string `json:"resource_url"`
		}
	}
	if err := e.DataAs(&data); err != nil || len(data.Resources) != 1 {
		t.Fatalf("reading the data: %v\n%s", err, e.Data())
	}
	return data.Resources[0].ResourceURL
}

func (s *stage) signatures(t *testing.T) {
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, p := range s.hooks.Posts("/cloudevents") {
		if err := verifier.Verify(p.Body, p.Header); err != nil {
			t.Error(err)
		}
		ids[p.ID()] = true
	}
	if len(ids) != 5 {
		t.Errorf("the ids are %v: each POST has one of its own", ids)
	}
}

func (s *stage) dockerhub(t *testing.T) {
	hook, err := docker.New()
	if err != nil {
		t.Fatal(err)
	}
	s.read(t, "/dockerhub", func(p harness.Post) string {
		parsed, err := hook.Parse(request(p), docker.BuildEvent)
		if err != nil {
			t.Fatalf("reading the body: %v\n%s", err, p.Body)
		}
		build := parsed.(docker.BuildPayload)
		if build.Repository.Status != "Active" || build.Repository.Namespace != "team" || build.Repository.Name != "app" || build.PushData.PushedAt == 0 {
			t.Errorf("got the build %+v", build)
		}
		return build.Repository.RepoName + ":" + build.PushData.Tag
	}, external+"/team/app:v1", external+"/team/app:v2")
}

func (s *stage) quay(t *testing.T) {
	s.read(t, "/quay", func(p harness.Post) string {
		var q struct {
			Name, Repository, Namespace, Homepage string
			DockerURL                             string   `json:"docker_url"`
			UpdatedTags                           []string `json:"updated_tags"`
		}
		strict(t, p.Body, &q)
		return q.DockerURL + ":" + strings.Join(q.UpdatedTags, ",")
	}, external+"/team/app:v1", external+"/team/app:v2")
}

func (s *stage) acr(t *testing.T) {
	s.read(t, "/acr", func(p harness.Post) string {
		if !strings.HasPrefix(p.Header.Get("User-Agent"), "AzureContainerRegistry") {
			t.Errorf("User-Agent %s", p.Header.Get("User-Agent"))
		}
		return p.Text("action") + " " + p.Text("request.host") + "/" + p.Text("target.repository") + ":" + p.Text("target.tag")
	}, "push "+external+"/team/app:v1", "push "+external+"/team/app:v2", "delete "+external+"/team/app:v1", "delete "+external+"/team/app:v2")
}

// harbor reads Harbor's body as its consumers do: Kargo with go-containerregistry, keel with
// distribution's grammar and whole numbers, Argo CD as an oci:// URL.
func (s *stage) harbor(t *testing.T) {
	s.read(t, "/harbor", func(p harness.Post) string {
		var body struct {
			Type      string
			OccurAt   int `json:"occur_at"`
			Operator  string
			EventData struct {
				Resources []struct {
					Digest, Tag string
					ResourceURL string `json:"resource_url"`
				}
				Repository struct {
					DateCreated  int `json:"date_created"`
					Name         string
					Namespace    string
					RepoFullName string `json:"repo_full_name"`
					RepoType     string `json:"repo_type"`
				}
			} `json:"event_data"`
		}
		strict(t, p.Body, &body)
		if p.Header.Get("Authorization") != "a-secret" || p.Header.Get("Content-Type") != "application/json" || len(body.EventData.Resources) != 1 {
			t.Fatalf("got the post %v %s", p.Header, p.Body)
		}
		image := body.EventData.Resources[0]
		kargo, err := name.ParseReference(image.ResourceURL)
		if err != nil || kargo.Context().RegistryStr() != external || kargo.Context().RepositoryStr() != body.EventData.Repository.RepoFullName || kargo.Identifier() != image.Tag {
			t.Errorf("Kargo reads %v (%v) of %s", kargo, err, p.Body)
		}
		keel, err := reference.ParseNormalizedNamed(image.ResourceURL)
		if err != nil || reference.Domain(keel) != external || reference.Path(keel) != "team/app" {
			t.Errorf("keel reads %v (%v) of %s", keel, err, p.Body)
		}
		argo, err := url.Parse("oci://" + image.ResourceURL)
		if err != nil || argo.Host != external {
			t.Errorf("Argo CD reads %v (%v) of %s", argo, err, p.Body)
		}
		return body.Type + " " + image.ResourceURL
	}, "PUSH_ARTIFACT "+external+"/team/app:v1", "PUSH_ARTIFACT "+external+"/team/app:v2")
}

func (s *stage) slack(t *testing.T) {
	s.read(t, "/slack", func(p harness.Post) string {
		var m slack.WebhookMessage
		strict(t, p.Body, &m)
		if m.Blocks == nil || len(m.Blocks.BlockSet) != 3 {
			t.Fatalf("got the message %s", p.Body)
		}
		for _, block := range m.Blocks.BlockSet {
			if v, ok := block.(interface{ Validate() error }); ok && v.Validate() != nil {
				t.Errorf("validating a message: %v\n%s", v.Validate(), p.Body)
			}
			if block.BlockType() != slack.MBTSection && block.BlockType() != slack.MBTContext {
				t.Errorf("a block of the type %s", block.BlockType())
			}
		}
		return m.Text
	}, "somebody pushed team/app:v1", "somebody pushed team/app:v2", "somebody pulled team/app:v2", "somebody deleted team/app: v1, v2")
}

func (s *stage) teams(t *testing.T) {
	s.read(t, "/teams", func(p harness.Post) string {
		var m adaptivecard.Message
		if err := json.Unmarshal(p.Body, &m); err != nil {
			t.Fatal(err)
		}
		if err := m.Validate(); err != nil {
			t.Errorf("reading a card: %v\n%s", err, p.Body)
		}
		return m.Attachments[0].Content.FallbackText
	}, "somebody pushed team/app:v1", "somebody pushed team/app:v2", "somebody pulled team/app:v2", "somebody deleted team/app: v1, v2")
}

func (s *stage) discord(t *testing.T) {
	var lines int
	for _, path := range []string{"/discord", "/grouped"} {
		for _, p := range s.hooks.Posts(path) {
			var m discordgo.WebhookParams
			strict(t, p.Body, &m)
			if m.AllowedMentions == nil || m.AllowedMentions.Parse == nil || len(m.AllowedMentions.Parse) > 0 || len(m.Embeds) != 1 || m.Embeds[0].Description == "" {
				t.Errorf("got the message %s", p.Body)
			}
			if path == "/grouped" {
				lines += 1 + strings.Count(m.Embeds[0].Description, "\n")
			}
		}
	}
	if lines != 4 {
		t.Errorf("two messages have %d lines of four events", lines)
	}
}
