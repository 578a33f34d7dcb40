package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// plain is a format whose body is easy to read in tests.
type plain struct {
	perTag bool
	broken func(detect.Event) error
}

func (plain) Name() string   { return "plain" }
func (p plain) PerTag() bool { return p.perTag }
func (p plain) Render(e detect.Event, n int) (string, map[string]string, []byte, error) {
	if p.broken != nil {
		if err := p.broken(e); err != nil {
			return "", nil, nil, err
		}
	}
	tag := strings.Join(e.Tags, ",")
	if p.perTag && len(e.Tags) > 0 {
		tag = e.Tags[n]
	}
	return "text/plain", map[string]string{"X-Type": string(e.Type)}, fmt.Appendf(nil, "%s %s:%s %d", e.Type, e.Repository, tag, e.Seq), nil
}

func hookNamed(name string) Webhook {
	return Webhook{Name: name, Enabled: true, Format: plain{perTag: true}, Poster: &receiver{}}
}

func compiled(t testing.TB, hooks ...Webhook) *Set {
	t.Helper()
	s, err := Compile(true, hooks)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func push(repo string, tags ...string) detect.Event {
	return detect.Event{ID: nextID(), Type: detect.PushArtifact, At: time.Now(), Upstream: "registry", Repository: repo, Tags: tags,
		Digest: "sha256:1", Artifact: &detect.Artifact{Kind: detect.Image}, Client: detect.Client{Operator: "ci-bot", UserAgent: "crane/0.22"}}
}

func upload(tenant, name, version string) detect.Event {
	return detect.Event{ID: nextID(), Type: detect.UploadChart, At: time.Now(), Upstream: "charts", Repository: tenant,
		Chart: &detect.Chart{Name: name, Version: version}}
}

func with(e detect.Event, change func(*detect.Event)) detect.Event {
	change(&e)
	return e
}

// pushesOnly is a format that renders only pushes.
type pushesOnly struct{ plain }

func (pushesOnly) Says() []detect.Type { return []detect.Type{detect.PushArtifact} }

func TestFormatWithoutBodyForType(t *testing.T) {
	s := compiled(t, Webhook{Name: "w", Enabled: true, Format: pushesOnly{}, Poster: &receiver{}, Events: []string{"*"}})
	gone := with(push("team/app", "v1"), func(e *detect.Event) { e.Type = detect.DeleteArtifact })
	if v := s.Explain(gone)[0]; v.Fires || v.Because != "format" || len(s.Plan(&gone)) > 0 {
		t.Errorf("%+v", v)
	}
	e := push("team/app", "v1")
	if v := s.Explain(e)[0]; !v.Fires || len(s.Plan(&e)) != 1 {
		t.Errorf("%+v", v)
	}
}

func TestFilters(t *testing.T) {
	yes, no := true, false
	anonymous := with(push("team/app", "v1"), func(e *detect.Event) { e.Client.Operator = "" })
	untagged := push("team/app")
	same := with(push("team/app", "v1"), func(e *detect.Event) { e.Unchanged = true })
	inspect := with(push("team/app", "v1"), func(e *detect.Event) { e.Type, e.Moved = detect.PullArtifact, detect.MovedConfig })
	signature := with(push("team/app", "v1"), func(e *detect.Event) { e.Artifact = &detect.Artifact{Kind: detect.Signature} })
	tagGone := with(push("team/app", "v1"), func(e *detect.Event) { e.Type, e.Artifact = detect.DeleteTag, nil })
	scanned := with(push("team/app", "v1"), func(e *detect.Event) {
		e.Type, e.Scan = detect.ScanningCompleted, &detect.Scan{Severity: "High", New: 1, Summary: &detect.Summary{Total: 1}}
	})
	ofIndex := with(scanned, func(e *detect.Event) {
		e.Tags, e.Scan = nil, &detect.Scan{Severity: "Low", Index: "sha256:2", IndexTags: []string{"v1"}}
	})
	failedScan := with(push("team/app", "v1"), func(e *detect.Event) { e.Type, e.Scan = detect.ScanningFailed, &detect.Scan{Reason: "no"} })
	quota := detect.Event{ID: "q", Type: detect.QuotaWarning, Upstream: "registry"}
	tests := []struct {
		name    string
		hook    Webhook
		event   detect.Event
		because string
	}{
		{"defaults", Webhook{}, push("team/app", "v1"), ""},
		{"quiet type", Webhook{}, tagGone, "events"},
		{"quiet type named", Webhook{Events: []string{"DELETE_TAG"}}, tagGone, ""},
		{"another type named", Webhook{Events: []string{"DELETE_TAG"}}, push("a/b", "c"), "events"},
		{"all types", Webhook{Events: []string{"*"}}, tagGone, ""},
		{"manifest read", Webhook{Events: []string{"*"}}, inspect, "manifest_reads"},
		{"manifest read wanted", Webhook{Events: []string{"*"}, ManifestReads: true}, inspect, ""},
		{"upstream", Webhook{Match: Match{Upstreams: []string{"other"}}}, push("a/b", "c"), "match.upstreams"},
		{"project", Webhook{Match: Match{Projects: []string{"te*"}}}, push("team/app", "v1"), ""},
		{"project does not cross", Webhook{Match: Match{Projects: []string{"team/*"}}}, push("team/app", "v1"), "match.projects"},
		{"library", Webhook{Match: Match{Projects: []string{"library"}}}, push("nginx", "v1"), ""},
		{"library excluded", Webhook{Exclude: Match{Repositories: []string{"library/*"}}}, push("nginx", "v1"), "exclude.repositories"},
		{"star within a segment", Webhook{Match: Match{Repositories: []string{"team/*"}}}, push("team/a/b", "v1"), "match.repositories"},
		{"double star crosses", Webhook{Match: Match{Repositories: []string{"team/**"}}}, push("team/a/b", "v1"), ""},
		{"double star before", Webhook{Match: Match{Repositories: []string{"**/b"}}}, push("team/a/b", "v1"), ""},
		{"one of several", Webhook{Match: Match{Repositories: []string{"x", "team/app"}}}, push("team/app", "v1"), ""},
		{"chart without tenant", Webhook{Match: Match{Repositories: []string{"demo"}}}, upload("", "demo", "1.0.0"), ""},
		{"chart in library", Webhook{Match: Match{Repositories: []string{"library/demo"}, Projects: []string{"library"}}}, upload("", "demo", "1.0.0"), ""},
		{"chart of a tenant", Webhook{Match: Match{Repositories: []string{"org/repo/demo"}, Projects: []string{"org"}}}, upload("org/repo", "demo", "1.0.0"), ""},
		{"chart version as tag", Webhook{Match: Match{Tags: []string{"1.*"}}}, upload("", "demo", "1.0.0"), ""},
		{"chart kind", Webhook{Match: Match{Kinds: []string{"image"}}}, upload("", "demo", "1.0.0"), "match.kinds"},
		{"chart without a name", Webhook{Events: []string{"*"}}, with(upload("", "", ""), func(e *detect.Event) { e.Unnamed = true }), "unnamed"},
		{"tag", Webhook{Match: Match{Tags: []string{"v*"}}}, push("team/app", "latest"), "match.tags"},
		{"one tag of two", Webhook{Match: Match{Tags: []string{"v*"}}}, push("team/app", "latest", "v1"), ""},
		{"no tag", Webhook{Match: Match{Tags: []string{"v*"}}}, untagged, "match.tags"},
		{"no tag, any wanted", Webhook{Match: Match{Tags: []string{"*"}}}, untagged, "match.tags"},
		{"no tag to exclude", Webhook{Exclude: Match{Tags: []string{"*"}}}, untagged, ""},
		{"a deleted digest without a tag", Webhook{Match: Match{Tags: []string{"v*"}}},
			with(untagged, func(e *detect.Event) { e.Type = detect.DeleteArtifact }), "match.tags"},
		{"a scan without a tag", Webhook{Match: Match{Tags: []string{"v*"}}},
			with(untagged, func(e *detect.Event) { e.Type = detect.ScanningCompleted }), "match.tags"},
		{"tags do not constrain quotas", Webhook{Match: Match{Tags: []string{"v*"}, Semver: ">1", Kinds: []string{"image"}}}, quota, ""},
		{"version", Webhook{Match: Match{Semver: ">=1.2 <2"}}, push("a/b", "v1.4"), ""},
		{"version too high", Webhook{Match: Match{Semver: ">=1.2 <2"}}, push("a/b", "2.0.0"), "match.semver"},
		{"no version", Webhook{Match: Match{Semver: ">=1.2 <2"}}, push("a/b", "latest"), "match.semver"},
		{"no version: no tag", Webhook{Match: Match{Semver: ">=1.2 <2"}}, untagged, "match.semver"},
		{"one version of two tags", Webhook{Match: Match{Semver: ">=1.2 <2"}}, push("a/b", "latest", "1.2.0"), ""},
		{"chart's version", Webhook{Match: Match{Semver: "^1"}}, upload("", "demo", "1.7.0"), ""},
		{"chart's tag", Webhook{Match: Match{Semver: "^1"}}, push("a/b", "1.7.0_build.5"), ""},
		{"version excluded", Webhook{Exclude: Match{Semver: "<1"}}, push("a/b", "0.9.1"), "exclude.semver"},
		{"no version excluded", Webhook{Exclude: Match{Semver: "<1"}}, push("a/b", "latest"), ""},
		{"untagged", Webhook{Match: Match{Tagged: &yes}}, untagged, "match.tagged"},
		{"tagged excluded", Webhook{Exclude: Match{Tagged: &yes}}, push("a/b", "c"), "exclude.tagged"},
		{"tagged does not constrain quotas", Webhook{Match: Match{Tagged: &yes}}, quota, ""},
		{"operator", Webhook{Match: Match{Operators: []string{"ci-*"}}}, push("a/b", "c"), ""},
		{"anonymous matches no name", Webhook{Match: Match{Operators: []string{"ci-*"}}}, anonymous, "match.operators"},
		{"anonymous excluded", Webhook{Exclude: Match{Operators: []string{""}}}, anonymous, "exclude.operators"},
		{"no client did it", Webhook{Match: Match{Operators: []string{"ci-*"}}}, quota, ""},
		{"user agent", Webhook{Exclude: Match{UserAgents: []string{"crane/*"}}}, push("a/b", "c"), "exclude.user_agents"},
		{"kind", Webhook{Match: Match{Kinds: []string{"image", "index"}}}, signature, "match.kinds"},
		{"kind unknown", Webhook{Events: []string{"*"}, Match: Match{Kinds: []string{"image"}}}, tagGone, ""},
		{"unchanged", Webhook{Match: Match{Changed: &yes}}, same, "match.changed"},
		{"only unchanged", Webhook{Match: Match{Changed: &no}}, push("a/b", "c"), "match.changed"},
		{"changed does not constrain deletes", Webhook{Events: []string{"*"}, Match: Match{Changed: &no}}, tagGone, ""},
		{"severe enough", Webhook{Match: Match{MinSeverity: "High"}}, scanned, ""},
		{"not severe enough", Webhook{Match: Match{MinSeverity: "Critical"}}, scanned, "match.min_severity"},
		{"severe ones excluded", Webhook{Exclude: Match{MinSeverity: "Medium"}}, scanned, "exclude.min_severity"},
		{"a failed scan has no severity", Webhook{Match: Match{MinSeverity: "Critical", NewFindings: &yes}}, failedScan, ""},
		{"severity does not constrain pushes", Webhook{Match: Match{MinSeverity: "Critical", NewFindings: &yes}}, push("a/b", "c"), ""},
		{"new findings", Webhook{Match: Match{NewFindings: &yes}}, scanned, ""},
		{"no new findings", Webhook{Match: Match{NewFindings: &yes}}, ofIndex, "match.new_findings"},
		{"an image of an index has the index's tags", Webhook{Match: Match{Tags: []string{"v*"}, Semver: "^1"}}, ofIndex, ""},
		{"an image of an index has no other tags", Webhook{Match: Match{Tags: []string{"latest"}}}, ofIndex, "match.tags"},
		{"tag excluded", Webhook{Exclude: Match{Tags: []string{"latest"}}}, push("a/b", "latest"), "exclude.tags"},
		{"the first unmet key is reported", Webhook{Match: Match{Projects: []string{"x"}, Tags: []string{"y"}}}, push("a/b", "latest"), "match.projects"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			hook := test.hook
			hook.Name, hook.Enabled, hook.Format, hook.Poster = "w", true, plain{}, &receiver{}
			s := compiled(t, hook)
			verdict := s.Explain(test.event)[0]
			if verdict.Because != test.because || verdict.Fires != (test.because == "") {
				t.Errorf("got %+v, want because %q", verdict, test.because)
			}
			if planned := len(s.Plan(&test.event)); planned != verdict.POSTs {
				t.Errorf("planned %d, explained %d", planned, verdict.POSTs)
			}
		})
	}
}

