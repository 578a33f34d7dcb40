package events

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A caller is a client of the test itself, with its own connections, address and user agent.
type caller struct {
	t      *testing.T
	base   string // scheme://host:port of bellbuoy
	client *http.Client
	header http.Header
}

// call makes a caller with an address of this machine.
func call(t *testing.T, base, address, agent string) *caller {
	t.Helper()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: time.Minute}
	transport := &http.Transport{DialContext: d.DialContext, DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{t, base, &http.Client{Transport: transport, Timeout: 5 * time.Minute}, http.Header{"User-Agent": {agent}}}
}

// again returns the same client, on a connection of its own.
func (c *caller) again(address string) *caller {
	other := call(c.t, c.base, address, c.header.Get("User-Agent"))
	other.header = c.header.Clone()
	return other
}

// with returns the same client, with a further header.
func (c *caller) with(name, value string) *caller {
	other := *c
	other.header = c.header.Clone()
	other.header.Set(name, value)
	return &other
}

func (c *caller) do(method, path string, body []byte, more ...string) (int, []byte) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header = c.header.Clone()
	for i := 0; i+1 < len(more); i += 2 {
		req.Header.Set(more[i], more[i+1])
	}
	resp, err := c.client.Do(req)
	if err != nil {
		c.t.Errorf("sending %s %s: %v", method, path, err)
		return 0, nil
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Errorf("reading the answer of %s %s: %v", method, path, err)
	}
	return resp.StatusCode, got
}

const accepted = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"

func (c *caller) head(repository, reference string) {
	c.t.Helper()
	c.want(http.StatusOK, http.MethodHead, "/v2/"+repository+"/manifests/"+reference)
}

func (c *caller) get(repository, reference string) {
	c.t.Helper()
	c.want(http.StatusOK, http.MethodGet, "/v2/"+repository+"/manifests/"+reference)
}

func (c *caller) blob(repository, digest string) {
	c.t.Helper()
	c.want(http.StatusOK, http.MethodGet, "/v2/"+repository+"/blobs/"+digest)
}

func (c *caller) want(status int, method, path string) {
	c.t.Helper()
	if got, body := c.do(method, path, nil, "Accept", accepted); got != status {
		c.t.Errorf("%s %s: got %d %s, want %d", method, path, got, body, status)
	}
}

// pull reads an image as docker does: its tag by HEAD, its manifest by digest, its blobs.
func (c *caller) pull(repository, tag string, a harness.Artifact) {
	c.t.Helper()
	c.head(repository, tag)
	c.get(repository, string(a.Digest))
	for _, child := range a.Children {
		c.get(repository, string(child.Digest))
		c.blobs(repository, child)
	}
	c.blobs(repository, a)
}

func (c *caller) blobs(repository string, a harness.Artifact) {
	if len(a.Layers) == 0 {
		return
	}
	c.blob(repository, string(a.Config.Digest))
	for _, l := range a.Layers {
		c.blob(repository, string(l.Digest))
	}
}

// upload uploads the blobs of an artifact, and no manifest.
func (c *caller) upload(repository string, a harness.Artifact) {
	c.t.Helper()
	for _, d := range append(a.Layers, a.Config) {
		if d.Digest == "" {
			continue
		}
		if got, body := c.do(http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+string(d.Digest), a.Blob(d.Digest),
			"Content-Type", "application/octet-stream"); got == http.StatusCreated {
			continue
		} else if got != http.StatusAccepted {
			c.t.Errorf("uploading to %s: %d %s", repository, got, body)
		}
		c.session(repository, a.Blob(d.Digest), string(d.Digest))
	}
}

// session uploads a blob in several requests, for registries that refuse one request.
func (c *caller) session(repository string, blob []byte, digest string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.base+"/v2/"+repository+"/blobs/uploads/", http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header = c.header.Clone()
	resp, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	resp.Body.Close()
	at, err := resp.Location()
	if err != nil {
		c.t.Fatalf("no place to upload to (%s): %v", resp.Status, err)
	}
	query := at.Query()
	query.Set("digest", digest)
	at.RawQuery = query.Encode()
	if got, body := c.do(http.MethodPut, at.RequestURI(), blob, "Content-Type", "application/octet-stream"); got != http.StatusCreated {
		c.t.Errorf("uploading a blob: %d %s", got, body)
	}
}

// put puts a manifest.
func (c *caller) put(repository, reference string, a harness.Artifact) {
	c.t.Helper()
	if got, body := c.do(http.MethodPut, "/v2/"+repository+"/manifests/"+reference, a.Manifest, "Content-Type", a.MediaType); got != http.StatusCreated {
		c.t.Errorf("putting %s:%s: got %d %s", repository, reference, got, body)
	}
}

// push is upload and put; it pushes the children first.
func (c *caller) push(repository, tag string, a harness.Artifact) {
	c.t.Helper()
	for _, child := range a.Children {
		c.upload(repository, child)
		c.put(repository, string(child.Digest), child)
	}
	c.upload(repository, a)
	c.put(repository, tag, a)
}
