package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// A Post is one POST that a Receiver got.
type Post struct {
	Path   string
	Query  string
	Header http.Header
	Body   []byte
	At     time.Time
}

// ID returns the webhook-id. Duplicates have the same one.
func (p Post) ID() string { return p.Header.Get("webhook-id") }

// Field returns a value of the JSON body by its dotted path, e.g. "event_data.resources.0.tag"; nil
// if there is none.
func (p Post) Field(path string) any {
	var value any
	if json.Unmarshal(p.Body, &value) != nil {
		return nil
	}
	for step := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			var i int
			if _, err := fmt.Sscanf(step, "%d", &i); err != nil || i < 0 || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

// Text is Field as a string; "" if there is none.
func (p Post) Text(path string) string {
	if v := p.Field(path); v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

// A Receiver is a server that records every POST. It answers 200 unless a test sets another answer.
type Receiver struct {
	t   T
	srv *httptest.Server

	mu      sync.Mutex
	posts   []Post
	each    func(w http.ResponseWriter, req *http.Request, p Post) // nil: posts are kept
	answers map[string]http.Handler                                // by path
	changed chan struct{}                                          // closed and replaced when a post arrives
	gone    chan struct{}                                          // closed when the test ends: handlers that hang return
}

// NewReceiver starts a receiver in this process.
func NewReceiver(t T) *Receiver {
	t.Helper()
	return ReceiverAt(t, "127.0.0.1:0")
}

// ReceiverAt starts a receiver at an address, for tests whose receiver starts late.
func ReceiverAt(t T, address string) *Receiver {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("starting a receiver: %v", err)
	}
	r := &Receiver{t: t, answers: map[string]http.Handler{}, changed: make(chan struct{}), gone: make(chan struct{})}
	r.srv = &httptest.Server{Listener: l, Config: &http.Server{Handler: r}}
	r.srv.Start()
	t.Cleanup(func() {
		close(r.gone)
		r.srv.CloseClientConnections()
		r.srv.Close()
		if t.Failed() {
			t.Logf("---- webhooks received: %s", r.describe())
		}
	})
	return r
}

// URL returns the URL of a path of the receiver.
func (r *Receiver) URL(path string) string { return r.srv.URL + path }

// Answer lets h answer the posts to a path. They are recorded first, and h can still read the body.
// A nil h is 200 again.
func (r *Receiver) Answer(path string, h http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h == nil {
		delete(r.answers, path)
		return
	}
	r.answers[path] = h
}

// Each calls f for every later post instead of recording it, for runs whose posts do not fit into
// memory. f answers the post; the body of req has been read.
func (r *Receiver) Each(f func(w http.ResponseWriter, req *http.Request, p Post)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.each = f
}

// Statuses answers the posts to a path with these statuses in turn. The last one is for all later
// posts, too.
func (r *Receiver) Statuses(path string, statuses ...int) {
	var mu sync.Mutex
	r.Answer(path, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		status := statuses[0]
		if len(statuses) > 1 {
			statuses = statuses[1:]
		}
		mu.Unlock()
		w.WriteHeader(status)
	})
}

// Hang answers no post to a path until the client disconnects or the test ends.
func (r *Receiver) Hang(path string) {
	r.Answer(path, func(_ http.ResponseWriter, req *http.Request) { r.Hold(req) })
}

// Hold returns when the client of a post disconnects, or the test ends.
func (r *Receiver) Hold(req *http.Request) {
	select {
	case <-req.Context().Done():
	case <-r.gone:
	}
}

func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the body did not arrive
	}
	post := Post{Path: req.URL.Path, Query: req.URL.RawQuery, Header: req.Header.Clone(), Body: body, At: time.Now()}
	r.mu.Lock()
	if each := r.each; each != nil {
		r.mu.Unlock()
		each(w, req, post)
		return
	}
	r.posts = append(r.posts, post)
	close(r.changed)
	r.changed = make(chan struct{})
	answer := r.answers[post.Path]
	r.mu.Unlock()
	if answer != nil {
		req.Body = io.NopCloser(strings.NewReader(string(body)))
		answer.ServeHTTP(w, req)
	}
}

// Posts returns the posts so far, to one path or, for "", to all.
func (r *Receiver) Posts(path string) []Post {
	posts, _ := r.snapshot(path)
	return posts
}

// Clear removes the recorded posts.
func (r *Receiver) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.posts = nil
}

// Wait waits until there are n posts and returns them. It fails the test if there are fewer in
// time, or already more.
func (r *Receiver) Wait(n int, timeout time.Duration) []Post {
	r.t.Helper()
	return r.WaitAt("", n, timeout)
}

// WaitAt is Wait for the posts to one path.
func (r *Receiver) WaitAt(path string, n int, timeout time.Duration) []Post {
	r.t.Helper()
	deadline := time.After(timeout)
	for {
		posts, changed := r.snapshot(path)
		if len(posts) >= n {
			if len(posts) > n {
				r.t.Errorf("%d webhooks arrived, want %d", len(posts), n)
			}
			return posts
		}
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("%d webhooks arrived within %v, want %d", len(posts), timeout, n)
			return posts
		}
	}
}

// Quiet fails the test if a post arrives within d from now.
func (r *Receiver) Quiet(d time.Duration) {
	r.t.Helper()
	r.QuietAt("", d)
}

// QuietAt is Quiet for the posts to one path.
func (r *Receiver) QuietAt(path string, d time.Duration) {
	r.t.Helper()
	before, changed := r.snapshot(path)
	for over := time.After(d); ; {
		var now []Post
		select {
		case <-changed:
			now, changed = r.snapshot(path)
		case <-over:
			return
		}
		if len(now) > len(before) {
			for _, p := range now[len(before):] {
				r.t.Errorf("an unexpected webhook arrived at %s: %s", p.Path, p.Body)
			}
			return
		}
	}
}

func (r *Receiver) snapshot(path string) ([]Post, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var posts []Post
	for _, p := range r.posts {
		if path == "" || p.Path == path {
			posts = append(posts, p)
		}
	}
	return posts, r.changed
}

func (r *Receiver) describe() string {
	var b strings.Builder
	for _, p := range r.Posts("") {
		fmt.Fprintf(&b, "\n%s %s %s", p.At.Format("15:04:05.000"), p.Path, p.Body)
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}

// fetch returns the body of a GET that must succeed.
func fetch(t T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %v", url, resp.Status, err)
	}
	return body
}
