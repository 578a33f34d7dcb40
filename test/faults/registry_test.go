package faults

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/bellbuoy/bellbuoy/detect"
)

// A shelf is a registry and a ChartMuseum in memory. It requires no blobs.
type shelf struct {
	immutable bool // a push to an existing tag is answered 412

	mu        sync.Mutex
	manifests map[string][]byte            // repository@digest
	types     map[string]string            // repository@digest → media type
	tags      map[string]map[string]string // repository → tag → digest
	charts    map[string][]byte            // name/version
}

func newShelf() *shelf {
	return &shelf{manifests: map[string][]byte{}, types: map[string]string{}, tags: map[string]map[string]string{}, charts: map[string][]byte{}}
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the body did not arrive
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.URL.Path == "/v2/":
		registrySays(w, http.StatusOK, "")
	case strings.HasPrefix(r.URL.Path, "/v2/"):
		s.manifest(w, r, body)
	default:
		s.chart(w, r, body)
	}
}

func registrySays(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if code != "" {
		fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"no"}]}`, code)
	}
}

func (s *shelf) manifest(w http.ResponseWriter, r *http.Request, body []byte) {
	repository, reference, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
	if !ok {
		registrySays(w, http.StatusNotFound, "UNSUPPORTED")
		return
	}
	tags := s.tags[repository]
	if tags == nil {
		tags = map[string]string{}
		s.tags[repository] = tags
	}
	stands := reference
	if !strings.Contains(reference, ":") {
		stands = tags[reference]
	}
	key := repository + "@" + stands
	content, there := s.manifests[key]
	switch {
	case r.Method == http.MethodPut:
		s.putManifest(w, r, body, repository, reference)
	case !there:
		registrySays(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
	case r.Method == http.MethodDelete:
		s.deleteManifest(repository, reference)
		registrySays(w, http.StatusAccepted, "")
	default:
		w.Header().Set("Docker-Content-Digest", stands)
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		w.Header().Set("Content-Type", s.types[key])
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content)
	}
}

func (s *shelf) putManifest(w http.ResponseWriter, r *http.Request, body []byte, repository, reference string) {
	d := digest.FromBytes(body).String()
	tag := !strings.Contains(reference, ":")
	if tag && s.immutable && s.tags[repository][reference] != "" {
		registrySays(w, http.StatusPreconditionFailed, "DENIED")
		return
	}
	s.manifests[repository+"@"+d], s.types[repository+"@"+d] = body, r.Header.Get("Content-Type")
	if tag {
		s.tags[repository][reference] = d
	}
	w.Header().Set("Docker-Content-Digest", d)
	w.Header().Set("Location", "/v2/"+repository+"/manifests/"+d)
	registrySays(w, http.StatusCreated, "")
}

func (s *shelf) deleteManifest(repository, reference string) {
	if !strings.Contains(reference, ":") {
		delete(s.tags[repository], reference)
		return
	}
	delete(s.manifests, repository+"@"+reference)
	for tag, d := range s.tags[repository] {
		if d == reference {
			delete(s.tags[repository], tag)
		}
	}
}

func (s *shelf) chart(w http.ResponseWriter, r *http.Request, body []byte) {
	if r.Method == http.MethodPost && r.URL.Path == "/api/charts" {
		s.postChart(w, body)
		return
	}
	if file, ok := strings.CutPrefix(r.URL.Path, "/charts/"); ok && r.Method == http.MethodGet {
		for key, content := range s.charts {
			if strings.ReplaceAll(key, "/", "-")+".tgz" == file {
				w.Write(content)
				return
			}
		}
		museumSays(w, http.StatusNotFound, `{"error":"object not found"}`)
		return
	}
	key, ok := strings.CutPrefix(r.URL.Path, "/api/charts/")
	content, there := s.charts[key]
	switch name, version, _ := strings.Cut(key, "/"); {
	case !ok, r.Method == http.MethodHead:
		museumSays(w, http.StatusNotFound, `{"error":"not found"}`)
	case !there:
		museumSays(w, http.StatusNotFound, `{"error":"no chart version found"}`)
	case r.Method == http.MethodDelete:
		delete(s.charts, key)
		museumSays(w, http.StatusOK, `{"deleted":true}`)
	default:
		sum := sha256.Sum256(content)
		out, _ := json.Marshal(map[string]string{"name": name, "version": version, "digest": hex.EncodeToString(sum[:])})
		museumSays(w, http.StatusOK, string(out))
	}
}

func (s *shelf) postChart(w http.ResponseWriter, body []byte) {
	c, err := detect.ReadChart(strings.NewReader(string(body)))
	if err != nil {
		museumSays(w, http.StatusBadRequest, `{"error":"no chart"}`)
		return
	}
	key := c.Name + "/" + c.Version
	if _, there := s.charts[key]; there {
		museumSays(w, http.StatusConflict, `{"error":"`+c.Name+"-"+c.Version+`.tgz already exists"}`)
		return
	}
	s.charts[key] = body
	museumSays(w, http.StatusCreated, `{"saved":true}`)
}

func museumSays(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, body)
}
