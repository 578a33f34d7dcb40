package harness

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
)

const (
	scanRequestType = "application/vnd.scanner.adapter.scan.request+json; version=1.0"
	scanReportType  = "application/vnd.security.vulnerability.report; version=1.1"
)

// A ScanRequest is a request for a scan, as an adapter gets it.
type ScanRequest struct {
	Registry struct {
		URL           string `json:"url"`
		Authorization string `json:"authorization"`
	} `json:"registry"`
	Artifact struct {
		Repository string `json:"repository"`
		Tag        string `json:"tag"`
		Digest     string `json:"digest"`
		MediaType  string `json:"mime_type"`
	} `json:"artifact"`
	Capabilities []struct {
		Type     string   `json:"type"`
		Produces []string `json:"produces_mime_types"`
	} `json:"enabled_capabilities"`
}

// A ScannerServer is a scanner adapter in this process, written after the API's specification. It
// rejects requests that do not follow it, and answers wrongly if a test wants that. It pulls each
// image as scanners do, and reports the findings that were set with Findings.
type ScannerServer struct {
	t   T
	srv *httptest.Server
	URL string

	mu       sync.Mutex
	jobs     map[string]*scanJob
	next     int
	received []ScanRequest
	down     bool
	hung     chan struct{} // requests wait until it is closed; nil: no request waits
	hanging  int
	scan     func(ScanRequest) (findings string, err error)
	auth     [2]string // a header that it requires, and its value
	findings map[string]string
	reports  map[string]func(polls int, w http.ResponseWriter) bool // by repository
	points   map[string]*ScanPoint
}

type scanJob struct {
	request ScanRequest
	polls   int
	open    bool

	ended    chan struct{} // closed when scan has returned; nil: no real scanner runs
	findings string
	err      error
}

// A ScanPoint is a place where a scanner stops: it closes Reached, and continues when Go is closed.
type ScanPoint struct{ Reached, Go chan struct{} }

// Scanner starts a scanner adapter.
func Scanner(t T) *ScannerServer {
	t.Helper()
	s := newScanner(t)
	s.srv = httptest.NewServer(s)
	s.begin()
	return s
}

// ScannerTLS starts a scanner adapter behind TLS.
func ScannerTLS(t T, c *tls.Config) *ScannerServer {
	t.Helper()
	s := newScanner(t)
	s.srv = httptest.NewUnstartedServer(s)
	s.srv.TLS = c
	s.srv.StartTLS()
	s.begin()
	return s
}

func newScanner(t T) *ScannerServer {
	return &ScannerServer{
		t: t, jobs: map[string]*scanJob{}, findings: map[string]string{},
		reports: map[string]func(int, http.ResponseWriter) bool{}, points: map[string]*ScanPoint{},
	}
}

func (s *ScannerServer) begin() {
	s.URL = s.srv.URL
	s.t.Cleanup(s.srv.Close)
}

// Findings sets the findings of a repository's images: the entries of a JSON list.
func (s *ScannerServer) Findings(repository, findings string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.findings[repository] = findings
}

// Report lets f answer requests for the reports of a repository. If f returns false, the report is
// sent.
func (s *ScannerServer) Report(repository string, f func(polls int, w http.ResponseWriter) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports[repository] = f
}

// Insist makes the adapter require a header in every request.
func (s *ScannerServer) Insist(header, value string) { s.auth = [2]string{header, value} }

// Down makes the adapter cut every connection.
func (s *ScannerServer) Down(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// Hang makes the adapter answer nothing until the test ends.
func (s *ScannerServer) Hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	hung := make(chan struct{})
	s.hung = hung
	s.t.Cleanup(func() { close(hung) })
}

// Hanging returns how many requests wait for an answer now.
func (s *ScannerServer) Hanging() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hanging
}

// wait waits while the adapter hangs.
func (s *ScannerServer) wait(r *http.Request) {
	s.mu.Lock()
	hung := s.hung
	if hung != nil {
		s.hanging++
	}
	s.mu.Unlock()
	if hung == nil {
		return
	}
	select {
	case <-hung:
	case <-r.Context().Done():
	}
	s.mu.Lock()
	s.hanging--
	s.mu.Unlock()
}

// ScanWith makes the adapter scan with a real scanner. The error of scan is the reason of a failed
// scan.
func (s *ScannerServer) ScanWith(scan func(ScanRequest) (findings string, err error)) { s.scan = scan }

// Forget makes the adapter forget all scans, as after a restart.
func (s *ScannerServer) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs = map[string]*scanJob{}
}

// Stop makes the adapter stop once at a point: metadata (a request for its metadata), submit
// (before it answers), submitted (after it), report (before it answers with the report), reported
// (after it).
func (s *ScannerServer) Stop(point string) *ScanPoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &ScanPoint{make(chan struct{}), make(chan struct{})}
	s.points[point] = p
	return p
}

func (s *ScannerServer) at(point string) {
	s.mu.Lock()
	p := s.points[point]
	delete(s.points, point)
	s.mu.Unlock()
	if p != nil {
		close(p.Reached)
		<-p.Go
	}
}

// Requests returns the requests for scans so far.
func (s *ScannerServer) Requests() []ScanRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.received)
}

