package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// ledger has rows in memory that several replicas share.
type ledger struct {
	detect.Ledger
	t     *testing.T
	rules Rules

	mu     sync.Mutex
	rows   map[detect.Key]detect.Row
	events []detect.Event
	down   bool
}

func newLedger(t *testing.T, rules ...Rule) *ledger {
	return &ledger{t: t, rules: rules, rows: map[detect.Key]detect.Row{}}
}

// Get implements detect.View.
func (l *ledger) Get(k detect.Key) (detect.Row, bool, error) {
	row, ok := l.rows[k]
	return row, ok, nil
}

// Scan implements detect.View.
func (l *ledger) Scan(kind detect.RowKind, prefix string, limit int) (found []detect.Row, err error) {
	for k, row := range l.rows {
		if k.Kind == kind && strings.HasPrefix(k.ID, prefix) {
			found = append(found, row)
		}
	}
	slices.SortFunc(found, func(a, b detect.Row) int { return strings.Compare(a.ID, b.ID) })
	return found[:min(limit, len(found))], nil
}

// View implements detect.Ledger.
func (l *ledger) View(_ context.Context, read func(detect.View) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return read(l)
}

// Due implements detect.Ledger.
func (l *ledger) Due(_ context.Context, kind detect.RowKind, now time.Time, limit int) (due []detect.Row, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, row := range l.rows {
		if k.Kind == kind && !row.Due.IsZero() && !row.Due.After(now) {
			due = append(due, row)
		}
	}
	return due[:min(limit, len(due))], nil
}

// CommitLater implements detect.Ledger.
func (l *ledger) CommitLater(_ context.Context, _ string, _ bool, decide func(detect.View) (detect.Changes, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return errors.New("down")
	}
	c, err := decide(l)
	if err != nil {
		l.t.Error(err)
		return err
	}
	more, err := l.rules.Derive(&c, l)
	if err != nil {
		l.t.Error(err)
	}
	for _, row := range slices.Concat(c.Put, more.Put) {
		l.rows[row.Key] = row
	}
	for _, k := range slices.Concat(c.Delete, more.Delete) {
		delete(l.rows, k)
	}
	l.events = append(l.events, c.Events...)
	return nil
}

func (l *ledger) push(client, repository string, tags ...string) {
	l.t.Helper()
	e := detect.Event{ID: "x", Type: detect.PushArtifact, At: time.Now(), Upstream: "up", Repository: repository, Tags: tags, Digest: "sha256:ab",
		Client: detect.Client{UserAgent: client}, External: detect.External{Scheme: "https", Host: "registry.example.com"}, Artifact: &detect.Artifact{Size: 100}}
	_ = l.CommitLater(l.t.Context(), "", false, func(detect.View) (detect.Changes, error) { return detect.Changes{Events: []detect.Event{e}}, nil })
}

// says returns the replications since its last call.
func (l *ledger) says() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, e := range l.events {
		if r := e.Replication; r != nil {
			line := fmt.Sprintf("%s %s %s of %s to %s, %d bytes:", r.Name, r.Status, r.Project, cmp(r.Source), cmp(r.Destination), r.Bytes)
			for _, a := range r.Succeeded {
				line += fmt.Sprintf(" %s%v", a.Repository, a.References)
			}
			for _, a := range r.Failed {
				line += fmt.Sprintf(" failed %s%v (%s)", a.Repository, a.References, a.Reason)
			}
			all = append(all, line)
		}
	}
	l.events = nil
	slices.Sort(all)
	return strings.Join(all, "; ")
}

func cmp(p detect.Endpoint) string {
	if p.URL == "" {
		return p.Name
	}
	return p.URL
}

func agent(name string) func(*detect.Client) bool {
	return func(c *detect.Client) bool { return c.UserAgent == name }
}

