package upstream

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Chart is a version of a chart at a ChartMuseum.
type Chart struct {
	Name, Version string
	File          string // the name under which it is downloaded
	Digest        string // sha256:… of the file; "" where unknown
	Size          int64  // of the file; 0 where unknown
	Exists        bool   // false if an error is returned, too
}

// maxChartFile is how many bytes of a chart's file are read to compute its size or digest.
const maxChartFile = 256 << 20

// Chart looks up the digest and size of a chart. The tenant is "" at depth 0. The size needs a HEAD
// of the file, or a GET if HEAD is not supported (ChartMuseum 0.13).
func (c *Client) Chart(ctx context.Context, tenant, name, version string, as As) (Chart, error) {
	found, err := c.chartInfo(ctx, tenant, name, version, as)
	switch {
	case errors.Is(err, ErrNotFound):
		return c.unlisted(ctx, tenant, name, version, as)
	case noChartAPI(err):
		if beside, ok := c.besideIndex(ctx, tenant, name, version, as); ok {
			return beside, nil
		}
	}
	if err != nil {
		return Chart{}, err
	}
	c.measure(ctx, tenant, &found, as)
	return found, nil
}

// noChartAPI reports whether an error is a 404 that ChartMuseum's API does not give.
func noChartAPI(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Status == http.StatusNotFound && !status.gone
}

// besideIndex looks up a chart by its archive beside index.yaml, which is where repositories
// without ChartMuseum's API have it (Gitea). It returns false if there is none: that does not mean
// that the chart does not exist.
func (c *Client) besideIndex(ctx context.Context, tenant, name, version string, as As) (Chart, bool) {
	path, err := chartPath("", tenant, chartFileName(name, version))
	if err != nil {
		return Chart{}, false
	}
	resp, err := c.askChart(ctx, http.MethodGet, path, tenant, as)
	if err != nil {
		return Chart{}, false
	}
	defer resp.Body.Close()
	plain, err := unpack(resp)
	if err != nil {
		return Chart{}, false
	}
	body := bufio.NewReader(plain)
	if begin, _ := body.Peek(len(gzipMagic)); string(begin) != gzipMagic {
		return Chart{}, false // no archive: some servers answer every path with a page
	}
	file, err := readChart(body)
	if err != nil {
		return Chart{}, false
	}
	return Chart{
		Name: name, Version: version, File: chartFileName(name, version), Digest: file.digest, Size: file.size, Exists: true,
	}, true
}

// gzipMagic are the first bytes of every gzip file.
const gzipMagic = "\x1f\x8b"

// unlisted looks up a chart by its file, because it is not in the index. ChartMuseum 0.13 does not
// list an upload in the form field of --chart-post-form-field-name until it reads its storage
// again.
func (c *Client) unlisted(ctx context.Context, tenant, name, version string, as As) (Chart, error) {
	file, err := c.chartFile(ctx, tenant, chartFileName(name, version), as, false)
	if err != nil {
		return Chart{}, err
	}
	return Chart{
		Name: name, Version: version, File: chartFileName(name, version), Digest: file.digest, Size: file.size, Exists: true,
	}, nil
}

// measure adds the size of the file, and its digest if that is unknown. If the file cannot be read,
// the size stays unknown.
func (c *Client) measure(ctx context.Context, tenant string, chart *Chart, as As) {
	file, err := c.chartFile(ctx, tenant, chart.File, as, true)
	if err != nil {
		return
	}
	chart.Size = file.size
	if chart.Digest == "" {
		chart.Digest = file.digest
	}
}

// chartInfo looks up a chart with ChartMuseum's API. ChartMuseum treats the version as a
// constraint, so an answer with another version means that this one does not exist.
func (c *Client) chartInfo(ctx context.Context, tenant, name, version string, as As) (Chart, error) {
	path, err := chartPath("/api", tenant, "charts", name, version)
	if err != nil {
		return Chart{}, err
	}
	resp, err := c.askChart(ctx, http.MethodGet, path, tenant, as)
	if err != nil {
		return Chart{}, err
	}
	defer resp.Body.Close()
	body, err := readAll(resp, maxPage)
	if err != nil {
		return Chart{}, err
	}
	var parsed struct {
		Name, Version, Digest string
	}
	if err := json.Unmarshal(body, &parsed); err != nil || parsed.Name == "" || parsed.Version == "" {
		return Chart{}, fmt.Errorf("looking up chart %s %s: %w", name, version, errMalformed)
	}
	if parsed.Name != name || parsed.Version != version {
		return Chart{}, fmt.Errorf("looking up chart %s %s: %w", name, version, ErrNotFound)
	}
	return Chart{
		Name: name, Version: version, File: chartFileName(name, version), Digest: chartDigest(parsed.Digest), Exists: true,
	}, nil
}

