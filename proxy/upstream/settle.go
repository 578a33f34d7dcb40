package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"
)

// Standing is what a tag or a chart's version stands on, compared with a digest.
type Standing int

const (
	// Unknown: the upstream did not say. It always comes with an error; ask again later.
	Unknown Standing = iota
	// Absent: it is not there, in the upstream's own words.
	Absent
	// Same: it stands on the digest asked about.
	Same
	// Other: it is there and stands on something else.
	Other
)

func (s Standing) String() string {
	return [...]string{"unknown", "absent", "same", "other"}[s]
}

// Stands asks with bellbuoy's own credentials whether reference stands on a digest; a digest given as reference is
// asked for by itself. Where digest is "" whatever is there is Other.
//
// Absent is more than a 404: a gateway that has lost its registry answers 404, too. What is believed is an error code
// of the distribution specification, or a HEAD's 404 with a registry's header. A 404 with neither (small registries
// send an empty one) is believed when GET /v2/ is then answered as by a registry and the question once more with 404.
// A page of HTML is never believed.
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
		return Unknown, found, fmt.Errorf("asking for %s of %s: %w", reference, repository, ErrNoDigest)
	case found.Digest == digest:
		return Same, found, nil
	case digest == "" || algorithm(digest) == algorithm(found.Digest):
		return Other, found, nil
	}
	return c.rehash(ctx, repository, reference, digest)
}

// Present asks with bellbuoy's own credentials whether a repository holds a digest.
func (c *Client) Present(ctx context.Context, repository, digest string) (bool, error) {
	standing, _, err := c.Stands(ctx, repository, digest, "")
	return standing == Other, err
}

// rehash compares by the body where the upstream names it by another algorithm than ours.
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

// algorithm is a digest's; "" of what is none.
func algorithm(text string) string {
	d := digest.Digest(text)
	if d.Validate() != nil {
		return ""
	}
	return d.Algorithm().String()
}

// doubtful is a 404 that nobody has vouched for yet.
func doubtful(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Status == http.StatusNotFound && !status.gone && !status.html && !denies(status.Code)
}

// corroborate asks by GET, whose 404 has a body, then whether a registry is there at all, then again.
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
		return Manifest{}, fmt.Errorf("asking for %s of %s: %w", reference, repository, ErrNotFound)
	}
	return found, err
}

// registryAnswers is nil if GET /v2/ is answered as a registry would: a 2xx or a challenge, and no page of HTML.
func (c *Client) registryAnswers(ctx context.Context) error {
	resp, err := c.ask(ctx, question{method: http.MethodGet, target: c.at("/v2/", ""), as: Own})
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

// ChartStands asks with bellbuoy's own credentials whether a chart's version is there and has a digest. Where digest
// is "" whatever is there is Other.
//
// ChartMuseum's index may be old (--cache-interval), and it says "not found" of a file whenever its storage fails. So
// the file decides what is there, and only both together that nothing is.
func (c *Client) ChartStands(ctx context.Context, tenant, name, version, digest string) (Standing, error) {
	indexed, indexErr := c.chartInfo(ctx, tenant, name, version, Own)
	if indexErr != nil && !errors.Is(indexErr, ErrNotFound) {
		return Unknown, indexErr
	}
	sure := indexErr == nil && indexed.Digest == digest && digest != ""
	file, err := c.chartFile(ctx, tenant, chartFileName(name, version), Own, sure || digest == "")
	switch {
	case errors.Is(err, ErrNotFound) && indexErr != nil:
		return Absent, nil
	case errors.Is(err, ErrNotFound):
		return Unknown, fmt.Errorf("asking for chart %s %s: it is in the index, but its file was not found", name, version)
	case err != nil:
		return Unknown, err
	case sure && file.digest == "" || digest != "" && file.digest == digest:
		return Same, nil
	}
	return Other, nil
}