// start runs a Recorder until the test ends or the returned function is called.
func start(t *testing.T, l *ledger) (*Recorder, func()) {
	r := NewRecorder(l, nil)
	r.Configure(l.rules, func(string) string { return "private" }, 10*time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return r, stop
}

func operation(action detect.Action, client, repository, reference string, status int, body string) *detect.Operation {
	return &detect.Operation{Request: detect.Request{Action: action, Repository: repository, Reference: reference}, Upstream: "up", Kind: detect.Registry,
		At: time.Now(), Client: detect.Client{UserAgent: client}, External: detect.External{Scheme: "https", Host: "registry.example.com"}, Status: status, Got: detect.Body{Bytes: []byte(body)}}
}

var rules = []Rule{{Name: "dr", Matches: agent("regsync"), Quiet: 30 * time.Second}, {Name: "other", Matches: agent("skopeo"), Quiet: 5 * time.Second}}

func TestRunIsOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t, rules...)
		r, _ := start(t, l)
		l.push("regsync", "team/b/c", "v1")
		time.Sleep(20 * time.Second)
		l.push("regsync", "team/a", "v1", "v2")
		l.push("regsync", "team/a", "v1") // again: its bytes count once
		l.push("regsync", "mine/a")
		l.push("docker", "team/a", "v3")
		r.Pulled([]detect.Event{
			{Type: detect.PullArtifact, At: time.Now(), Upstream: "up", Repository: "team/a", Tags: []string{"v9"}, Moved: detect.MovedLayers, Client: detect.Client{UserAgent: "skopeo"}, External: detect.External{Scheme: "https", Host: "registry.example.com"}},
			{Type: detect.PullArtifact, At: time.Now(), Upstream: "up", Repository: "team/a", Tags: []string{"v8"}, Moved: detect.MovedManifest, Client: detect.Client{UserAgent: "skopeo"}},
		})
		time.Sleep(29 * time.Second)
		const pulled = "other Success team of https://registry.example.com to other, 0 bytes: a[v9]"
		if got := l.says(); got != pulled {
			t.Errorf("before the quiet time is over: %q, want %q", got, pulled)
		}
		time.Sleep(3 * time.Second)
		want := "dr Success mine of dr to https://registry.example.com, 100 bytes: a[sha256:ab]; " +
			"dr Success team of dr to https://registry.example.com, 200 bytes: a[v1 v2] b/c[v1]"
		if got := l.says(); got != want {
			t.Errorf("got\n%q, want\n%q", got, want)
		}
		time.Sleep(time.Hour)
		if got := l.says(); got != "" {
			t.Errorf("got more events: %q", got)
		}
		for k := range l.rows {
			if k.Kind != rowNumber {
				t.Errorf("row %q is left", k)
			}
		}
	})
}

func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t, rules...)
		r, _ := start(t, l)
		const denied = `{"errors":[{"code":"DENIED","message":"the tag is immutable"}]}`
		r.Put(operation(detect.ManifestPut, "regsync", "team/a", "v1", 412, denied), true)
		r.Put(operation(detect.ManifestPut, "regsync", "team/b", "v1", 500, ""), false)
		r.Put(operation(detect.ManifestPut, "regsync", "team/c", "v1", 404, ""), true)
		r.End(operation(detect.UploadEnd, "regsync", "team/c", "sha256:cd", 400, ""))
		r.End(operation(detect.UploadEnd, "regsync", "team/d", "sha256:cd", 403, denied))
		r.End(operation(detect.UploadStart, "regsync", "team/e", "", 401, ""))
		r.End(operation(detect.ManifestGet, "regsync", "team/f", "v1", 404, "")) // a read that is refused begins no run
		time.Sleep(time.Second)
		l.push("regsync", "team/c", "v1") // succeeds after all
		time.Sleep(33 * time.Second)
		want := "dr Error team of dr to dr, 100 bytes: c[v1] failed a[v1] (the tag is immutable) failed b[v1] (500 Internal Server Error) failed d[] (the tag is immutable)"
		if got := l.says(); strings.ReplaceAll(got, "https://registry.example.com", "dr") != want {
			t.Errorf("got\n%q, want\n%q", got, want)
		}
		r.Pulled([]detect.Event{{Type: detect.PullArtifact, At: time.Now(), Upstream: "up", Repository: "team/a", Tags: []string{"v9"}, Moved: detect.MovedLayers, Client: detect.Client{UserAgent: "regsync"}}})
		r.End(operation(detect.ManifestGet, "regsync", "team/f", "gone", 404, ""))
		time.Sleep(33 * time.Second)
		if got, want := l.says(), "dr Error team of https://registry.example.com to dr, 0 bytes: a[v9] failed f[gone] (404 Not Found)"; got != want {
			t.Errorf("got\n%q, want\n%q", got, want)
		}
	})
}

func TestRunContinuesWhileATransferIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t, rules...)
		r, _ := start(t, l)
		_, _ = start(t, l) // another replica
		l.push("regsync", "team/a", "v1")
		op := operation(detect.UploadEnd, "regsync", "team/b", "sha256:ab", 201, "")
		r.Begin(op)
		time.Sleep(10 * time.Minute)
		if got := l.says(); got != "" {
			t.Errorf("got an event while a blob is in flight: %q", got)
		}
		r.End(op)
		r.Put(operation(detect.ManifestPut, "regsync", "team/b", "sha256:"+strings.Repeat("a", 64), 201, ""), true)
		time.Sleep(38 * time.Second) // waits for its index or tag, then the quiet time passes
		if got := l.says(); got != "" {
			t.Errorf("got an event while a push by digest waits: %q", got)
		}
		time.Sleep(8 * time.Second)
		if got := l.says(); strings.Count(got, "dr Success") != 1 {
			t.Errorf("got the events %q", got)
		}
	})
}

func TestRunSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t, rules...)
		_, kill := start(t, l)
		l.push("regsync", "team/a", "v1")
		kill()
		l.push("regsync", "team/a", "v2")
		time.Sleep(time.Hour)
		l.down = true
		_, kill = start(t, l)
		time.Sleep(10 * time.Second)
		kill()
		if got := l.says(); got != "" {
			t.Errorf("got the events %q", got)
		}
		l.down = false
		l.rules = nil // the configuration has no replication any more
		_, _ = start(t, l)
		_, _ = start(t, l)
		time.Sleep(10 * time.Second)
		if got := l.says(); !strings.Contains(got, "a[v1 v2]") || strings.Count(got, "Success") != 1 {
			t.Errorf("got the events %q", got)
		}
	})
}

// A push whose outcome is known only after a restart belongs to its run, even if the run would have
// ended meanwhile.
func TestPushSettledAfterACrashBelongsToItsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t, rules...)
		l.push("regsync", "team/a", "v1")
		time.Sleep(time.Hour)
		_, _ = start(t, l)
		time.Sleep(3 * time.Second)
		l.push("regsync", "team/a", "v2")
		time.Sleep(time.Minute)
		if got := l.says(); !strings.Contains(got, "a[v1 v2]") || strings.Count(got, "Success") != 1 {
			t.Errorf("got the events %q", got)
		}
	})
}

func TestRunIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t, rules...)
		_, _ = start(t, l)
		for i := range 3 {
			var tags []string
			for j := range maxArtifacts / 2 {
				tags = append(tags, fmt.Sprintf("%d-%05d", i, j))
			}
			l.push("regsync", "team/a", tags...)
		}
		time.Sleep(time.Minute)
		l.mu.Lock()
		defer l.mu.Unlock()
		e := l.events[len(l.events)-1]
		if n, more := len(e.Replication.Succeeded[0].References), e.Replication.More; n != maxArtifacts || more != maxArtifacts/2 {
			t.Errorf("%d artifacts, %d more", n, more)
		}
	})
}

func TestMutes(t *testing.T) {
	all := Rules{{Name: "a", Matches: agent("a"), Mute: true}, {Name: "b", Matches: agent("b")}}
	for _, tt := range []struct {
		client string
		typ    detect.Type
		want   bool
	}{{"a", detect.PushArtifact, true}, {"b", detect.PushArtifact, false}, {"a", detect.DeleteArtifact, false}, {"c", detect.PushArtifact, false}} {
		if got := all.Mutes(&detect.Event{Type: tt.typ, Client: detect.Client{UserAgent: tt.client}}); got != tt.want {
			t.Errorf("%s by %s: %v", tt.typ, tt.client, got)
		}
	}
}
