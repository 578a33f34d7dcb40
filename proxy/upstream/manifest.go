package upstream

import (
	"context"
	_ "crypto/sha256" // algorithms of digests
	_ "crypto/sha512"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
)

// acceptManifest lists every media type of manifests. A registry may answer 404 for an unlisted
// one, or convert it.
const acceptManifest = "application/vnd.oci.image.index.v1+json, " +
	"application/vnd.docker.distribution.manifest.list.v2+json, " +
	"application/vnd.oci.image.manifest.v1+json, " +
	"application/vnd.docker.distribution.manifest.v2+json, " +
	"application/vnd.oci.artifact.manifest.v1+json, " +
	"application/vnd.docker.distribution.manifest.v1+prettyjws, */*"

// Manifest is the manifest of a tag or digest in a repository.
type Manifest struct {
	// Digest is the one in the upstream's header, else that of the body. "" if there is
	// neither.
	Digest    string
	MediaType string
	Size      int64  // of the manifest itself; 0 if the answer has none
	Body      []byte // GET only
	// Mismatch: the digest in the upstream's header is not that of the body.
	Mismatch bool
}

// Head looks up the digest, media type and size of reference, a tag or a digest.
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

// Manifest reads a manifest of at most 4 MiB. For a longer one it returns ErrTooLarge and
// everything but the body.
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
	resp, err := c.ask(ctx, request{
		method: method, target: c.at(path, ""), accept: acceptManifest, scope: pullScope(repository), as: as,
	})
	if err != nil {
		return nil, err
	}
	if success(resp.StatusCode) {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, fmt.Errorf("looking up %s of %s: %w", reference, repository, refusal(resp, saysOCI))
}

func pullScope(repository string) string { return "repository:" + repository + ":pull" }

// described returns the manifest that the header of a response describes. If the header has no
// digest and the reference is one, that is the digest.
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

// identify computes the digest of the body and compares it with that of the upstream's header.
func (m *Manifest) identify() {
	signed := strings.HasPrefix(m.MediaType, "application/vnd.docker.distribution.manifest.v1+")
	switch {
	case m.Digest != "":
		named := digest.Digest(m.Digest)
		m.Mismatch = !signed && named.Algorithm().FromBytes(m.Body) != named
	case !signed: // the digest of a signed schema 1 manifest is that of its payload, not of its bytes
		m.Digest = digest.FromBytes(m.Body).String()
	}
}

// headOrGet sends a HEAD, and a GET if the upstream does not support HEAD or answers it without a
// digest.
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

// maxTag is the most bytes of a tag.
const maxTag = 128

// manifestPath returns the path of a manifest, or ErrName for a name that would change the path. It
// does not check the rules of the registry for names.
func manifestPath(repository, reference string) (string, error) {
	if !validRepository(repository) || !validTag(reference) && digest.Digest(reference).Validate() != nil {
		return "", fmt.Errorf("looking up a manifest: %w", ErrName)
	}
	return "/v2/" + repository + "/manifests/" + reference, nil
}

// validTag reports whether a tag matches the specification's [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}. A
// regexp would take 100 KiB: it repeats its instructions 127 times.
func validTag(tag string) bool {
	for i := range len(tag) {
		c := tag[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case i > 0 && (c == '.' || c == '-'):
		default:
			return false
		}
	}
	return tag != "" && len(tag) <= maxTag
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

// validSegment reports whether s is safe as one segment of a path.
func validSegment(s string) bool {
	if s == "" || s == "." || s == ".." {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' || r == '\\' }) < 0
}

// pageQuery returns the query of the first page.
func pageQuery(last string) string {
	query := url.Values{"n": {pageSize}}
	if last != "" {
		query.Set("last", last)
	}
	return query.Encode()
}
