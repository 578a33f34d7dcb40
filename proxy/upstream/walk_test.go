package upstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// book records what a walk finds. It needs no lock, because a walk does not call it concurrently.
type book struct {
	found   map[string]Found
	cursors []string
	skipped []string
	fail    error
}

func newBook() *book { return &book{found: map[string]Found{}} }

func (b *book) Tag(_ context.Context, f Found) error {
	if b.fail != nil {
		return b.fail
	}
	b.found[f.Repository+":"+f.Tag] = f
	return nil
}

func (b *book) walk(change ...func(*Walk)) Walk {
	w := Walk{
		Sink:    b,
		Reached: func(_ context.Context, cursor string) error { b.cursors = append(b.cursors, cursor); return nil },
		Skipped: func(repository, tag string, err error) { b.skipped = append(b.skipped, repository+":"+tag) },
	}
	for _, f := range change {
		f(&w)
	}
	return w
}

func (b *book) cursor() string {
	if len(b.cursors) == 0 {
		return ""
	}
	return b.cursors[len(b.cursors)-1]
}

const image = `{"config":{"size":10,"digest":"sha256:a"},"layers":[{"size":100},{"size":1000}]}`

// shelf returns a registry of n repositories with two tags each.
func shelf(t *testing.T, n int) (*network, *registry) {
	world, r := newNetwork(t), newRegistry()
	world.hosts["registry.test:5000"], r.pageSize = r, 7
	for i := range n {
		for _, tag := range []string{"latest", "v1"} {
			r.put(fmt.Sprintf("team/r%03d", i), tag, image)
		}
	}
	return world, r
}

func TestWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := shelf(t, 30)
		child := r.put("team/multi", "", image)
		r.put("team/multi", "latest", fmt.Sprintf(`{"manifests":[{"digest":%q,"size":1},{"digest":%q,"size":1}]}`, child, child))
		r.put("team/multi", "partly", `{"manifests":[{"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}]}`)
		r.put("team/multi", "odd", `{"schemaVersion":1,"fsLayers":[]}`)
		b := newBook()
		var last Progress
		got, err := n.client().Walk(t.Context(), b.walk(func(w *Walk) {
			w.Children = true
			w.Progress = func(p Progress) {
				if p.Tags < last.Tags || p.RepositoriesDone > p.Repositories {
					t.Errorf("progress %+v after %+v", p, last)
				}
				last = p
			}
		}))
		if err != nil || got.Repositories != 31 || got.RepositoriesDone != 31 || got.Tags != 63 || got.Skipped != 0 || !got.Counted || last.Tags != 63 {
			t.Fatalf("got %+v, %v", got, err)
		}
		own := int64(len(image))
		sizes := map[string]int64{
			"team/r000:v1": own + 1110, "team/multi:partly": 0, "team/multi:odd": 0,
			"team/multi:latest": 2*(own+1110) + int64(len(b.found["team/multi:latest"].Body)),
		}
		for name, want := range sizes {
			if f := b.found[name]; f.Size != want || f.Digest == "" || f.MediaType == "" {
				t.Errorf("%s: %+v, want size %d", name, f, want)
			}
		}
		if string(b.found["team/r001:latest"].Body) != image || b.cursor() != "team/multi" {
			t.Errorf("body %q, cursor %q", b.found["team/r001:latest"].Body, b.cursor())
		}
	})
}

func TestWalkByHeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := shelf(t, 3)
		b := newBook()
		if _, err := n.client().Walk(t.Context(), b.walk(func(w *Walk) { w.Heads, w.Children = true, true })); err != nil {
			t.Fatal(err)
		}
		for _, request := range n.requests() {
			if strings.Contains(request, "/manifests/") && !strings.HasPrefix(request, "HEAD ") {
				t.Errorf("the client requested %s", request)
			}
		}
		f := b.found["team/r002:v1"]
		if len(b.found) != 6 || f.Digest == "" || f.Size != 0 || f.Body != nil {
			t.Errorf("got %d tags, and %+v", len(b.found), f)
		}
	})
}

func TestWalkKeepsToItsRateAndConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := shelf(t, 40)
		var open, most atomic.Int32
		r.before = func(http.ResponseWriter, *http.Request) bool {
			highest(&most, open.Add(1))
			defer open.Add(-1)
			time.Sleep(400 * time.Millisecond)
			return false
		}
		if _, err := n.client().Walk(t.Context(), newBook().walk(func(w *Walk) { w.Concurrency = 3 })); err != nil {
			t.Fatal(err)
		}
		if most.Load() != 3 {
			t.Errorf("%d requests at once", most.Load())
		}
		n.forget()
		r.before = nil
		began := time.Now()
		p, err := n.client().Walk(t.Context(), newBook().walk())
		if err != nil {
			t.Fatal(err)
		}
		asked := len(n.requests())
		if want := time.Duration(asked-defaultConcurrency) * time.Second / defaultRate; time.Since(began) < want || time.Since(began) > want+time.Second {
			t.Errorf("%d requests in %v", asked, time.Since(began))
		}
		if p.Rate < 5 || p.Rate > 20 || p.Elapsed != time.Since(began) {
			t.Errorf("got %+v", p)
		}
	})
}

func TestWalkWaitsForRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := shelf(t, 10)
		var until time.Time
		times, impatient := 0, 0
		r.before = func(w http.ResponseWriter, req *http.Request) bool {
			if time.Now().Before(until) {
				impatient++
			}
			if !strings.Contains(req.URL.Path, "r004/manifests") || times == 3 {
				return false
			}
			if times++; times == 1 {
				until = time.Now().Add(90 * time.Second)
				w.Header().Set("Retry-After", "90")
				refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS")
				return true
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		b := newBook()
		began := time.Now()
		// One at a time, because requests that are already in flight ignore the pause.
		if _, err := n.client().Walk(t.Context(), b.walk(func(w *Walk) { w.Concurrency = 1 })); err != nil {
			t.Fatal(err)
		}
		if len(b.found) != 20 || len(b.skipped) != 0 || impatient != 0 || time.Since(began) < 90*time.Second {
			t.Errorf("%d tags, %q skipped, %d requests during the pause, %v", len(b.found), b.skipped, impatient, time.Since(began))
		}
	})
}

func TestWalkSkipsUnreadableRepositories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := shelf(t, 6)
		r.before = func(w http.ResponseWriter, req *http.Request) bool {
			switch {
			case strings.Contains(req.URL.Path, "r001/tags"):
				refuse(w, 403, "DENIED")
			case strings.Contains(req.URL.Path, "r002/tags"):
				refuse(w, 404, "NAME_UNKNOWN")
			case strings.Contains(req.URL.Path, "r003/tags"):
				fmt.Fprint(w, "<html>")
			case strings.Contains(req.URL.Path, "r004/manifests/v1"):
				refuse(w, 404, "MANIFEST_UNKNOWN")
			case strings.Contains(req.URL.Path, "r005/manifests/v1"):
				w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("1", 64))
				w.Write(make([]byte, maxManifest+1))
			default:
				return false
			}
			return true
		}
		b := newBook()
		p, err := n.client().Walk(t.Context(), b.walk())
		slices.Sort(b.skipped)
		want := []string{"team/r001:", "team/r002:", "team/r003:", "team/r004:v1"}
		if err != nil || !slices.Equal(b.skipped, want) || p.Skipped != 4 || len(b.found) != 5 || p.RepositoriesDone != 6 {
			t.Errorf("skipped %q; got %+v, %v, found %v", b.skipped, p, err, slices.Sorted(maps.Keys(b.found)))
		}
		if f := b.found["team/r005:v1"]; f.Digest == "" || f.Body != nil || f.Size != 0 {
			t.Errorf("the manifest that is too large: got %+v", f)
		}
	})
}

// Whichever request fails, the book has everything up to the cursor, and a walk that continues
// there finds the rest.
func TestWalkResumes(t *testing.T) {
	for _, broken := range []int{0, 1, 5, 13, 29} {
		synctest.Test(t, func(t *testing.T) {
			n, r := shelf(t, 30)
			whole := maps.Clone(r.tags)
			down := true
			r.before = func(w http.ResponseWriter, req *http.Request) bool {
				if down && strings.Contains(req.URL.Path, fmt.Sprintf("r%03d/manifests/v1", broken)) {
					w.WriteHeader(http.StatusBadGateway)
					return true
				}
				return false
			}
			b := newBook()
			if _, err := n.client().Walk(t.Context(), b.walk()); err == nil || !strings.Contains(err.Error(), "502") {
				t.Fatalf("got the error %v", err)
			}
			for _, repository := range r.order[:slices.Index(r.order, b.cursor())+1] {
				for tag := range whole[repository] {
					if _, ok := b.found[repository+":"+tag]; !ok {
						t.Errorf("%s:%s is missing before the cursor %s", repository, tag, b.cursor())
					}
				}
			}
			if !slices.IsSorted(b.cursors) || b.cursor() >= fmt.Sprintf("team/r%03d", broken) {
				t.Errorf("got the cursors %q", b.cursors)
			}
			down = false
			n.forget()
			if _, err := n.client().Walk(t.Context(), b.walk(func(w *Walk) { w.Resume = b.cursor() })); err != nil {
				t.Fatal(err)
			}
			if len(b.found) != 60 {
				t.Errorf("%d tags in all", len(b.found))
			}
			if broken == 29 && len(n.requests()) > 60 {
				t.Errorf("%d requests to resume near the end", len(n.requests()))
			}
		})
	}
}

