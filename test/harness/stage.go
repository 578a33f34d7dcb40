package harness

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

const (
	// Strays is how long End waits for unexpected webhooks: longer than the times of Quick.
	Strays = 5500 * time.Millisecond
)

// Quick has correlation times that are short for a test, and long enough for a busy machine.
const Quick = "correlation: {untagged_push: 4s, pull: 4s, repeat: 1s}\n"

// Pause waits for longer than the repeat of Quick. The next read of a reference is then another
// pull.
func (s *Stage) Pause() { time.Sleep(1200 * time.Millisecond) }

// A Stage is bellbuoy in front of an upstream, with a receiver that gets every event in two
// formats. A test runs clients, and passes the events that they must cause to Expect, which waits
// for them and compares every byte in Harbor's format and every field in bellbuoy's own. Each
// operation has a repository of its own, so that an unexpected webhook can be traced to its cause.
// End waits for unexpected webhooks.
type Stage struct {
	*testing.T
	Hooks  *Receiver
	Buoy   *Buoy
	Direct string // the upstream's own URL, for requests that do not go through bellbuoy

	mu   sync.Mutex
	want map[string][]Event // by repository, in all
}

// Webhooks is the configuration of the two webhooks that every stage has.
func Webhooks(hooks *Receiver, more ...string) string {
	return fmt.Sprintf(`webhooks:
  - {name: harbor, url: %q, events: ["*"]}
  - {name: full, url: %q, events: ["*"], format: bellbuoy, manifest_reads: true}
`, hooks.URL("/harbor"), hooks.URL("/full")) + strings.Join(more, "")
}

// NewStage starts bellbuoy with upstreams and other settings; Quick and Webhooks are added.
func NewStage(t *testing.T, config string) *Stage {
	t.Helper()
	hooks := NewReceiver(t)
	return StageOn(t, hooks, Bellbuoy(t, config+Quick+Webhooks(hooks)))
}

// StageOn returns a stage of a bellbuoy that runs already, with Quick and Webhooks in its
// configuration.
func StageOn(t *testing.T, hooks *Receiver, b *Buoy) *Stage {
	return &Stage{T: t, Hooks: hooks, Buoy: b, want: map[string][]Event{}}
}

// RegistryUpstream returns the configuration of a registry. Each of more is a setting, with its
// comma.
func RegistryUpstream(url string, more ...string) string {
	return "upstreams: [{type: registry, url: " + url + strings.Join(more, "") + "}]\n"
}

// ChartUpstream returns the configuration of a ChartMuseum. Each of more is a setting, with its
// comma.
func ChartUpstream(url string, more ...string) string {
	return "upstreams: [{type: chartmuseum, name: charts, url: " + url + strings.Join(more, "") + "}]\n"
}

// Ref returns a reference of bellbuoy's host, as clients take it.
func (s *Stage) Ref(repository, reference string) string {
	if strings.Contains(reference, ":") {
		return s.Buoy.Host + "/" + repository + "@" + reference
	}
	return s.Buoy.Host + "/" + repository + ":" + reference
}

// An Event is an event that a test expects, or one that a webhook of the bellbuoy format has.
type Event struct {
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
	Chart      *Chart   `json:"chart"`
}

// A Chart is the chart of an Event.
type Chart struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Type       string `json:"type"`
	AppVersion string `json:"app_version"`
	Path       string `json:"-"` // where its archive is, if not where ChartMuseum has it; Harbor's body shows it
}

// inspection reports whether the event is only for webhooks with manifest_reads.
func (e Event) inspection() bool { return e.Moved != "" && e.Moved != "layers" }

// Expect adds events to the expectations of a repository, waits for them, and compares all of them.
func (s *Stage) Expect(repository string, events ...Event) {
	s.Helper()
	s.mu.Lock()
	s.want[repository] = append(s.want[repository], events...)
	want := s.want[repository]
	s.mu.Unlock()
	Eventually(Soon, func() bool {
		full, plain := s.Arrived(repository)
		return len(full) >= len(want) && len(plain) >= len(s.bodies(want))
	})
	if !s.compare(repository) {
		s.FailNow()
	}
}

// Still expects no further events of a repository. End checks that.
func (s *Stage) Still(repository string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want[repository] = append(s.want[repository], nil...)
}

// End waits for unexpected webhooks, and compares all webhooks with all expectations.
func (s *Stage) End() {
	s.Helper()
	time.Sleep(Strays)
	s.Compare("")
	if lost := s.Buoy.Metric("bellbuoy_events_lost_total"); lost != 0 {
		s.Errorf("bellbuoy says that it lost %v events", lost)
	}
	if n := s.Buoy.Metric("bellbuoy_panics_total"); n != 0 {
		s.Errorf("bellbuoy panicked %v times", n)
	}
}