func TestPlanPerTag(t *testing.T) {
	hook := hookNamed("w")
	hook.Match.Tags, hook.Exclude.Tags = []string{"v*"}, []string{"v2*"}
	whole := hook
	whole.Name, whole.Format = "whole", plain{}
	e := push("team/app", "latest", "v1", "v2", "v3")
	var got []string
	for _, d := range compiled(t, hook, whole).Plan(&e) {
		got = append(got, fmt.Sprintf("%s %d %s", d.Webhook, d.Number, d.TagKey))
	}
	want := []string{"w 2 registry team/app v1", "w 4 registry team/app v3", "whole 0 registry team/app v1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPullIsOnePost(t *testing.T) {
	hook := hookNamed("w")
	hook.Events = []string{"*"}
	e := with(push("team/app", "v1"), func(e *detect.Event) { e.Type, e.KnownTags = detect.PullArtifact, []string{"v1", "v2"} })
	if got := compiled(t, hook).Plan(&e); len(got) != 1 || got[0].Number != 0 {
		t.Errorf("got %+v, want one delivery of the whole event", got)
	}
}

func TestNothingPlanned(t *testing.T) {
	disabled := hookNamed("disabled")
	disabled.Enabled = false
	e := push("team/app", "v1")
	if got := compiled(t, disabled).Plan(&e); got != nil {
		t.Errorf("planned %v for a disabled webhook", got)
	}
	off, err := Compile(false, []Webhook{hookNamed("w")})
	if err != nil {
		t.Fatal(err)
	}
	if got := off.Plan(&e); got != nil {
		t.Errorf("planned %v although notifications are off", got)
	}
	if v := off.Explain(e)[0]; v.Fires || v.Because != "notifications.enabled" {
		t.Errorf("explained %+v", v)
	}
}

func TestCompileRefuses(t *testing.T) {
	for want, hooks := range map[string][]Webhook{
		`webhook "w": match.projects[1]: "[" is not a glob`: {withHook(hookNamed("w"), func(w *Webhook) { w.Match.Projects = []string{"a", "["} })},
		`webhook "w": exclude.tags[0]: "v[1" is not a glob`: {withHook(hookNamed("w"), func(w *Webhook) { w.Exclude.Tags = []string{"v[1"} })},
		`webhook "w": events[0]: there is no type "PUSH"`:   {withHook(hookNamed("w"), func(w *Webhook) { w.Events = []string{"PUSH"} })},
		`webhook "w": the name is taken`:                    {hookNamed("w"), hookNamed("w")},
		`webhook "w": has no format or no poster`:           {{Name: "w"}},
	} {
		if _, err := Compile(true, hooks); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func withHook(w Webhook, change func(*Webhook)) Webhook {
	change(&w)
	return w
}

// TestIndexAgreesWithFilters: the index finds exactly the webhooks whose filters match.
func TestIndexAgreesWithFilters(t *testing.T) {
	patterns := []string{"a", "a/b", "a/**", "**/b", "a*", "*b", "*", "**", "{a,c}/*", "a/*/c", "library/*", "?", "a/[bc]", `a\b`, "**/x/**"}
	texts := []string{"ci-*", "*-bot", "*", "", "crane*", "x", "v*1", "latest", "{v,late}*", "v?1", "[lv]*", "v{1,21}", `v\1`, "*[0-9]"}
	var hooks []Webhook
	add := func(m Match) {
		w := hookNamed(fmt.Sprint(len(hooks)))
		w.Events, w.Match = []string{"*"}, m
		hooks = append(hooks, w)
	}
	for _, p := range patterns {
		add(Match{Repositories: []string{p}})
		add(Match{Projects: []string{p}})
		add(Match{Repositories: []string{p, "zz"}, Projects: []string{"a", p}})
	}
	for _, x := range texts {
		add(Match{Operators: []string{x}})
		add(Match{Tags: []string{x, "never"}})
		add(Match{UserAgents: []string{x}})
		add(Match{Upstreams: []string{x, "charts"}})
	}
	s := compiled(t, hooks...)
	for _, repo := range []string{"", "a", "b", "a/b", "a/b/c", "c/b", "a/x/b", "library/a", "ab", "b/x"} {
		for _, e := range []detect.Event{push(repo, "latest"), push(repo, "v1", "v21"), push(repo), upload(repo, "b", "v1"),
			{Type: detect.QuotaWarning, Upstream: "registry"}, {Type: detect.Replication, Repository: repo}} {
			fires := map[string]bool{}
			for _, d := range s.Plan(&e) {
				fires[d.Webhook] = true
			}
			for _, v := range s.Explain(e) {
				if fires[v.Webhook] != v.Fires {
					t.Fatalf("webhook %+v: index says %v, filters say %v for %s %q %v", s.named[v.Webhook].Match, fires[v.Webhook], v.Fires, e.Type, e.Repository, e.Tags)
				}
			}
		}
	}
}

func TestMatchText(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"a*", "a", true}, {"a*", "abc", true}, {"*c", "abc", true}, {"a*c", "abc", true}, {"ab*bc", "abc", false}, {"*b*", "abc", true},
		{"*", "", true}, {"a?c", "abc", true}, {"a?c", "a/c", true}, {"v[0-9]*", "v1/2", true}, {"{v*,main}", "main", true}, {"{v*,main}", "mainx", false},
		{`a\*`, "a*", true}, {`a\*`, "ab", false}, {"[^v]*", "v1", false}, {"[!v]*", "x1", true}, {"a**c", "ac", true}, {"*a*b*", "xxbxa", false}, {"robot$*/x", "robot$p/x", true},
	} {
		if got := textGlob(test.pattern).match(test.text); got != test.want {
			t.Errorf("%q ~ %q: got %v", test.pattern, test.text, got)
		}
	}
}

func FuzzMatchText(f *testing.F) {
	f.Add("a*b", "ab")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		pattern = strings.Map(onlyStars, pattern)
		if got, want := textGlob(pattern).match(text), slowMatch(pattern, text); got != want {
			t.Errorf("%q ~ %q: got %v, want %v", pattern, text, got, want)
		}
	})
}