func (s *ScannerServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	s.wait(r)
	if down {
		panic(http.ErrAbortHandler)
	}
	if s.auth[0] != "" && r.Header.Get(s.auth[0]) != s.auth[1] {
		scanError(w, http.StatusUnauthorized, "who are you?")
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v1")
	id, report := strings.CutSuffix(strings.TrimPrefix(path, "/scan/"), "/report")
	switch {
	case !ok:
		http.NotFound(w, r)
	case r.Method == http.MethodGet && path == "/metadata":
		s.at("metadata")
		w.Header().Set("Content-Type", "application/vnd.scanner.adapter.metadata+json; version=1.0")
		fmt.Fprintf(w, `{"scanner":{"name":"Test","vendor":"bellbuoy","version":"1"},"capabilities":[{"type":"vulnerability",`+
			`"consumes_mime_types":["application/vnd.oci.image.manifest.v1+json"],"produces_mime_types":[%q]}]}`, scanReportType)
	case r.Method == http.MethodPost && path == "/scan":
		s.submit(w, r)
	case r.Method == http.MethodGet && report:
		s.report(w, r, id)
	default:
		http.NotFound(w, r)
	}
}

func scanError(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/vnd.scanner.adapter.error; version=1.0")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"message": message}})
}

func (s *ScannerServer) submit(w http.ResponseWriter, r *http.Request) {
	var q ScanRequest
	switch err := json.NewDecoder(r.Body).Decode(&q); {
	case err != nil || r.Header.Get("Content-Type") != scanRequestType:
		scanError(w, http.StatusBadRequest, "no scan request")
		return
	case len(q.Capabilities) != 1 || len(q.Capabilities[0].Produces) != 1 || q.Capabilities[0].Produces[0] != scanReportType:
		scanError(w, http.StatusBadRequest, "unsupported mime type")
		return
	case q.Artifact.Digest == "" || q.Artifact.Repository == "" || q.Registry.URL == "" || q.Artifact.MediaType == "":
		scanError(w, http.StatusUnprocessableEntity, "missing")
		return
	}
	s.at("submit")
	id := s.take(q)
	w.Header().Set("Content-Type", "application/vnd.scanner.adapter.scan.response+json; version=1.0")
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, "{\"id\":%q}\n", id)
	_ = http.NewResponseController(w).Flush()
	s.at("submitted")
}

// take makes a job. A second job for a digest is an error, unless the report of the first was never
// requested: bellbuoy may have been killed before it got the answer.
func (s *ScannerServer) take(q ScanRequest) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		if j.open && j.polls > 0 && j.request.Artifact.Digest == q.Artifact.Digest {
			s.t.Errorf("%s is to be scanned twice at once", q.Artifact.Digest)
		}
	}
	s.next++
	id := fmt.Sprintf("%024x", s.next)
	j := &scanJob{request: q, open: true}
	s.jobs[id] = j
	if s.scan != nil {
		j.ended = make(chan struct{})
		go func() {
			defer close(j.ended)
			j.findings, j.err = s.scan(q)
		}()
	}
	s.received = append(s.received, q)
	return id
}

func (s *ScannerServer) report(w http.ResponseWriter, r *http.Request, id string) {
	if accept := r.Header.Get("Accept"); accept != scanReportType {
		scanError(w, http.StatusUnsupportedMediaType, "unsupported mime type: "+accept)
		return
	}
	s.mu.Lock()
	j := s.jobs[id]
	if j == nil {
		s.mu.Unlock()
		scanError(w, http.StatusNotFound, "cannot find scan job: "+id)
		return
	}
	j.polls++
	polls, answer, findings := j.polls, s.reports[j.request.Artifact.Repository], s.findings[j.request.Artifact.Repository]
	s.mu.Unlock()
	if j.ended != nil {
		if !j.result(w, r) {
			return
		}
		findings = j.findings
	} else if polls == 1 {
		if err := j.request.pull(); err != nil {
			scanError(w, http.StatusInternalServerError, "pulling: "+err.Error())
			return
		}
	}
	if answer != nil && answer(polls, w) {
		return
	}
	s.at("report")
	s.mu.Lock()
	j.open = false
	s.mu.Unlock()
	w.Header().Set("Content-Type", scanReportType)
	fmt.Fprintf(w, `{"generated_at":"2026-01-02T03:04:05Z","artifact":{"repository":%q,"digest":%q},"scanner":{"name":"Test","vendor":"bellbuoy","version":"1"},"vulnerabilities":[%s]}`,
		j.request.Artifact.Repository, j.request.Artifact.Digest, findings)
	_ = http.NewResponseController(w).Flush()
	s.at("reported")
}

// result answers for a scan that runs or has failed. It reports whether there are findings instead.
func (j *scanJob) result(w http.ResponseWriter, r *http.Request) bool {
	select {
	case <-j.ended:
	default:
		w.Header().Set("Location", r.URL.Path)
		w.WriteHeader(http.StatusFound)
		return false
	}
	if j.err != nil {
		scanError(w, http.StatusInternalServerError, j.err.Error())
	}
	return j.err == nil
}

// pull reads an image as scanners do: GETs by digest of the manifest, the config and all layers.
func (q *ScanRequest) pull() error {
	var manifest struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	body, err := q.get("manifests/" + q.Artifact.Digest)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, &manifest); err != nil {
		return err
	}
	for _, d := range append(manifest.Layers, manifest.Config) {
		if _, err := q.get("blobs/" + d.Digest); err != nil {
			return err
		}
	}
	return nil
}

func (q *ScanRequest) get(what string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, q.Registry.URL+"/v2/"+q.Artifact.Repository+"/"+what, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", q.Artifact.MediaType)
	req.Header.Set("User-Agent", "trivy/v0.0.0")
	if q.Registry.Authorization != "" {
		req.Header.Set("Authorization", q.Registry.Authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", what, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