func TestWalkOfNamedRepositories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := shelf(t, 5)
		b := newBook()
		named := []string{"team/r003", "team/r001", "../x", "team/r002"}
		p, err := n.client().Walk(t.Context(), b.walk(func(w *Walk) { w.Repositories, w.Resume = named, "team/r003" }))
		if err != nil || len(b.found) != 4 || !slices.Equal(b.skipped, []string{"../x:"}) || p.Repositories != 3 {
			t.Errorf("got %+v, %v, %q", p, err, b.skipped)
		}
		for _, request := range n.requests() {
			if strings.Contains(request, "_catalog") {
				t.Errorf("the client requested %s", request)
			}
		}
	})
}

func TestWalkEnds(t *testing.T) {
	full := errors.New("disk full")
	for name, test := range map[string]struct {
		change func(*book, *Walk, *registry)
		want   error
	}{
		"sink":    {func(b *book, _ *Walk, _ *registry) { b.fail = full }, full},
		"cursor":  {func(_ *book, w *Walk, _ *registry) { w.Reached = func(context.Context, string) error { return full } }, full},
		"catalog": {func(_ *book, _ *Walk, r *registry) { r.before = always(403) }, ErrForbidden},
		"realm": {func(_ *book, w *Walk, r *registry) {
			w.Repositories = []string{"team/r000"}
			guarded(r, bearerTo("https://evil.test/token"), "Bearer tok")
		}, new(RealmError)},
	} {
		synctest.Test(t, func(t *testing.T) {
			n, r := shelf(t, 20)
			b := newBook()
			w := b.walk()
			test.change(b, &w, r)
			_, err := n.client(withLogin).Walk(t.Context(), w)
			var realm *RealmError
			if !errors.Is(err, test.want) && !(name == "realm" && errors.As(err, &realm)) {
				t.Errorf("%s: got %v", name, err)
			}
			if len(b.cursors) > 1 {
				t.Errorf("%s: got the cursors %q", name, b.cursors)
			}
		})
	}
}

func always(status int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(status)
		return true
	}
}

func TestWalkEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := shelf(t, 20)
		r.before = always(503)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := n.client().Walk(ctx, newBook().walk()); err == nil || time.Since(began) > 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestWalkEndsAfterManyFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := shelf(t, 20)
		r.before = always(503)
		began := time.Now()
		_, err := n.client().Walk(t.Context(), newBook().walk())
		if err == nil || time.Since(began) < 30*time.Second || time.Since(began) > 5*time.Minute || len(n.requests()) != attempts {
			t.Errorf("%v after %v and %d requests", err, time.Since(began), len(n.requests()))
		}
	})
}

// A walk does not retry if the first request has no answer: the cause is probably a wrong name or
// egress.
func TestWalkFailsFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if _, err := newNetwork(t).client().Walk(t.Context(), newBook().walk()); err == nil || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestWalkWithoutCatalog(t *testing.T) {
	for _, status := range []int{401, 403, 404, 405} {
		n, r := shelf(t, 2)
		r.before = func(w http.ResponseWriter, req *http.Request) bool {
			if req.URL.Path == "/v2/_catalog" {
				http.Error(w, "404 page not found", status)
				return true
			}
			return false
		}
		if _, err := n.client().Walk(t.Context(), newBook().walk()); !errors.Is(err, ErrNoCatalog) {
			t.Errorf("catalog answered %d: %v", status, err)
		}
		var whole []string
		_, err := n.client().Walk(t.Context(), newBook().walk(func(w *Walk) {
			w.Repositories = []string{"team/r000", "team/none", "team/r001"}
			w.Whole = func(_ context.Context, name string) error { whole = append(whole, name); return nil }
		}))
		slices.Sort(whole)
		if err != nil || fmt.Sprint(whole) != "[team/r000 team/r001]" {
			t.Errorf("named repositories: %v, whole %v", err, whole)
		}
	}
}

// The walk does not run far ahead of a repository that hangs, so that its memory stays bounded.
func TestWalkDoesNotRunFarAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := shelf(t, walkAhead+500)
		r.pageSize = 100
		release := make(chan struct{})
		r.before = func(_ http.ResponseWriter, req *http.Request) bool {
			if strings.Contains(req.URL.Path, "r000/tags") {
				<-release
			}
			return false
		}
		b := newBook()
		var last Progress
		done := make(chan error)
		go func() {
			_, err := n.client(func(o *Options) { o.Timeout = time.Hour }).Walk(t.Context(), b.walk(func(w *Walk) {
				w.Heads, w.Rate = true, 1000
				w.Progress = func(p Progress) { last = p }
			}))
			done <- err
		}()
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if last.RepositoriesDone != walkAhead-1 || len(b.cursors) != 0 {
			t.Errorf("%d repositories done while the first hangs; cursors %q", last.RepositoriesDone, b.cursors)
		}
		close(release)
		if err := <-done; err != nil || len(b.found) != 2*(walkAhead+500) {
			t.Errorf("%d tags, %v", len(b.found), err)
		}
	})
}
