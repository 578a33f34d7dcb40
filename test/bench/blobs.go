package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// A blob is a file of random bytes that is pushed and pulled.
type blob struct {
	path   string
	size   int64
	digest string
}

func newBlob(s *stage, size int64) blob {
	b := blob{path: filepath.Join(s.TempDir(), "blob"), size: size}
	f, err := os.Create(b.path)
	s.must(err)
	defer f.Close()
	hash := sha256.New()
	_, err = io.CopyN(io.MultiWriter(f, hash), rand.NewChaCha8([32]byte{1}), size)
	s.must(err)
	b.digest = "sha256:" + hex.EncodeToString(hash.Sum(nil))
	return b
}

// A protocol is the protocol between client and proxy.
type protocol uint8

const (
	plain protocol = iota
	tls1           // HTTP/1.1 over TLS
	tls2           // HTTP/2
)

func (p protocol) scheme() string {
	if p == plain {
		return "http://"
	}
	return "https://"
}

// newClient returns a client that shares no connections with other clients.
func newClient(p protocol) *http.Client {
	t := &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(p != tls2)
	t.Protocols.SetHTTP2(p == tls2)
	return &http.Client{Transport: t}
}

// transfers runs n transfers on several workers, and measures the time of each.
func transfers(ctx context.Context, workers, n int, p protocol, transfer func(ctx context.Context, c *http.Client) error) (result, error) {
	var (
		wg     sync.WaitGroup
		todo   = make(chan struct{}, n)
		took   = make(chan time.Duration, n)
		failed = make([]error, workers)
		start  = time.Now()
	)
	for range n {
		todo <- struct{}{}
	}
	close(todo)
	for i := range workers {
		wg.Go(func() {
			client := newClient(p)
			defer client.CloseIdleConnections()
			for range todo {
				began := time.Now()
				if err := transfer(ctx, client); err != nil {
					failed[i] = err
					return
				}
				took <- time.Since(began)
			}
		})
	}
	wg.Wait()
	r := result{took: time.Since(start), requests: int64(len(took))}
	close(took)
	for d := range took {
		r.latency = append(r.latency, d)
	}
	slices.Sort(r.latency)
	return r, errors.Join(failed...)
}

// discard hides the ReadFrom of io.Discard, which reads in pieces of 8 KiB.
type discard struct{ io.Writer }

// download reads a blob and checks its length.
func (b blob) download(ctx context.Context, c *http.Client, base, repository string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v2/"+repository+"/blobs/"+b.digest, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.CopyBuffer(discard{io.Discard}, resp.Body, make([]byte, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || n != b.size {
		return fmt.Errorf("downloading a blob: %s and %d of %d bytes", resp.Status, n, b.size)
	}
	return nil
}

// upload pushes the blob as containerd, BuildKit, oras and helm do: one POST, and one PUT of known
// length.
func (b blob) upload(ctx context.Context, c *http.Client, base, repository string) error {
	session, err := b.begin(ctx, c, base, repository)
	if err != nil {
		return err
	}
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = b.send(ctx, c, http.MethodPut, b.finishing(session), f, b.size, http.StatusCreated)
	return err
}

// uploadChunked pushes the blob as docker, podman and skopeo do, which compress it while they send
// it: one POST, one PATCH of unknown length, and a PUT without a body.
func (b blob) uploadChunked(ctx context.Context, c *http.Client, base, repository string) error {
	session, err := b.begin(ctx, c, base, repository)
	if err != nil {
		return err
	}
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	defer f.Close()
	const unknown = -1
	session, err = b.send(ctx, c, http.MethodPatch, session, f, unknown, http.StatusAccepted)
	if err != nil {
		return err
	}
	_, err = b.send(ctx, c, http.MethodPut, b.finishing(session), http.NoBody, 0, http.StatusCreated)
	return err
}

// begin opens an upload session and returns its URL.
func (b blob) begin(ctx context.Context, c *http.Client, base, repository string) (*url.URL, error) {
	start, err := url.Parse(base + "/v2/" + repository + "/blobs/uploads/")
	if err != nil {
		return nil, err
	}
	return b.send(ctx, c, http.MethodPost, start, http.NoBody, 0, http.StatusAccepted)
}

// finishing returns the URL that ends a session.
func (b blob) finishing(session *url.URL) *url.URL {
	end := *session
	query := end.Query()
	query.Set("digest", b.digest)
	end.RawQuery = query.Encode()
	return &end
}

// send sends one request of an upload and returns the next URL of the session.
func (b blob) send(ctx context.Context, c *http.Client, method string, to *url.URL, body io.Reader, length int64, status int) (*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, method, to.String(), body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = length
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != status {
		return nil, fmt.Errorf("%s %s: %s %s", method, to.Path, resp.Status, bytes.TrimSpace(said))
	}
	location, err := to.Parse(resp.Header.Get("Location"))
	if err != nil {
		return nil, err
	}
	if status == http.StatusAccepted && location.Host != to.Host {
		return nil, fmt.Errorf("the upload would go around the proxy: %s", location.Host)
	}
	return location, nil
}
