package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Plain is a client that asks for no compression, follows no redirect, and uses a connection for
// each request.
var Plain = &http.Client{
	Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       2 * time.Minute,
}

// Send is SendBy with Plain.
func Send(method, url string, body []byte, header ...string) (*http.Response, error) {
	return SendBy(Plain, method, url, bytes.NewReader(body), append([]string{"User-Agent", "curl/8.0"}, header...)...)
}

// SendBy sends one request by a client and reads its whole answer. header is name, value, name,
// value …; Host sets the host.
func SendBy(c *http.Client, method, url string, body io.Reader, header ...string) (*http.Response, error) {
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		switch name, value := header[i], header[i+1]; name {
		case "Host":
			req.Host = value
		case "User-Agent":
			req.Header.Set(name, value)
		default:
			req.Header.Add(name, value)
		}
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(content))
	return resp, err
}

// BodyOf returns the body of an answer of Send.
func BodyOf(resp *http.Response) string {
	content, _ := io.ReadAll(resp.Body) // from memory, cannot fail
	resp.Body = io.NopCloser(bytes.NewReader(content))
	return string(content)
}

// Request is Send. It fails the test if there is no answer.
func Request(t testing.TB, method, url string, body []byte, header ...string) *http.Response {
	t.Helper()
	resp, err := Send(method, url, body, header...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return resp
}

// Must is Request. It fails the test if the answer has another status.
func Must(t testing.TB, status int, method, url string, body []byte, header ...string) *http.Response {
	t.Helper()
	resp := Request(t, method, url, body, header...)
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d\n%s", method, url, resp.Status, status, BodyOf(resp))
	}
	return resp
}

// PutBlobs uploads all blobs that the manifest of an artifact needs, in one request each.
func PutBlobs(t testing.TB, base, repository string, a Artifact, header ...string) {
	t.Helper()
	for _, child := range a.Children {
		PutBlobs(t, base, repository, child, header...)
	}
	for _, d := range append(a.Layers[:len(a.Layers):len(a.Layers)], a.Config) {
		if d.Digest == "" {
			continue
		}
		start := Must(t, http.StatusAccepted, http.MethodPost, base+"/v2/"+repository+"/blobs/uploads/", nil, header...)
		location := start.Header.Get("Location")
		if strings.HasPrefix(location, "/") {
			location = base + location
		}
		sep := "?"
		if strings.Contains(location, "?") {
			sep = "&"
		}
		Must(t, http.StatusCreated, http.MethodPut, location+sep+"digest="+d.Digest.String(), a.Blob(d.Digest), header...)
	}
}

// PutManifest puts the manifest of an artifact whose blobs were put before.
func PutManifest(base, repository, reference string, a Artifact, header ...string) (*http.Response, error) {
	url := fmt.Sprintf("%s/v2/%s/manifests/%s", base, repository, reference)
	return Send(http.MethodPut, url, a.Manifest, append([]string{"Content-Type", a.MediaType}, header...)...)
}

// Push is PutBlobs and PutManifest, which must be answered 201.
func Push(t testing.TB, base, repository, reference string, a Artifact, header ...string) {
	t.Helper()
	PutBlobs(t, base, repository, a, header...)
	resp, err := PutManifest(base, repository, reference, a, header...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("PUT of the manifest: %s\n%s", resp.Status, BodyOf(resp))
	}
}

// Form returns the body of a multipart form with one file.
func Form(t testing.TB, field, file string, content []byte) (body []byte, contentType string) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	part, err := w.CreateFormFile(field, file)
	if err != nil {
		t.Fatal(err)
	}
	part.Write(content) // to memory, cannot fail
	w.Close()
	return buf.Bytes(), w.FormDataContentType()
}

// WantOCIError fails the test unless an answer of bellbuoy is an error in the form of the OCI API.
func WantOCIError(t testing.TB, resp *http.Response, status int) {
	t.Helper()
	var body struct {
		Errors []struct{ Code, Message string } `json:"errors"`
	}
	err := json.Unmarshal([]byte(BodyOf(resp)), &body)
	if resp.StatusCode != status || err != nil || len(body.Errors) == 0 || body.Errors[0].Code == "" {
		t.Errorf("answered %s with %q (%v), want %d and an error in JSON", resp.Status, BodyOf(resp), err, status)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
}
