package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

const (
	imageType = "application/vnd.oci.image.manifest.v1+json"
	indexType = "application/vnd.oci.image.index.v1+json"
)

func digest(n int) string { return fmt.Sprintf("sha256:%064x", n) }

func pushOf(n int, tags ...string) detect.Event {
	return detect.Event{
		ID: fmt.Sprint("push-", n), Type: detect.PushArtifact, At: time.Now(), Upstream: "registry", Repository: "team/app", Visibility: "private",
		External: detect.External{Scheme: "https", Host: "registry.example.com"}, Digest: digest(n), Tags: tags,
		Artifact: &detect.Artifact{Kind: detect.Image, MediaType: imageType, Size: 1000}, Client: detect.Client{Operator: "ann"},
	}
}

// rig is a Runner with one scanner.
type rig struct {
	ledger   *ledger
	scanner  *scanner
	registry registry
	runner   *Runner
	config   Config
	stop     func()
}

func clean(int, string) (*Report, error) {
	return ReadReport(strings.NewReader(`{"scanner":{"name":"S","vendor":"V","version":"1"}}`), "m")
}

func found(cves ...string) func(int, string) (*Report, error) {
	return func(int, string) (*Report, error) {
		body := `{"scanner":{"name":"S","vendor":"V","version":"1"},"vulnerabilities":[`
		for i, c := range cves {
			if i > 0 {
				body += ","
			}
			body += `{"id":"` + c + `","package":"p","version":"1","severity":"High"}`
		}
		return ReadReport(strings.NewReader(body+"]}"), "m")
	}
}

func newRig(t *testing.T, report func(int, string) (*Report, error)) *rig {
	g := &rig{ledger: newLedger(t), scanner: &scanner{report: report}, registry: registry{}}
	g.config = Config{
		Scanners: []Scanner{{
			Name: "s", Adapter: g.scanner, OnPush: true, Matches: func(string) bool { return true }, Timeout: 30 * time.Minute, Authorization: "Basic x",
		}},
		Upstreams: map[string]Upstream{"registry": {URL: "http://registry:5000", External: detect.External{Scheme: "https", Host: "registry.example.com"}}},
	}
	g.boot("replica")
	return g
}

// boot starts a new process with the same ledger.
func (g *rig) boot(replica string) {
	g.runner = New(Options{Ledger: g.ledger, Registry: g.registry, Replica: replica, Alone: true})
	g.runner.Configure(g.config)
}

func (g *rig) start(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = g.runner.Run(ctx) }()
	g.stop = func() { cancel(); <-done }
	t.Cleanup(cancel)
}

// only returns the event of a run, which must have one.
func (g *rig) only(t *testing.T) detect.Event {
	t.Helper()
	events := g.ledger.told()
	if len(events) != 1 {
		t.Fatalf("got %d events, want 1: %+v", len(events), events)
	}
	if n := g.ledger.jobs(); n != 0 {
		t.Fatalf("%d jobs are left", n)
	}
	return events[0]
}

