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

// A Post is a webhook as it arrived.
type Post struct {
	Path   string
	Query  string
	Header http.Header
	Body   []byte
	At     time.Time
}

// ID is the webhook-id, by which duplicates are known.
func (p Post) ID() string { return p.Header.Get("webhook-id") }

// Field returns a value of the JSON body by its dotted path, e.g. "event_data.resources.0.tag"; nil
// where there is none.
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

// Text is Field as a string, "" where there is none.
func (p Post) Text(path string) string {
	if v := p.Field(path); v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

// A Receiver is a server that records every POST it gets, and answers 200 unless a test says
// otherwise.
type Receiver struct {
	t   T
	srv *httptest.Server

	mu      sync.Mutex
	posts   []Post
	each    func(w http.ResponseWriter, req *http.Request, p Post) // nil: posts are kept
	answers map[string]http.Handler                                // by path
	changed chan struct{}                                          // closed and replaced when a post arrives
	gone    chan struct{}                                          // closed when the test ends: whoever hangs, goes
}

// NewReceiver starts a receiver in this process.
func NewReceiver(t T) *Receiver {
	t.Helper()
	return ReceiverAt(t, "127.0.0.1:0")
}

// ReceiverAt starts a receiver at an address that was free until now: one that comes late.
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

// URL is where a path of the receiver is.
func (r *Receiver) URL(path string) string { return r.srv.URL + path }

// Answer lets h answer the posts to a path. They are recorded first; h finds the body unread. A nil
// h is 200 again.
func (r *Receiver) Answer(path string, h http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h == nil {
		delete(r.answers, path)
		return
	}
	r.answers[path] = h
}

// Each calls f for every post from now on, instead of keeping it: for runs whose posts do not fit
// into memory. f answers the post; the body of req has been read.
func (r *Receiver) Each(f func(w http.ResponseWriter, req *http.Request, p Post)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.each = f
}

// Statuses answers the posts to a path with these statuses in turn, and all later ones with the
// last.
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

// Hang never answers the posts to a path, until the client gives up or the test ends.
func (r *Receiver) Hang(path string) {
	r.Answer(path, func(_ http.ResponseWriter, req *http.Request) { r.Hold(req) })
}

// Hold returns when the client of a post gives up, or the test ends.
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
		return // it never arrived
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

// Posts returns what arrived so far, at one path or, for "", at all.
func (r *Receiver) Posts(path string) []Post {
	posts, _ := r.snapshot(path)
	return posts
}

// Clear forgets what arrived so far.
func (r *Receiver) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.posts = nil
}

// Wait waits for n posts in all and returns them. It fails the test when there are fewer in time,
// or already more.
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

// Quiet fails the test when a post arrives within d from now.
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

// fetch is a plain GET that has to succeed.
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
