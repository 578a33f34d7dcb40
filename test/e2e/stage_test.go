package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

const (
	soon = time.Minute // far more than anything takes, also on a busy machine
	// quiet is how long strays are waited for: longer than any correlation time of quick.
	quiet = 5500 * time.Millisecond
)

// quick are correlation times that a test can wait for, and a busy machine's clients keep.
const quick = "correlation: {untagged_push: 4s, pull: 4s, repeat: 1s}\n"

// pause is longer than quick's repeat: the next read of the same reference is the next pull.
func (s *stage) pause() { time.Sleep(1200 * time.Millisecond) }

// A stage is what a test plays on.
type stage struct {
	*testing.T
	hooks  *harness.Receiver
	buoy   *harness.Buoy
	direct string // the upstream's own URL, where a test looks past bellbuoy

	mu   sync.Mutex
	want map[string][]event // by repository, in all
}

// webhooks is the configuration of the two receivers that every stage has.
func webhooks(hooks *harness.Receiver, more ...string) string {
	return fmt.Sprintf(`webhooks:
  - {name: harbor, url: %q, events: ["*"]}
  - {name: full, url: %q, events: ["*"], format: bellbuoy, manifest_reads: true}
`, hooks.URL("/harbor"), hooks.URL("/full")) + strings.Join(more, "")
}

// newStage starts bellbuoy with upstreams and other settings; the webhooks are added.
func newStage(t *testing.T, config string) *stage {
	t.Helper()
	s := &stage{T: t, hooks: harness.NewReceiver(t), want: map[string][]event{}}
	s.buoy = harness.Bellbuoy(t, config+quick+webhooks(s.hooks))
	return s
}

func registryUpstream(url string, more ...string) string {
	return "upstreams: [{type: registry, url: " + url + strings.Join(more, "") + "}]\n"
}

func chartUpstream(url string, more ...string) string {
	return "upstreams: [{type: chartmuseum, name: charts, url: " + url + strings.Join(more, "") + "}]\n"
}

// ref is how a client names something at bellbuoy.
func (s *stage) ref(repository, reference string) string {
	if strings.Contains(reference, ":") {
		return s.buoy.Host + "/" + repository + "@" + reference
	}
	return s.buoy.Host + "/" + repository + ":" + reference
}

// An event is what a test expects, and what it reads out of a webhook of the bellbuoy format.
type event struct {
	Type       string   `json:"type"`
	Repository string   `json:"repository"`
	Namespace  string   `json:"namespace"`
	Name       string   `json:"name"`
	Tags       []string `json:"tags"`
	TagAsked   string   `json:"tag_asked"`
	Digest     string   `json:"digest"`
	Previous   string   `json:"previous_digest"`
	Mismatch   bool     `json:"digest_mismatch"`
	Kind       string   `json:"kind"`
	Size       int64    `json:"size"`
	Subject    string   `json:"subject"`
	Platforms  []string `json:"platforms"`
	Operator   string   `json:"operator"`
	Claimed    string   `json:"operator_claimed"`
	Changed    *bool    `json:"changed"`
	Moved      string   `json:"moved"`
	Inferred   bool     `json:"inferred"`
	Complete   *bool    `json:"tags_complete"`
	Chart      *chart   `json:"chart"`
}

type chart struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Type       string `json:"type"`
	AppVersion string `json:"app_version"`
}

// inspection reports whether the event is only for webhooks with manifest_reads.
func (e event) inspection() bool { return e.Moved != "" && e.Moved != "layers" }

// expect adds events to what a repository's webhooks have to be in all, waits for them, and compares.
func (s *stage) expect(repository string, events ...event) {
	s.Helper()
	s.mu.Lock()
	s.want[repository] = append(s.want[repository], events...)
	want := s.want[repository]
	s.mu.Unlock()
	harness.Eventually(soon, func() bool {
		full, plain := s.arrived(repository)
		return len(full) >= len(want) && len(plain) >= len(s.bodies(want))
	})
	if !s.compare(repository) {
		s.FailNow()
	}
}

// still says that what was done in a repository yields nothing more. End finds out.
func (s *stage) still(repository string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want[repository] = append(s.want[repository], nil...)
}

// end waits for strays, and compares all that came with all that was expected.
func (s *stage) end() {
	s.Helper()
	time.Sleep(quiet)
	seen := map[string]bool{}
	for _, p := range s.hooks.Posts("/full") {
		seen[p.Text("repository")] = true
	}
	for repository := range s.want {
		seen[repository] = true
	}
	for repository := range seen {
		s.compare(repository)
	}
	if lost := s.buoy.Metric("bellbuoy_events_lost_total"); lost != 0 {
		s.Errorf("bellbuoy says that it lost %v events", lost)
	}
	if n := s.buoy.Metric("bellbuoy_panics_total"); n != 0 {
		s.Errorf("bellbuoy panicked %v times", n)
	}
}

