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
	"math"
	"path"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// ErrNotChart is returned for bytes that are no chart archive, or whose Chart.yaml cannot be read.
var ErrNotChart = errors.New("not a chart")

const (
	// bytes unpacked of one upload; Helm refuses charts of more than 100 MiB
	maxUnpacked  = 128 << 20
	maxFetched   = 16 << 20 // bytes unpacked of a download; its name is mostly known without them
	maxTarHeader = 16 << 10 // bytes of a file's header in an archive, with its extensions
)

// ReadChart reads a downloaded chart archive to its end, as Helm's loader does. It returns what the
// Chart.yaml says, the digest and the size. The digest and the size are set with ErrNotChart too.
func ReadChart(archive io.Reader) (*Chart, error) {
	return unpackingOf(maxFetched).chart(archive)
}

// unpacking bounds what is unpacked of one upload, however many archives it holds.
type unpacking struct {
	bytes int64 // bytes that may still be unpacked
	files int64 // bytes of files; a sparse file is longer than what is unpacked for it
}

func unpackingOf(n int64) *unpacking { return &unpacking{bytes: n, files: n} }

// chart reads an archive to its end.
func (u *unpacking) chart(archive io.Reader) (*Chart, error) {
	sum := sha256.New()
	counted := &counter{r: io.TeeReader(archive, sum)}
	c, err := u.named(counted)
	if c == nil {
		c = &Chart{}
	}
	if _, copyErr := io.Copy(io.Discard, counted); copyErr != nil {
		return nil, fmt.Errorf("reading the archive: %w", copyErr)
	}
	c.Digest, c.Size = digestOf(sum), counted.n
	return c, err
}

// named returns the chart that the Chart.yaml of an archive names.
func (u *unpacking) named(archive io.Reader) (*Chart, error) {
	m, err := u.metadata(archive)
	if err != nil {
		return nil, notChart{err}
	}
	c := &Chart{Name: m.Name, Version: m.Version, Type: bounded(m.Type), AppVersion: bounded(m.AppVersion)}
	if !c.Named() {
		return nil, fmt.Errorf("%w: Chart.yaml has no usable name and version", ErrNotChart)
	}
	return c, nil
}

// metadata reads the metadata of an archive. It reads to the end, because Helm takes the later of
// two files with the same name. The fields of a requirements.yaml replace those of Chart.yaml,
// whichever comes first.
func (u *unpacking) metadata(archive io.Reader) (m metadata, err error) {
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		return m, errNoArchive
	}
	in := &meter{r: unzipped, u: u}
	files := tar.NewReader(in)
	var requirements metadata
	for {
		in.most = maxTarHeader
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			m.over(requirements)
			return m, nil
		}
		if err != nil {
			return m, fmt.Errorf("reading the archive: %w", err)
		}
		in.most = math.MaxInt64
		if u.files -= h.Size; u.files < 0 {
			return m, errUnpacked
		}
		if h.FileInfo().IsDir() || h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name, err := chartPath(h.Name)
		if err != nil {
			return m, err
		}
		switch name {
		case "Chart.yaml":
			err = m.read(h, files)
		case "requirements.yaml":
			err = requirements.read(h, files)
		default:
			_, err = io.Copy(io.Discard, files)
		}
		if err != nil {
			return m, fmt.Errorf("%s: %w", bounded(h.Name), err)
		}
	}
}

// read reads a file of metadata.
func (m *metadata) read(h *tar.Header, file io.Reader) error {
	if h.Size > maxChartYAML {
		return fmt.Errorf("more than %d bytes", maxChartYAML)
	}
	b, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	return m.merge(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")))
}

// chartPath returns where a file of an archive is in its chart, by the rules of Helm's loader: the
// first element is the directory of the chart, whatever its name, and a name with a backslash is a
// Windows path.
func chartPath(name string) (string, error) {
	delimiter := "/"
	if strings.Contains(name, `\`) {
		delimiter = `\`
	}
	directory, rest, _ := strings.Cut(name, delimiter)
	rest = strings.ReplaceAll(rest, delimiter, "/")
	clean := path.Clean(rest)
	drive := len(clean) > 2 && clean[1:3] == ":/" && isLetter(clean[0])
	if path.IsAbs(rest) || clean == "." || strings.HasPrefix(clean, "..") || drive || directory == "Chart.yaml" {
		return "", fmt.Errorf("%q is outside of the chart's directory", bounded(name))
	}
	return clean, nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// Named reports whether a chart has a name and a version, and both can be part of a path.
func (c *Chart) Named() bool {
	both := c.Name + c.Version
	return c.Name != "" && len(c.Name) <= MaxChart && c.Version != "" && len(c.Version) <= MaxChart &&
		!hasControl(both) && !strings.ContainsAny(both, `/\`)
}

// bounded returns s, or "" if it is longer than what is kept.
func bounded(s string) string {
	if len(s) > MaxChart {
		return ""
	}
	return s
}

// errNoArchive is the reason why bytes without gzip are no chart.
var errNoArchive = errors.New("no gzip")

// notChart is an ErrNotChart with its reason in one line. The errors of the YAML parser have
// several.
type notChart struct{ reason error }

func (e notChart) Error() string {
	reason, _, _ := strings.Cut(e.reason.Error(), "\n")
	return ErrNotChart.Error() + ": " + reason
}

func (e notChart) Unwrap() []error { return []error{ErrNotChart, e.reason} }

// SplitChartFile splits NAME-VERSION.tgz without knowing either. It takes the longest name that
// leaves a full semantic version, else one that begins with "v", else an incomplete one.
func SplitChartFile(file string) (name, version string, ok bool) {
	base := strings.TrimSuffix(strings.TrimSuffix(file, ".prov"), ".tgz")
	if len(base) > 2*MaxChart+1 {
		return "", "", false
	}
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

var errUnpacked = errors.New("the archive, or one of its headers, is too long when unpacked")

// meter reads from r within the bounds of the upload, and at most most bytes.
type meter struct {
	r    io.Reader
	u    *unpacking
	most int64
}

func (m *meter) Read(p []byte) (int, error) {
	p = p[:min(int64(len(p)), m.most, m.u.bytes)]
	if len(p) == 0 {
		return 0, errUnpacked
	}
	n, err := m.r.Read(p)
	m.most -= int64(n)
	m.u.bytes -= int64(n)
	return n, err
}
