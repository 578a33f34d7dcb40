package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// plain is a client of its own kind: it compresses nothing, follows nothing, and gives each request a connection.
var plain = &http.Client{
	Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       2 * time.Minute,
}

// send sends one request and reads its whole answer. header is name, value, name, value …; Host sets the host.
func send(method, url string, body []byte, header ...string) (*http.Response, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "curl/8.0")
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := plain.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(content))
	return resp, err
}

func bodyOf(resp *http.Response) string {
	content, _ := io.ReadAll(resp.Body) // in memory
	resp.Body = io.NopCloser(bytes.NewReader(content))
	return string(content)
}

// must is a request that has to be answered with a status.
func must(t testing.TB, status int, method, url string, body []byte, header ...string) *http.Response {
	t.Helper()
	resp := request(t, method, url, body, header...)
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d\n%s", method, url, resp.Status, status, bodyOf(resp))
	}
	return resp
}

// putBlobs uploads all that an artifact needs before its manifest, in one request each.
func putBlobs(t testing.TB, base, repository string, a harness.Artifact, header ...string) {
	t.Helper()
	for _, child := range a.Children {
		putBlobs(t, base, repository, child, header...)
	}
	for _, d := range append(a.Layers[:len(a.Layers):len(a.Layers)], a.Config) {
		if d.Digest == "" {
			continue
		}
		start := must(t, http.StatusAccepted, http.MethodPost, base+"/v2/"+repository+"/blobs/uploads/", nil, header...)
		location := start.Header.Get("Location")
		if strings.HasPrefix(location, "/") {
			location = base + location
		}
		sep := "?"
		if strings.Contains(location, "?") {
			sep = "&"
		}
		must(t, http.StatusCreated, http.MethodPut, location+sep+"digest="+d.Digest.String(), a.Blob(d.Digest), header...)
	}
}

// putManifest puts an artifact's manifest whose blobs are there.
func putManifest(base, repository, reference string, a harness.Artifact, header ...string) (*http.Response, error) {
	url := fmt.Sprintf("%s/v2/%s/manifests/%s", base, repository, reference)
	return send(http.MethodPut, url, a.Manifest, append([]string{"Content-Type", a.MediaType}, header...)...)
}

// push is putBlobs and putManifest, as a careful client does it.
func push(t testing.TB, base, repository, reference string, a harness.Artifact, header ...string) {
	t.Helper()
	putBlobs(t, base, repository, a, header...)
	resp, err := putManifest(base, repository, reference, a, header...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("PUT of the manifest: %s\n%s", resp.Status, bodyOf(resp))
	}
}

// portOf is a free port as text.
func portOf(t testing.TB) string { return fmt.Sprint(harness.FreePort(t)) }