// compare holds what arrived of a repository against what was expected, in both formats.
func (s *stage) compare(repository string) (same bool) {
	s.Helper()
	same = true
	s.mu.Lock()
	want := slices.Clone(s.want[repository])
	s.mu.Unlock()
	full, plain := s.arrived(repository)
	if diff := gocmp.Diff(sorted(want), sorted(full)); diff != "" {
		s.Errorf("events of %s (-want +got):\n%s", repository, diff)
		same = false
	}
	if diff := gocmp.Diff(s.bodies(want), plain); diff != "" {
		s.Errorf("Harbor's bodies of %s (-want +got):\n%s", repository, diff)
		same = false
	}
	return same
}

// arrived is what came of a repository, each webhook-id once: in bellbuoy's format and, sorted, in Harbor's.
func (s *stage) arrived(repository string) (full []event, plain []string) {
	ids := map[string]bool{}
	for _, p := range s.hooks.Posts("") {
		if ids[p.Path+p.ID()] {
			continue
		}
		ids[p.Path+p.ID()] = true
		switch {
		case p.Path == "/full" && p.Text("repository") == repository:
			full = append(full, eventOf(s, p))
		case p.Path == "/harbor" && p.Text("event_data.repository.repo_full_name") == repository:
			plain = append(plain, timeless(string(p.Body)))
		}
	}
	slices.Sort(plain)
	return full, plain
}

func eventOf(t testing.TB, p harness.Post) event {
	var e event
	if err := json.Unmarshal(p.Body, &e); err != nil {
		t.Errorf("the webhook is no JSON: %v: %s", err, p.Body)
	}
	slices.Sort(e.Tags)
	slices.Sort(e.Platforms)
	return e
}

func sorted(events []event) []event {
	out := slices.Clone(events)
	key := func(e event) string { return fmt.Sprint(e.Type, e.Tags, e.TagAsked, e.Digest, e.Operator, e.Chart) }
	slices.SortStableFunc(out, func(a, b event) int { return cmp.Compare(key(a), key(b)) })
	if len(out) == 0 {
		return nil
	}
	return out
}

var times = regexp.MustCompile(`"(occur_at|date_created)":\d{10}\b`)

// timeless replaces the times of a Harbor body.
func timeless(body string) string { return times.ReplaceAllString(body, `"$1":TIME`) }

// bodies are Harbor's for the given events: one for each tag, because Harbor's consumers read the first resource only.
func (s *stage) bodies(events []event) (all []string) {
	for _, e := range events {
		switch {
		case e.inspection():
		case e.Chart != nil:
			all = append(all, s.chartBody(e))
		case e.Type == "PULL_ARTIFACT":
			all = append(all, s.body(e, e.TagAsked))
		case len(e.Tags) == 0:
			all = append(all, s.body(e, ""))
		default:
			for _, tag := range e.Tags {
				all = append(all, s.body(e, tag))
			}
		}
	}
	slices.Sort(all)
	return all
}

func (s *stage) body(e event, tag string) string {
	url := s.ref(e.Repository, cmp.Or(tag, e.Digest))
	return fmt.Sprintf(`{"type":%q,"occur_at":TIME,"operator":%q,"event_data":{"resources":[{"digest":%q,"tag":%q,"resource_url":%q}],`+
		`"repository":{"date_created":TIME,"name":%q,"namespace":%q,"repo_full_name":%q,"repo_type":"private"}}}`,
		e.Type, e.Operator, e.Digest, cmp.Or(tag, e.Digest), url, e.Name, e.Namespace, e.Repository)
}

func (s *stage) chartBody(e event) string {
	tenant := strings.TrimSuffix(strings.TrimSuffix(e.Repository, e.Name), "/")
	base := s.buoy.ProxyURL
	if tenant != "library" {
		base += "/" + tenant
	}
	url := fmt.Sprintf("%s/charts/%s-%s.tgz", base, e.Chart.Name, e.Chart.Version)
	return fmt.Sprintf(`{"type":%q,"occur_at":TIME,"operator":%q,"event_data":{"resources":[{"tag":%q,"resource_url":%q}],`+
		`"repository":{"name":%q,"namespace":%q,"repo_full_name":%q,"repo_type":"private"}}}`,
		e.Type, e.Operator, e.Chart.Version, url, e.Name, e.Namespace, e.Repository)
}

// request is one plain HTTP request; header is name, value, name, value …
func request(t testing.TB, method, url string, body []byte, header ...string) *http.Response {
	t.Helper()
	resp, err := send(method, url, body, header...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return resp
}
