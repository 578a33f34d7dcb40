package replay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An upstream answers as recorded. It answers bellbuoy's own look-ups from the state that the
// recording shows: the digest of each reference before the first write, and after each write.
type upstream struct {
	s     *Scenario
	turns *turns
	srv   *httptest.Server

	mu      sync.Mutex
	claimed []bool
	stands  map[string]string   // repository + reference → digest, "" for none
	bodies  map[string]manifest // by digest
	asked   []string            // bellbuoy's own look-ups
}

type manifest struct {
	mediaType string
	bytes     []byte
}

func newUpstream(s *Scenario, t *turns) *upstream {
	u := &upstream{s: s, turns: t, claimed: make([]bool, len(s.Lines)), stands: map[string]string{}, bodies: map[string]manifest{}}
	u.before()
	u.srv = httptest.NewServer(u)
	return u
}

// before derives the digest of each reference at the begin of the recording.
func (u *upstream) before() {
	touched := map[string]bool{}
	first := func(repository, reference, digest string) {
		if k := repository + "\n" + reference; !touched[k] {
			touched[k] = true
			u.stands[k] = digest
		}
	}
	for i := range u.s.Lines {
		l := &u.s.Lines[i]
		repository, reference, ok := manifestOf(l.Path)
		if !ok || l.Status >= 500 || l.Status == http.StatusUnauthorized || l.Status == http.StatusForbidden {
			continue
		}
		switch done := l.Status >= 200 && l.Status < 300; {
		case l.Method == http.MethodPut && done:
			touched[repository+"\n"+reference] = true
			touched[repository+"\n"+l.digest(l.sent())] = true
			u.keep(l.digest(l.sent()), l.ReqHeader, l.sent())
		case l.Method == http.MethodDelete && done:
			first(repository, reference, u.deleted(repository, reference))
		case l.Method == http.MethodGet && done:
			first(repository, reference, l.digest(l.got()))
			first(repository, l.digest(l.got()), l.digest(l.got()))
			u.keep(l.digest(l.got()), l.RespHeader, l.got())
		case l.Method == http.MethodHead && done:
			first(repository, reference, l.digest(nil))
			first(repository, l.digest(nil), l.digest(nil))
		case l.Status == http.StatusNotFound && l.Method != http.MethodPut:
			first(repository, reference, "")
		}
	}
	for _, w := range u.s.Want {
		for _, tag := range w.TagsLost {
			first(w.Repository, tag, w.Digest)
		}
	}
}

// deleted returns the digest that a delete removed; for a tag, the digest that the person wrote.
func (u *upstream) deleted(repository, reference string) string {
	if strings.Contains(reference, ":") {
		return reference
	}
	for _, w := range u.s.Want {
		if w.Type != "delete" || w.Repository != repository {
			continue
		}
		for _, tag := range w.Tags {
			if tag == reference {
				return w.Digest
			}
		}
	}
	return ""
}

func (u *upstream) keep(digest string, h http.Header, body []byte) {
	if len(body) > 0 {
		u.bodies[digest] = manifest{h.Get("Content-Type"), body}
	}
}