// onlyStars drops the special characters that slowMatch does not support.
func onlyStars(r rune) rune {
	if strings.ContainsRune(`?[{\`, r) {
		return -1
	}
	return r
}

// slowMatch follows the definition of matching. It is too slow for long texts.
func slowMatch(pattern, text string) bool {
	possible := map[int]bool{0: true}
	for i := range len(pattern) {
		next := map[int]bool{}
		for at := range possible {
			if pattern[i] == '*' {
				for to := at; to <= len(text); to++ {
					next[to] = true
				}
			} else if at < len(text) && text[at] == pattern[i] {
				next[at+1] = true
			}
		}
		possible = next
	}
	return possible[len(text)]
}

func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{10, 1000} {
		for name, match := range map[string]func(i int) Match{
			"projects": func(i int) Match { return Match{Projects: []string{fmt.Sprintf("team-%d", i)}} },
			"repositories": func(i int) Match {
				return Match{Repositories: []string{fmt.Sprintf("team-%d/**", i)}, Tags: []string{"v*"}}
			},
			"endings": func(i int) Match { return Match{Repositories: []string{fmt.Sprintf("**/app-%d", i)}} },
			"operators": func(i int) Match {
				return Match{Projects: []string{"*"}, Operators: []string{fmt.Sprintf("bot-%d", i)}}
			},
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				var hooks []Webhook
				for i := range n {
					w := hookNamed(fmt.Sprint(i))
					w.Match = match(i)
					hooks = append(hooks, w)
				}
				s := compiled(b, hooks...)
				e := push("team-7/sub/app-7", "v1")
				e.Client.Operator = "bot-7"
				b.ReportAllocs()
				for b.Loop() {
					if got := s.Plan(&e); len(got) != 1 {
						b.Fatalf("%d deliveries", len(got))
					}
				}
			})
		}
	}
}
