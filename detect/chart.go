package detect

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/goccy/go-yaml"
)

// ErrNotChart: the bytes are no chart archive, or its Chart.yaml cannot be read.
var ErrNotChart = errors.New("not a chart")

const (
	maxChartYAML = 1 << 20  // bytes of a Chart.yaml
	maxUnpacked  = 64 << 20 // bytes unpacked in search of Chart.yaml: an archive may be a bomb
)

// ReadChart reads a chart archive to its end and returns what its Chart.yaml says, its digest and its size.
// With ErrNotChart the digest and the size are still told.
func ReadChart(archive io.Reader) (*Chart, error) {
	sum := sha256.New()
	counted := &counter{r: io.TeeReader(archive, sum)}
	c, err := chartYAML(counted)
	if c == nil {
		c = &Chart{}
	}
	if _, copyErr := io.Copy(io.Discard, counted); copyErr != nil {
		return nil, fmt.Errorf("reading the archive: %w", copyErr)
	}
	c.Digest, c.Size = digestOf(sum), counted.n
	return c, err
}

// ReadChartBody reads the body of a chart upload: the archive itself, or a multipart form that holds it (and perhaps its provenance).
// Where the archive cannot be read, a multipart part's file name is the hint that is left.
func ReadChartBody(contentType string, body io.Reader) (*Chart, error) {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || !strings.HasPrefix(mediaType, "multipart/") {
		return ReadChart(body)
	}
	form := multipart.NewReader(body, params["boundary"])
	var found *Chart
	err = ErrNotChart
	for {
		part, partErr := form.NextRawPart()
		if partErr != nil {
			_, _ = io.Copy(io.Discard, body) // to the end, whatever it is: somebody may be writing it to us
			return found, err
		}
		if found != nil || part.FormName() == "prov" {
			continue
		}
		c, chartErr := ReadChart(part)
		if c != nil && c.Name == "" {
			c.Name, c.Version, _ = SplitChartFile(part.FileName())
		}
		if c != nil && c.Name != "" {
			found, err = c, nil
		} else if chartErr != nil {
			err = chartErr
		}
	}
}

// chartYAML finds <name>/Chart.yaml in an archive.
func chartYAML(archive io.Reader) (c *Chart, err error) {
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotChart, err)
	}
	files := tar.NewReader(io.LimitReader(unzipped, maxUnpacked))
	for {
		h, err := files.Next()
		if err != nil {
			return nil, fmt.Errorf("%w: looking for Chart.yaml: %w", ErrNotChart, err)
		}
		dir, file, _ := strings.Cut(strings.TrimPrefix(h.Name, "./"), "/")
		if file != "Chart.yaml" || dir == "" {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(files, maxChartYAML))
		if err != nil {
			return nil, fmt.Errorf("%w: reading Chart.yaml: %w", ErrNotChart, err)
		}
		return parseChartYAML(b)
	}
}

func parseChartYAML(b []byte) (c *Chart, err error) {
	defer recovered(&err)
	var y struct {
		Name       string `yaml:"name"`
		Version    string `yaml:"version"`
		Type       string `yaml:"type"`
		AppVersion string `yaml:"appVersion"`
	}
	if err := yaml.Unmarshal(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), &y); err != nil {
		return nil, fmt.Errorf("%w: Chart.yaml: %s", ErrNotChart, firstLine(err))
	}
	if y.Name == "" || y.Version == "" || hasControl(y.Name+y.Version) || strings.ContainsAny(y.Name+y.Version, "/\\") {
		return nil, fmt.Errorf("%w: Chart.yaml has no usable name and version", ErrNotChart)
	}
	return &Chart{Name: y.Name, Version: y.Version, Type: y.Type, AppVersion: y.AppVersion}, nil
}

// recovered turns a panic of the YAML library into ErrNotChart: what it reads comes from clients.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: reading YAML: %v", ErrNotChart, p)
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// SplitChartFile splits NAME-VERSION.tgz without knowing either: the longest name that leaves a full semantic version, else one
// that begins with "v", else one that is not complete.
func SplitChartFile(file string) (name, version string, ok bool) {
	base := strings.TrimSuffix(strings.TrimSuffix(file, ".prov"), ".tgz")
	full := func(v string) bool { _, err := semver.StrictNewVersion(v); return err == nil }
	for _, valid := range []func(string) bool{
		full,
		func(v string) bool { return strings.HasPrefix(v, "v") && full(v[1:]) },
		func(v string) bool { _, err := semver.NewVersion(v); return err == nil },
	} {
		for i := len(base) - 2; i > 0; i-- {
			if base[i] == '-' && valid(base[i+1:]) {
				return base[:i], base[i+1:], true
			}
		}
	}
	return "", "", false
}

// IndexedCharts reads an index.yaml and tells each chart's file, name, version and digest. The caller bounds r.
func IndexedCharts(r io.Reader, each func(file, name, version, digest string)) (err error) {
	defer recovered(&err)
	var index struct {
		Entries map[string][]struct {
			Name    string   `yaml:"name"`
			Version string   `yaml:"version"`
			Digest  string   `yaml:"digest"`
			URLs    []string `yaml:"urls"`
		} `yaml:"entries"`
	}
	if err := yaml.NewDecoder(r).Decode(&index); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: index.yaml: %s", ErrNotChart, firstLine(err))
	}
	for _, versions := range index.Entries {
		for _, v := range versions {
			for _, u := range v.URLs {
				u, _, _ = strings.Cut(u, "?")
				_, file := cutLast(u)
				if file != "" && v.Name != "" && v.Version != "" {
					each(file, v.Name, v.Version, prefixedDigest(v.Digest))
				}
			}
		}
	}
	return nil
}

// prefixedDigest is an index.yaml's bare hex as a digest.
func prefixedDigest(s string) string {
	if s == "" || strings.Contains(s, ":") {
		return s
	}
	return "sha256:" + s
}

func digestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// counter counts what is read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