func (l *Line) digest(body []byte) string {
	if d := l.RespHeader.Get("Docker-Content-Digest"); d != "" {
		return d
	}
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// manifestOf reads the path of a manifest.
func manifestOf(path string) (repository, reference string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	i := strings.LastIndex(rest, "/manifests/")
	if !ok || i < 0 || strings.Contains(rest[i+len("/manifests/"):], "/") {
		return "", "", false
	}
	return rest[:i], rest[i+len("/manifests/"):], true
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if i, ok := u.claim(r); ok {
		u.answer(w, r, i)
		return
	}
	u.question(w, r)
}

// claim returns the line of a request. It returns each line once.
func (u *upstream) claim(r *http.Request) (int, bool) {
	i, err := strconv.Atoi(r.Header.Get(lineHeader))
	if err != nil || i < 0 || i >= len(u.s.Lines) || r.Method != u.s.Lines[i].Method {
		return 0, false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.claimed[i] {
		return 0, false
	}
	u.claimed[i] = true
	return i, true
}

// answer sends the recorded answer: its header and its body, each when its turn comes.
func (u *upstream) answer(w http.ResponseWriter, r *http.Request, i int) {
	l := &u.s.Lines[i]
	u.turns.done(i, started)
	ctx := context.WithoutCancel(r.Context())
	_, err := io.Copy(io.Discard, r.Body)
	if err != nil || u.turns.wait(ctx, i, answered) != nil || l.brokenUpstream() {
		panic(http.ErrAbortHandler) // there is no recorded answer, or it cannot be sent
	}
	u.happened(l)
	for name, values := range l.RespHeader {
		w.Header()[name] = values
	}
	body := l.got()
	w.WriteHeader(l.Status)
	if len(body) > 0 && l.TookMS-l.FirstMS > 1 {
		http.NewResponseController(w).Flush()
	}
	u.turns.done(i, answered)
	if len(body) == 0 {
		return
	}
	if err := u.turns.wait(ctx, i, ended); err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Write(body)
	if l.brokenDownload() {
		http.NewResponseController(w).Flush()
		if l.ClientGone {
			<-r.Context().Done() // the client disconnects first
		}
		panic(http.ErrAbortHandler)
	}
}

// happened applies a write to the state.
func (u *upstream) happened(l *Line) {
	repository, reference, ok := manifestOf(l.Path)
	if !ok || l.Status < 200 || l.Status > 299 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	k := repository + "\n"
	switch l.Method {
	case http.MethodPut:
		u.stands[k+reference], u.stands[k+l.digest(l.sent())] = l.digest(l.sent()), l.digest(l.sent())
	case http.MethodDelete:
		u.stands[k+reference] = ""
		for other, digest := range u.stands {
			if digest == reference && strings.HasPrefix(other, k) {
				u.stands[other] = ""
			}
		}
	}
}

// question answers bellbuoy's own look-ups.
func (u *upstream) question(w http.ResponseWriter, r *http.Request) {
	status := u.settle(w, r)
	u.mu.Lock()
	defer u.mu.Unlock()
	when := "before"
	if begin := u.turns.begun(); !begin.IsZero() {
		when = time.Since(begin).Round(time.Millisecond).String()
	}
	u.asked = append(u.asked, fmt.Sprintf("%s: %s %s: %d", when, r.Method, r.URL, status))
}

func (u *upstream) settle(w http.ResponseWriter, r *http.Request) int {
	if u.guarded() && r.Header.Get("Authorization") == "" {
		for name, values := range u.challenge() {
			w.Header()[name] = values
		}
		w.WriteHeader(http.StatusUnauthorized)
		return http.StatusUnauthorized
	}
	if r.URL.Path == "/v2/" {
		w.WriteHeader(http.StatusOK)
		return http.StatusOK
	}
	repository, reference, ok := manifestOf(r.URL.Path)
	u.mu.Lock()
	digest := u.stands[repository+"\n"+reference]
	m := u.bodies[digest]
	u.mu.Unlock()
	if !ok || digest == "" || r.Method != http.MethodHead && m.bytes == nil {
		body := `{"error":"no chart version found"}` // ChartMuseum's own text
		if strings.HasPrefix(r.URL.Path, "/v2/") {
			w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
			body = `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, body)
		return http.StatusNotFound
	}
	w.Header().Set("Docker-Content-Digest", digest)
	if m.bytes != nil {
		w.Header().Set("Content-Type", m.mediaType)
		w.Header().Set("Content-Length", strconv.Itoa(len(m.bytes)))
	}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		w.Write(m.bytes)
	}
	return http.StatusOK
}

// guarded reports whether the upstream requires a login.
func (u *upstream) guarded() bool { return !strings.HasPrefix(u.s.Auth, "anon") }

// challenge returns the header of the recorded 401.
func (u *upstream) challenge() http.Header {
	for i := range u.s.Lines {
		if c := u.s.Lines[i].RespHeader["Www-Authenticate"]; len(c) > 0 && u.s.Lines[i].Status == http.StatusUnauthorized {
			return http.Header{"Www-Authenticate": c}
		}
	}
	return http.Header{"Www-Authenticate": {`Basic realm="recorded"`}}
}
