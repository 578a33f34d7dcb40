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
)

// ErrNotChart: the bytes are no chart archive, or its Chart.yaml cannot be read.
var ErrNotChart = errors.New("not a chart")

const (
	maxUnpacked  = 64 << 20 // bytes unpacked in search of Chart.yaml: an archive may be a bomb
	maxChartWord = 255      // bytes of a chart's name, and of its version: file names are no longer
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
		if h.Size > maxChartYAML {
			return nil, fmt.Errorf("%w: Chart.yaml has more than %d bytes", ErrNotChart, maxChartYAML)
		}
		b, err := io.ReadAll(files)
		if err != nil {
			return nil, fmt.Errorf("%w: reading Chart.yaml: %w", ErrNotChart, err)
		}
		return parseChartYAML(b)
	}
}

func parseChartYAML(b []byte) (*Chart, error) {
	var m metadata
	if err := m.merge(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))); err != nil {
		return nil, fmt.Errorf("%w: Chart.yaml: %s", ErrNotChart, firstLine(err))
	}
	c := &Chart{Name: m.Name, Version: m.Version, Type: bounded(m.Type), AppVersion: bounded(m.AppVersion)}
	if !c.usable() {
		return nil, fmt.Errorf("%w: Chart.yaml has no usable name and version", ErrNotChart)
	}
	return c, nil
}

// usable reports whether a chart has a name and a version that can be told apart and stand in a path.
func (c *Chart) usable() bool {
	both := c.Name + c.Version
	return c.Name != "" && len(c.Name) <= maxChartWord && c.Version != "" && len(c.Version) <= maxChartWord &&
		!hasControl(both) && !strings.ContainsAny(both, `/\`)
}

// bounded is s, or "" where it is longer than what is kept.
func bounded(s string) string {
	if len(s) > maxChartWord {
		return ""
	}
	return s
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