func TestScanEndsInOneEvent(t *testing.T) {
	for name, tc := range map[string]struct {
		submit func(n int, q Request) error
		report func(n int, id string) (*Report, error)
		after  time.Duration // the scan must have ended by then
		typ    detect.Type
		reason string
		asked  int // number of submissions
	}{
		"a clean image": {report: clean, after: 5 * time.Second, typ: detect.ScanningCompleted, asked: 1},
		"not ready, without a time": {report: func(n int, id string) (*Report, error) {
			if n < 4 {
				return nil, &Pending{}
			}
			return clean(n, id)
		}, after: 20 * time.Second, typ: detect.ScanningCompleted, asked: 1},
		"not ready, and the scanner names a time": {report: func(n int, id string) (*Report, error) {
			if n < 2 {
				return nil, &Pending{After: 50 * time.Second}
			}
			return clean(n, id)
		}, after: 55 * time.Second, typ: detect.ScanningCompleted, asked: 1},
		"a report that is answered 500": {report: func(int, string) (*Report, error) { return nil, &Refusal{"the scanner answered 500: no\nimage"} },
			after: 5 * time.Second, typ: detect.ScanningFailed, reason: "the scanner answered 500: no image", asked: 1},
		"a refused scan": {submit: func(int, Request) error { return &Refusal{"no such capability"} }, report: clean,
			after: 5 * time.Second, typ: detect.ScanningFailed, reason: "no such capability", asked: 1},
		"lost once": {report: func(n int, id string) (*Report, error) {
			if strings.HasSuffix(id, "-1") {
				return nil, ErrLost
			}
			return clean(n, id)
		}, after: 10 * time.Second, typ: detect.ScanningCompleted, asked: 2},
		"down for an hour": {submit: func() func(int, Request) error {
			begun := time.Time{}
			return func(int, Request) error {
				if begun.IsZero() {
					begun = time.Now()
				}
				if time.Since(begun) < time.Hour {
					return errors.New("connection refused")
				}
				return nil
			}
		}(), report: clean, after: time.Hour + 3*time.Minute, typ: detect.ScanningCompleted, asked: -1},
		"not ready for ever": {report: func(int, string) (*Report, error) { return nil, &Pending{} },
			after: 31 * time.Minute, typ: detect.ScanningFailed, reason: "no report within 30m0s: the report is not ready", asked: 2},
		"never reached": {submit: func(int, Request) error { return errors.New("connection refused") }, report: clean,
			after: giveUp + 2*time.Minute, typ: detect.ScanningFailed, reason: "the scanner could not be asked for 24h0m0s: connection refused", asked: -1},
		"down after it took the scan": {report: func(int, string) (*Report, error) { return nil, errors.New("connection refused") },
			after: 33 * time.Minute, typ: detect.ScanningFailed, reason: "no report within 30m0s: connection refused", asked: -1},
		"lost, and submitted again in vain": {report: func(int, string) (*Report, error) { return nil, ErrLost },
			after: 31 * time.Minute, typ: detect.ScanningFailed, reason: "no report within 30m0s: the scanner does not know the scan", asked: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, tc.report)
				g.scanner.submit = tc.submit
				g.ledger.push(g.runner, pushOf(1, "v1"))
				g.start(t)
				time.Sleep(tc.after)
				synctest.Wait()
				g.stop()
				e := g.only(t)
				if e.Type != tc.typ || e.Scan.Reason != tc.reason || e.Digest != digest(1) || !slices.Equal(e.Tags, []string{"v1"}) || e.Client.Operator != "ann" {
					t.Errorf("got %s of %s %v: %q by %q", e.Type, e.Digest, e.Tags, e.Scan.Reason, e.Client.Operator)
				}
				if tc.asked >= 0 && len(g.scanner.asked) != tc.asked {
					t.Errorf("it was submitted %d times, want %d", len(g.scanner.asked), tc.asked)
				}
			})
		})
	}
}

func TestRequestToTheScanner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, clean)
		g.ledger.push(g.runner, pushOf(1, "v1"))
		g.start(t)
		time.Sleep(5 * time.Second)
		g.stop()
		want := Request{RegistryURL: "http://registry:5000", Authorization: "Basic x", Repository: "team/app", Tag: "v1", Digest: digest(1), MediaType: imageType}
		if got := g.scanner.asked; len(got) != 1 || got[0] != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// The process is killed at every commit of a scan, and started again. In the end there is one
// event.
func TestKilledScanEndsInOneEvent(t *testing.T) {
	for cut := range 12 {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t, func(n int, id string) (*Report, error) {
				if n < 2 {
					return nil, &Pending{}
				}
				return clean(n, id)
			})
			g.config.Scanners[0].Every = 24 * time.Hour
			g.runner.Configure(g.config)
			push := pushOf(1, "v1")
			push.Artifact = &detect.Artifact{Kind: detect.Index, MediaType: indexType, Children: []detect.Child{{Digest: digest(2), MediaType: imageType, Platform: "linux/amd64"}}}
			g.ledger.push(g.runner, push)
			g.ledger.cut = 1 + cut
			g.start(t)
			time.Sleep(time.Minute)
			g.stop()
			g.ledger.cut = -1
			g.boot("another")
			g.start(t)
			time.Sleep(5 * time.Minute)
			g.stop()
			if e := g.only(t); e.Type != detect.ScanningCompleted || e.Digest != digest(2) {
				t.Errorf("killed after %d commits: %+v", cut, e)
			}
		})
	}
}

func TestEachImageOfAnIndexIsScanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, clean)
		push := pushOf(1, "v1")
		push.Artifact = &detect.Artifact{Kind: detect.Index, MediaType: indexType, Children: []detect.Child{
			{Digest: digest(2), MediaType: imageType, Platform: "linux/amd64", Size: 22},
			{Digest: digest(3), MediaType: imageType, Platform: "linux/arm64"},
			{Digest: digest(4), MediaType: imageType, Platform: "unknown/unknown"},
			{Digest: digest(5), MediaType: imageType, ArtifactType: "application/spdx+json"},
		}}
		g.ledger.push(g.runner, push)
		g.start(t)
		time.Sleep(10 * time.Second)
		g.stop()
		var got []string
		for _, e := range g.ledger.told() {
			got = append(got, fmt.Sprint(e.Type, e.Digest[70:], e.Tags, e.Artifact.Platforms, e.Scan.IndexTags, e.Scan.Index[70:], e.Scan.Run))
		}
		slices.Sort(got)
		want := []string{"SCANNING_COMPLETED2[] [linux/amd64] [v1]1push-1", "SCANNING_COMPLETED3[] [linux/arm64] [v1]1push-1"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestOnlyImagesAreScanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, clean)
		for i, kind := range []detect.ArtifactKind{detect.HelmChart, detect.Signature, detect.Attestation, detect.SBOM, detect.Referrer, detect.OtherKind} {
			push := pushOf(i, "v1")
			push.Artifact = &detect.Artifact{Kind: kind, MediaType: imageType}
			g.ledger.push(g.runner, push)
		}
		pull := pushOf(10, "v1")
		pull.Type = detect.PullArtifact
		g.ledger.push(g.runner, pull)
		unread := pushOf(11, "v1") // no replica could read it: the registry finds that it is a chart
		unread.Artifact = nil
		g.registry[digest(11)] = detect.Found{Digest: digest(11), MediaType: imageType,
			Manifest: []byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"` + digest(7) + `","size":2},"layers":[]}`)}
		g.ledger.push(g.runner, unread)
		g.start(t)
		time.Sleep(10 * time.Second)
		g.stop()
		if n := len(g.scanner.asked); n != 0 || g.ledger.jobs() != 0 || len(g.ledger.told()) != 0 {
			t.Errorf("%d were submitted, %d jobs and %d events are left", n, g.ledger.jobs(), len(g.ledger.told()))
		}
	})
}

func TestFewScansRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, clean)
		for i := range 500 {
			g.ledger.push(g.runner, pushOf(i, "v1"))
		}
		g.start(t)
		time.Sleep(15 * time.Minute)
		g.stop()
		if n := len(g.ledger.told()); n != 500 || g.scanner.most > AtOnce {
			t.Errorf("%d events, at most %d at once", n, g.scanner.most)
		}
	})
}

func TestOneDigestIsScannedOnceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(n int, id string) (*Report, error) {
			if n < 4 {
				return nil, &Pending{}
			}
			return clean(n, id)
		})
		// Two replicas share the ledger.
		other := New(Options{Ledger: g.ledger, Registry: g.registry, Replica: "other"})
		other.Configure(g.config)
		g.runner = New(Options{Ledger: g.ledger, Registry: g.registry, Replica: "one"})
		g.runner.Configure(g.config)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		g.ledger.push(g.runner, pushOf(1, "v1"))
		go func() { _ = other.Run(ctx) }()
		g.start(t)
		time.Sleep(8 * time.Second)
		g.ledger.push(other, pushOf(1, "v2")) // during the scan
		time.Sleep(30 * time.Second)
		g.stop()
		if e := g.only(t); len(g.scanner.asked) != 1 || !slices.Equal(e.Tags, []string{"v1", "v2"}) {
			t.Errorf("submitted %d times, tags %q", len(g.scanner.asked), e.Tags)
		}
	})
}

func TestNewFindingsSinceTheLastScanOfATag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, found("CVE-1", "CVE-2"))
		g.start(t)
		scan := func(n int, tag string, report func(int, string) (*Report, error)) string {
			g.scanner.mu.Lock()
			g.scanner.report = report
			g.scanner.mu.Unlock()
			g.ledger.push(g.runner, pushOf(n, tag))
			time.Sleep(10 * time.Second)
			events := g.ledger.told()
			e := events[len(events)-1]
			var fresh []string
			for _, f := range e.Scan.Findings {
				if f.New {
					fresh = append(fresh, f.ID)
				}
			}
			return fmt.Sprint(e.Scan.New, fresh)
		}
		for i, step := range []struct {
			n      int
			tag    string
			report func(int, string) (*Report, error)
			want   string
		}{
			{1, "latest", found("CVE-1", "CVE-2"), "2 [CVE-1 CVE-2]"}, // there was no scan before
			{2, "latest", found("CVE-2", "CVE-3"), "1 [CVE-3]"},
			{2, "latest", found("CVE-2", "CVE-3"), "0 []"},
			{3, "v2", found("CVE-3"), "1 [CVE-3]"}, // another tag
			{4, "latest", clean, "0 []"},
			{5, "latest", found("CVE-2"), "1 [CVE-2]"}, // found again
		} {
			if got := scan(step.n, step.tag, step.report); got != step.want {
				t.Errorf("step %d: got %s, want %s", i, got, step.want)
			}
		}
		g.stop()
	})
}

func TestOnlyTaggedDigestsAreRescanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, clean)
		g.config.Scanners[0].Every = 24 * time.Hour
		g.runner.Configure(g.config)
		g.registry["kept"] = detect.Found{Digest: digest(1)}
		g.registry["moved"] = detect.Found{Digest: digest(9)}
		g.ledger.push(g.runner, pushOf(1, "kept"))
		g.ledger.push(g.runner, pushOf(2, "moved"))
		g.ledger.push(g.runner, pushOf(3, "gone"))
		g.ledger.push(g.runner, pushOf(4)) // never had a tag
		g.start(t)
		time.Sleep(time.Minute)
		if n := len(g.ledger.told()); n != 4 {
			t.Fatalf("%d events after the pushes", n)
		}
		time.Sleep(48*time.Hour + time.Minute)
		g.stop()
		again := g.ledger.told()[4:]
		if len(again) != 2 || again[0].Digest != digest(1) || again[1].Digest != digest(1) || again[0].Client.Operator != "" || again[0].Scan.Run == again[1].Scan.Run {
			t.Errorf("scanned again: %+v", again)
		}
	})
}

func TestScanByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, clean)
		g.config.Scanners[0].OnPush = false
		g.runner.Configure(g.config)
		manifest := []byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + digest(7) + `","size":2},"layers":[]}`)
		g.registry["v1"] = detect.Found{Digest: digest(1), MediaType: imageType, Manifest: manifest}
		g.ledger.push(g.runner, pushOf(5, "v5")) // starts no scan
		ctx := context.Background()
		first, err := g.runner.Start(ctx, "registry", "team/app", "v1")
		if err != nil {
			t.Fatal(err)
		}
		second, err := g.runner.Start(ctx, "registry", "team/app", "v1")
		if err != nil || second.Runs["s"] != first.Runs["s"] {
			t.Errorf("a scan that waits is started again: %v %v %v", first.Runs, second, err)
		}
		if _, err := g.runner.Start(ctx, "registry", "team/app", "v2"); !errors.Is(err, ErrAbsent) {
			t.Errorf("of an absent tag: %v", err)
		}
		if jobs, err := g.runner.Jobs(ctx, "registry", "team/app", 10); err != nil || len(jobs) != 1 || jobs[0].State != Waiting || jobs[0].Run != first.Runs["s"] {
			t.Errorf("got the jobs %+v, %v", jobs, err)
		}
		g.start(t)
		time.Sleep(10 * time.Second)
		g.stop()
		if e := g.only(t); e.Scan.Run != first.Runs["s"] || e.External.Host != "registry.example.com" || !slices.Equal(e.Tags, []string{"v1"}) {
			t.Errorf("got the event %+v", e)
		}
	})
}

func TestPullsOfTheScannerAreNoEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(n int, id string) (*Report, error) {
			if n < 3 {
				return nil, &Pending{}
			}
			return clean(n, id)
		})
		pull := func(n int, operator string, tags ...string) detect.Event {
			e := pushOf(n, tags...)
			e.Type, e.Client.Operator = detect.PullArtifact, operator
			return e
		}
		l := g.runner.Ledger(g.ledger)
		count := func(e detect.Event) int {
			before := len(g.ledger.told())
			l.Record(e)
			return len(g.ledger.told()) - before
		}
		if count(pull(1, "")) != 1 {
			t.Error("an anonymous pull before any scan is an event")
		}
		g.ledger.push(g.runner, pushOf(1, "v1"))
		time.Sleep(time.Minute)
		g.start(t)
		time.Sleep(5 * time.Second)
		for name, tc := range map[string]struct {
			pull detect.Event
			want int
		}{
			"by the digest that is scanned": {pull(1, ""), 0},
			"by its tag":                    {pull(1, "", "v1"), 1},
			"of another digest":             {pull(2, ""), 1},
			"by somebody":                   {pull(1, "bob"), 1},
		} {
			if got := count(tc.pull); got != tc.want {
				t.Errorf("an anonymous pull %s: %d events, want %d", name, got, tc.want)
			}
		}
		during := pull(1, "")
		time.Sleep(time.Minute)
		if count(pull(1, "")) != 1 || count(during) != 0 {
			t.Error("a pull is the scanner's if the scan was running when the pull was made")
		}
		g.config.Scanners[0].Operator = "scan"
		g.runner.Configure(g.config)
		if count(pull(7, "scan", "v7")) != 0 || count(pull(7, "bob", "v7")) != 1 {
			t.Error("only the operator of the registry credentials is the scanner")
		}
		g.stop()
	})
}