func chartFileName(name, version string) string { return name + "-" + version + ".tgz" }

// chartDigest returns the digest for the hexadecimal form that ChartMuseum uses, or "" if that is
// invalid.
func chartDigest(hexadecimal string) string {
	d := digest.Digest("sha256:" + strings.TrimPrefix(strings.ToLower(hexadecimal), "sha256:"))
	if d.Validate() != nil {
		return ""
	}
	return d.String()
}

// chartContent is the digest and size of a chart's file. An empty field is unknown.
type chartContent struct {
	digest string
	size   int64
}

// chartFile looks up a chart's file. With sizeOnly it sends a HEAD if the upstream supports that,
// else it reads the file.
func (c *Client) chartFile(ctx context.Context, tenant, file string, as As, sizeOnly bool) (chartContent, error) {
	path, err := chartPath("", tenant, "charts", file)
	if err != nil {
		return chartContent{}, err
	}
	tried := sizeOnly && !c.noHead.Load()
	if tried {
		size, err := c.chartHead(ctx, path, tenant, as)
		if size > 0 || ctx.Err() != nil {
			return chartContent{size: size}, err
		}
	}
	resp, err := c.askChart(ctx, http.MethodGet, path, tenant, as)
	if err != nil {
		return chartContent{}, err
	}
	defer resp.Body.Close()
	if tried {
		c.noHead.Store(true) // the file exists, and HEAD returned no size
	}
	plain, err := unpack(resp)
	if err != nil {
		return chartContent{}, err
	}
	return readChart(plain)
}

// chartHead returns the size of a file, or 0 if the upstream answers HEAD without one.
func (c *Client) chartHead(ctx context.Context, path, tenant string, as As) (int64, error) {
	resp, err := c.askChart(ctx, http.MethodHead, path, tenant, as)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if packed(resp.Header) {
		return 0, nil
	}
	return max(resp.ContentLength, 0), nil
}

func readChart(plain io.Reader) (chartContent, error) {
	hash := sha256.New()
	n, err := io.Copy(hash, io.LimitReader(plain, maxChartFile+1))
	if err != nil {
		return chartContent{}, fmt.Errorf("reading a chart: %w", err)
	}
	if n > maxChartFile {
		return chartContent{}, ErrTooLarge
	}
	return chartContent{digest: "sha256:" + hex.EncodeToString(hash.Sum(nil)), size: n}, nil
}

// ChartIndex returns the index.yaml of a tenant, decompressed. The caller bounds how much it reads,
// and closes it.
func (c *Client) ChartIndex(ctx context.Context, tenant string, as As) (io.ReadCloser, error) {
	path, err := chartPath("", tenant, "index.yaml")
	if err != nil {
		return nil, err
	}
	resp, err := c.askChart(ctx, http.MethodGet, path, tenant, as)
	if err != nil {
		return nil, err
	}
	plain, err := unpack(resp)
	if err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{plain, resp.Body}, nil
}

func (c *Client) askChart(ctx context.Context, method, path, tenant string, as As) (*http.Response, error) {
	resp, err := c.ask(ctx, request{
		method: method, target: c.at(path, ""), scope: "artifact-repository:" + tenant + ":pull", as: as, timeout: fileTimeout,
	})
	if err != nil {
		return nil, err
	}
	if success(resp.StatusCode) {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, fmt.Errorf("looking up %s: %w", path, refusal(resp, saysChartMuseum))
}

// chartPath returns before[/tenant]/segments, or ErrName if a name would change the path.
func chartPath(before, tenant string, segments ...string) (string, error) {
	path := before
	if tenant = strings.Trim(tenant, "/"); tenant != "" {
		if !validRepository(tenant) {
			return "", fmt.Errorf("looking up a chart: %w", ErrName)
		}
		path += "/" + tenant
	}
	for _, segment := range segments {
		if !validSegment(segment) {
			return "", fmt.Errorf("looking up a chart: %w", ErrName)
		}
		path += "/" + segment
	}
	return path, nil
}
