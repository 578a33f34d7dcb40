package upstream

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// network is a set of hosts in this process. It checks every request: credentials go only to the
// hosts in mayKnow and are never in a URL, and no request has a body or opens an upload session
// unless the test allows it.
type network struct {
	t       *testing.T
	hosts   map[string]http.Handler
	mayKnow map[string]bool
	secrets []string

	mu   sync.Mutex
	seen []string // method, host, request URI
}

func newNetwork(t *testing.T) *network {
	return &network{
		t: t, hosts: map[string]http.Handler{}, mayKnow: map[string]bool{"registry.test:5000": true}, secrets: []string{"s3cret"},
	}
}

func (n *network) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	handler, ok := n.hosts[req.URL.Host]
	if !ok {
		return nil, fmt.Errorf("dial %s: no such host", req.URL.Host)
	}
	n.note(req)
	server := req.Clone(req.Context())
	server.RequestURI = req.URL.RequestURI()
	if server.Body == nil {
		server.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, server)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	resp := recorder.Result()
	if req.Method == http.MethodHead {
		resp.Body = http.NoBody
	}
	return resp, nil
}

func (n *network) note(req *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, req.Method+" "+req.URL.Host+req.URL.RequestURI())
	if req.Header.Get("Authorization") != "" && !n.mayKnow[req.URL.Host] {
		n.t.Errorf("credentials sent to %s", req.URL.Host)
	}
	for _, secret := range n.secrets {
		if strings.Contains(req.URL.String(), secret) {
			n.t.Errorf("secret in URL %s", req.URL)
		}
	}
	if strings.Contains(req.URL.Path, "/blobs/uploads") && req.Method != http.MethodPut {
		n.t.Errorf("upload session: %s", req.URL)
	}
}

func (n *network) requests() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.seen...)
}

func (n *network) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = nil
}

func (n *network) client(change ...func(*Options)) *Client {
	o := Options{URL: &url.URL{Scheme: "http", Host: "registry.test:5000"}, Transport: n}
	for _, f := range change {
		f(&o)
	}
	return New(o)
}

func withLogin(o *Options) { o.Username, o.Password = "bell", "s3cret" }

// registry is a small registry: repositories of tags and manifests.
type registry struct {
	mu        sync.Mutex
	tags      map[string]map[string]string // repository, tag: digest
	manifests map[string][]byte            // digest: body
	order     []string                     // repositories
	pageSize  int
	bare      bool                                          // sends no Docker-Content-Digest and no API version header
	before    func(http.ResponseWriter, *http.Request) bool // reports whether it has answered
}

func newRegistry() *registry {
	return &registry{tags: map[string]map[string]string{}, manifests: map[string][]byte{}, pageSize: 100}
}

func (r *registry) put(repository, tag, body string) string {
	d := digest.FromString(body).String()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tags[repository] == nil {
		r.tags[repository] = map[string]string{}
		r.order = append(r.order, repository)
	}
	if tag != "" {
		r.tags[repository][tag] = d
	}
	r.manifests[repository+"@"+d] = []byte(body)
	return d
}

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if r.before != nil && r.before(w, req) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.bare {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	}
	path := strings.TrimPrefix(req.URL.Path, "/v2/")
	switch {
	case path == "":
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}")
	case path == "_catalog":
		r.page(w, req, "repositories", r.order)
	case strings.HasSuffix(path, "/tags/list"):
		r.listTags(w, req, strings.TrimSuffix(path, "/tags/list"))
	default:
		r.manifest(w, req, path)
	}
}

func (r *registry) listTags(w http.ResponseWriter, req *http.Request, repository string) {
	tags, ok := r.tags[repository]
	if !ok {
		notFound(w, "NAME_UNKNOWN")
		return
	}
	r.page(w, req, "tags", sortedKeys(tags))
}

func (r *registry) page(w http.ResponseWriter, req *http.Request, key string, names []string) {
	if last := req.URL.Query().Get("last"); last != "" {
		names = behind(names, last)
	}
	if len(names) > r.pageSize {
		names = names[:r.pageSize]
		next := url.Values{"n": {"100"}, "last": {names[len(names)-1]}}
		w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, req.URL.Path, next.Encode()))
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"name":"x",%q:[`, key)
	for i, name := range names {
		if i > 0 {
			io.WriteString(w, ",")
		}
		fmt.Fprintf(w, "%q", name)
	}
	io.WriteString(w, "]}")
}

func (r *registry) manifest(w http.ResponseWriter, req *http.Request, path string) {
	at := strings.LastIndex(path, "/manifests/")
	if at < 0 {
		notFound(w, "UNSUPPORTED")
		return
	}
	repository, reference := path[:at], path[at+len("/manifests/"):]
	d := reference
	if !strings.Contains(reference, ":") {
		d = r.tags[repository][reference]
	}
	body, ok := r.manifests[repository+"@"+d]
	if !ok {
		notFound(w, "MANIFEST_UNKNOWN")
		return
	}
	if !r.bare {
		w.Header().Set("Docker-Content-Digest", d)
	}
	w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.Write(body)
}

func notFound(w http.ResponseWriter, code string) { refuse(w, http.StatusNotFound, code) }

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"no"}]}`, code)
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func answering(status int, contentType, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.Copy(w, bytes.NewBufferString(body))
	})
}