// Compare compares the webhooks of a project with the expectations, and reports whether there are
// any expectations. "" stands for all projects.
func (s *Stage) Compare(project string) (expected bool) {
	s.Helper()
	within := func(repository string) bool {
		return project == "" || repository == project || strings.HasPrefix(repository, project+"/")
	}
	s.mu.Lock()
	repositories := slices.Collect(maps.Keys(s.want))
	s.mu.Unlock()
	repositories = slices.DeleteFunc(repositories, func(r string) bool { return !within(r) })
	if expected = len(repositories) > 0; !expected && project != "" {
		return false
	}
	for _, p := range s.Hooks.Posts("/full") {
		if r := p.Text("repository"); within(r) {
			repositories = append(repositories, r)
		}
	}
	slices.Sort(repositories)
	for _, repository := range slices.Compact(repositories) {
		s.compare(repository)
	}
	return expected
}

// compare compares the webhooks of a repository with the expectations, in both formats.
func (s *Stage) compare(repository string) (same bool) {
	s.Helper()
	same = true
	s.mu.Lock()
	want := slices.Clone(s.want[repository])
	s.mu.Unlock()
	full, plain := s.Arrived(repository)
	expected, got := sorted(want), sorted(full)
	for i := range min(len(expected), len(got)) {
		if slices.Equal(expected[i].Platforms, somePlatforms) {
			got[i].Platforms = somePlatforms
		}
	}
	if diff := gocmp.Diff(expected, got); diff != "" {
		s.Errorf("events of %s (-want +got):\n%s", repository, diff)
		same = false
	}
	if diff := gocmp.Diff(s.bodies(want), plain); diff != "" {
		s.Errorf("Harbor's bodies of %s (-want +got):\n%s", repository, diff)
		same = false
	}
	return same
}

// Arrived returns the webhooks of a repository, each webhook-id once: in bellbuoy's format and,
// sorted, in Harbor's.
func (s *Stage) Arrived(repository string) (full []Event, plain []string) {
	ids := map[string]bool{}
	for _, p := range s.Hooks.Posts("") {
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

func eventOf(t testing.TB, p Post) Event {
	var e Event
	if err := json.Unmarshal(p.Body, &e); err != nil {
		t.Errorf("the webhook is no JSON: %v: %s", err, p.Body)
	}
	slices.Sort(e.Tags)
	slices.Sort(e.Platforms)
	return e
}

// sorted sorts events, and removes the fields that bellbuoy's format does not have.
func sorted(events []Event) []Event {
	out := slices.Clone(events)
	for i, e := range out {
		if e.Chart != nil {
			c := *e.Chart
			c.Path, out[i].Chart = "", &c
		}
	}
	key := func(e Event) string { return fmt.Sprint(e.Type, e.Tags, e.TagAsked, e.Digest, e.Operator, e.Chart) }
	slices.SortStableFunc(out, func(a, b Event) int { return cmp.Compare(key(a), key(b)) })
	if len(out) == 0 {
		return nil
	}
	return out
}

var times = regexp.MustCompile(`"(occur_at|date_created)":\d{10}\b`)

// timeless replaces the times of a Harbor body.
func timeless(body string) string { return times.ReplaceAllString(body, `"$1":TIME`) }

// bodies returns Harbor's bodies of events: one for each tag, because Harbor's consumers read only
// the first resource.
func (s *Stage) bodies(events []Event) (all []string) {
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

func (s *Stage) body(e Event, tag string) string {
	url := s.Ref(e.Repository, cmp.Or(tag, e.Digest))
	return fmt.Sprintf(`{"type":%q,"occur_at":TIME,"operator":%q,"event_data":{"resources":[{"digest":%q,"tag":%q,"resource_url":%q}],`+
		`"repository":{"date_created":TIME,"name":%q,"namespace":%q,"repo_full_name":%q,"repo_type":"private"}}}`,
		e.Type, e.Operator, e.Digest, cmp.Or(tag, e.Digest), url, e.Name, e.Namespace, e.Repository)
}

func (s *Stage) chartBody(e Event) string {
	tenant := strings.TrimSuffix(strings.TrimSuffix(e.Repository, e.Name), "/")
	base := s.Buoy.ProxyURL
	if tenant != "library" {
		base += "/" + tenant
	}
	url := fmt.Sprintf("%s/charts/%s-%s.tgz", base, e.Chart.Name, e.Chart.Version)
	if e.Chart.Path != "" {
		url = s.Buoy.ProxyURL + e.Chart.Path
	}
	return fmt.Sprintf(`{"type":%q,"occur_at":TIME,"operator":%q,"event_data":{"resources":[{"tag":%q,"resource_url":%q}],`+
		`"repository":{"name":%q,"namespace":%q,"repo_full_name":%q,"repo_type":"private"}}}`,
		e.Type, e.Operator, e.Chart.Version, url, e.Name, e.Namespace, e.Repository)
}

// Adopt adds the expectations of another stage on the same bellbuoy.
func (s *Stage) Adopt(o *Stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for repository, events := range o.want {
		s.want[repository] = append(s.want[repository], events...)
	}
}
