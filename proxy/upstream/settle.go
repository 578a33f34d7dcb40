package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"
)

// Standing is the state of a tag or of a chart's version, compared with a digest.
type Standing int

const (
	// Unknown: the upstream gave no usable answer. It always comes with an error. Try again
	// later.
	Unknown Standing = iota
	// Absent: the upstream said in its own protocol that it does not exist.
	Absent
	// Same: it stands on the given digest.
	Same
	// Other: it exists and stands on another digest.
	Other
)

func (s Standing) String() string {
	return [...]string{"unknown", "absent", "same", "other"}[s]
}

// Stands looks up, with bellbuoy's own credentials, whether reference stands on digest. The
// reference may be a digest itself. If digest is "", everything that exists is Other.
//
// A 404 alone is not Absent, because a gateway without its registry answers 404, too. It must have
// an error code of the distribution specification or, after a HEAD, a registry's header. A 404 with
// neither (small registries send an empty one) counts if GET /v2/ then gets the answer of a
// registry and a second request a 404 again. A page of HTML never counts.
func (c *Client) Stands(ctx context.Context, repository, reference, digest string) (Standing, Manifest, error) {
	found, err := c.headOrGet(ctx, repository, reference, Own)
	if doubtful(err) {
		found, err = c.corroborate(ctx, repository, reference)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return Absent, Manifest{}, nil
	case err != nil:
		return Unknown, Manifest{}, err
	case found.Digest == "":
		return Unknown, found, fmt.Errorf("looking up %s of %s: %w", reference, repository, ErrNoDigest)
	case found.Digest == digest:
		return Same, found, nil
	case digest == "" || algorithm(digest) == algorithm(found.Digest):
		return Other, found, nil
	}
	return c.rehash(ctx, repository, reference, digest)
}

// Present reports whether a repository holds a digest. It uses bellbuoy's own credentials.
func (c *Client) Present(ctx context.Context, repository, digest string) (bool, error) {
	standing, _, err := c.Stands(ctx, repository, digest, "")
	return standing == Other, err
}

// rehash compares the hash of the body with wanted, for an upstream that uses another digest
// algorithm.
func (c *Client) rehash(ctx context.Context, repository, reference, wanted string) (Standing, Manifest, error) {
	found, err := c.Manifest(ctx, repository, reference, Own)
	if err != nil {
		return Unknown, found, err
	}
	d := digest.Digest(wanted)
	if d.Validate() == nil && d.Algorithm().FromBytes(found.Body) == d {
		return Same, found, nil
	}
	return Other, found, nil
}

// algorithm returns the algorithm of a digest, or "" if text is not a digest.
func algorithm(text string) string {
	d := digest.Digest(text)
	if d.Validate() != nil {
		return ""
	}
	return d.Algorithm().String()
}

// doubtful reports whether an error is a 404 that may come from a gateway instead of the registry.
func doubtful(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Status == http.StatusNotFound && !status.gone && !status.html && !denies(status.Code)
}

// corroborate repeats the look-up by GET, whose 404 has a body. If that is doubtful, too, it checks
// that a registry answers GET /v2/, and then repeats the look-up once more.
func (c *Client) corroborate(ctx context.Context, repository, reference string) (Manifest, error) {
	found, err := c.Manifest(ctx, repository, reference, Own)
	if !doubtful(err) {
		return found, err
	}
	if err := c.registryAnswers(ctx); err != nil {
		return Manifest{}, fmt.Errorf("a 404 that may be a gateway's: %w", err)
	}
	found, err = c.Manifest(ctx, repository, reference, Own)
	if doubtful(err) {
		return Manifest{}, fmt.Errorf("looking up %s of %s: %w", reference, repository, ErrNotFound)
	}
	return found, err
}

// registryAnswers returns nil if GET /v2/ gets the answer of a registry: a 2xx or a challenge, and
// no page of HTML.
func (c *Client) registryAnswers(ctx context.Context) error {
	resp, err := c.ask(ctx, request{method: http.MethodGet, target: c.at("/v2/", ""), as: Own})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	challenged := resp.StatusCode == http.StatusUnauthorized && resp.Header.Get("Www-Authenticate") != ""
	if (challenged || success(resp.StatusCode)) && mediaType(resp.Header) != "text/html" {
		return nil
	}
	return refusal(resp, saysOCI)
}

// ChartStands looks up, with bellbuoy's own credentials, whether a chart's version exists and has
// the given digest. If digest is "", everything that exists is Other.
//
// ChartMuseum's index may be out of date (--cache-interval), and ChartMuseum answers "not found"
// for a file whenever its storage fails. So the file decides whether a version exists, and a
// version is Absent only if both the index and the file say so.
func (c *Client) ChartStands(ctx context.Context, tenant, name, version, digest string) (Standing, error) {
	indexed, indexErr := c.chartInfo(ctx, tenant, name, version, Own)
	if noChartAPI(indexErr) {
		return c.archiveStands(ctx, tenant, name, version, digest, indexErr)
	}
	if indexErr != nil && !errors.Is(indexErr, ErrNotFound) {
		return Unknown, indexErr
	}
	sure := indexErr == nil && indexed.Digest == digest && digest != ""
	file, err := c.chartFile(ctx, tenant, chartFileName(name, version), Own, sure || digest == "")
	switch {
	case errors.Is(err, ErrNotFound) && indexErr != nil:
		return Absent, nil
	case errors.Is(err, ErrNotFound):
		return Unknown, fmt.Errorf("looking up chart %s %s: it is in the index, but its file was not found", name, version)
	case err != nil:
		return Unknown, err
	case sure && file.digest == "" || digest != "" && file.digest == digest:
		return Same, nil
	}
	return Other, nil
}

// archiveStands is ChartStands at a repository without ChartMuseum's API. There a chart is never
// Absent: nothing says so reliably. noAPI is the error of the API.
func (c *Client) archiveStands(ctx context.Context, tenant, name, version, digest string, noAPI error) (Standing, error) {
	found, ok := c.besideIndex(ctx, tenant, name, version, Own)
	switch {
	case !ok:
		return Unknown, noAPI
	case digest != "" && found.Digest == digest:
		return Same, nil
	}
	return Other, nil
}
