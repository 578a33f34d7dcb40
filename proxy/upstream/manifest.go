package upstream

import (
	"context"
	_ "crypto/sha256" // digests name these
	_ "crypto/sha512"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

// acceptManifest names every kind of manifest: what is not named may be answered with 404, or turned into another.
const acceptManifest = "application/vnd.oci.image.index.v1+json, " +
	"application/vnd.docker.distribution.manifest.list.v2+json, " +
	"application/vnd.oci.image.manifest.v1+json, " +
	"application/vnd.docker.distribution.manifest.v2+json, " +
	"application/vnd.oci.artifact.manifest.v1+json, " +
	"application/vnd.docker.distribution.manifest.v1+prettyjws, */*"

// Manifest is what a repository holds under a tag or digest.
type Manifest struct {
	// Digest is the upstream's own, else that of the body. "" where there is neither.
	Digest    string
	MediaType string
	Size      int64  // of the manifest itself; 0 where the answer did not say
	Body      []byte // GET only
	// Mismatch: the digest that the upstream named is not the body's. (Schema 1, or a lie.)
	Mismatch bool
}

// Head asks what reference, a tag or a digest, stands on.
func (c *Client) Head(ctx context.Context, repository, reference string, as As) (Manifest, error) {
	resp, err := c.askManifest(ctx, http.MethodHead, repository, reference, as)
	if err != nil {
		return Manifest{}, err
	}
	defer resp.Body.Close()
	found := described(resp, reference)
	if resp.ContentLength > 0 && !packed(resp.Header) {
		found.Size = resp.ContentLength
	}
	return found, nil
}

// Manifest reads a manifest of at most 4 MiB. Of a longer one it returns ErrTooLarge and all but the body.
func (c *Client) Manifest(ctx context.Context, repository, reference string, as As) (Manifest, error) {
	resp, err := c.askManifest(ctx, http.MethodGet, repository, reference, as)
	if err != nil {
		return Manifest{}, err
	}
	defer resp.Body.Close()
	found := described(resp, reference)
	body, err := readAll(resp, maxManifest)
	if err != nil {
		if !packed(resp.Header) {
			found.Size = max(resp.ContentLength, 0)
		}
		return found, fmt.Errorf("reading manifest %s of %s: %w", reference, repository, err)
	}
	found.Body, found.Size = body, int64(len(body))
	found.identify()
	return found, nil
}

func (c *Client) askManifest(ctx context.Context, method, repository, reference string, as As) (*http.Response, error) {
	path, err := manifestPath(repository, reference)
	if err != nil {
		return nil, err
	}
	resp, err := c.ask(ctx, question{
		method: method, target: c.at(path, ""), accept: acceptManifest, scope: pullScope(repository), as: as,
	})
	if err != nil {
		return nil, err
	}
	if success(resp.StatusCode) {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, fmt.Errorf("asking for %s of %s: %w", reference, repository, refusal(resp, saysOCI))
}

func pullScope(repository string) string { return "repository:" + repository + ":pull" }

// described is what an answer's header says. A digest that was asked for by its name needs no header.
func described(resp *http.Response, reference string) Manifest {
	m := Manifest{MediaType: mediaType(resp.Header)}
	for _, candidate := range []string{resp.Header.Get("Docker-Content-Digest"), reference} {
		if digest.Digest(candidate).Validate() == nil {
			m.Digest = candidate
			break
		}
	}
	return m
}

// identify computes the digest of the body and compares it with the one that the upstream named.
func (m *Manifest) identify() {
	signed := strings.HasPrefix(m.MediaType, "application/vnd.docker.distribution.manifest.v1+")
	switch {
	case m.Digest != "":
		named := digest.Digest(m.Digest)
		m.Mismatch = !signed && named.Algorithm().FromBytes(m.Body) != named
	case !signed: // a signed schema 1 manifest is named by its payload, not by its bytes
		m.Digest = digest.FromBytes(m.Body).String()
	}
}

// headOrGet asks by HEAD, and by GET where the upstream knows no HEAD or gives it no digest.
func (c *Client) headOrGet(ctx context.Context, repository, reference string, as As) (Manifest, error) {
	found, err := c.Head(ctx, repository, reference, as)
	var status *StatusError
	unknown := errors.As(err, &status) && (status.Status == http.StatusMethodNotAllowed || status.Status == http.StatusNotImplemented)
	if unknown || err == nil && found.Digest == "" {
		return c.Manifest(ctx, repository, reference, as)
	}
	return found, err
}

const maxRepository = 1024

var tagPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// manifestPath refuses names that would lead to another path. Which names exist is the registry's affair.
func manifestPath(repository, reference string) (string, error) {
	if !validRepository(repository) || !tagPattern.MatchString(reference) && digest.Digest(reference).Validate() != nil {
		return "", fmt.Errorf("asking for a manifest: %w", ErrName)
	}
	return "/v2/" + repository + "/manifests/" + reference, nil
}

func validRepository(name string) bool {
	if name == "" || len(name) > maxRepository {
		return false
	}
	for segment := range strings.SplitSeq(name, "/") {
		if !validSegment(segment) {
			return false
		}
	}
	return true
}

// validSegment is a path segment that stays one.
func validSegment(s string) bool {
	if s == "" || s == "." || s == ".." {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' || r == '\\' }) < 0
}

// pageQuery is the query of a first page.
func pageQuery(last string) string {
	query := url.Values{"n": {pageSize}}
	if last != "" {
		query.Set("last", last)
	}
	return query.Encode()
}
