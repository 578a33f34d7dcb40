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

// ErrNotChart: the bytes are no chart archive, or its Chart.yaml cannot be read.
var ErrNotChart = errors.New("not a chart")

const (
	maxUnpacked  = 128 << 20 // bytes unpacked of one upload; Helm refuses charts of more than 100 MiB
	maxFetched   = 16 << 20  // bytes unpacked of a download: its name is mostly known without them
	maxTarHeader = 16 << 10  // bytes of a file's header in an archive, with its extensions
)

// ReadChart reads a chart archive that was downloaded to its end, as Helm's loader does, and returns what its Chart.yaml says, its
// digest and its size. With ErrNotChart the digest and the size are still there.
func ReadChart(archive io.Reader) (*Chart, error) {
	return unpackingOf(maxFetched).chart(archive)
}

// unpacking is what one upload may still cost, however many archives it holds.
type unpacking struct {
	bytes int64 // to be unpacked
	files int64 // bytes of files; a sparse file is longer than what it is unpacked from
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

// named is the chart as the archive's metadata names it.
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

// metadata reads all of an archive, because of two files with the same name Helm takes the later one.
// A requirements.yaml is read over Chart.yaml, wherever it stands.
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

// chartPath is where a file of an archive lies in its chart, by the rules of Helm's loader: the first
// element is the chart's directory, whatever its name, and a name with a backslash is one of Windows.
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
		return "", fmt.Errorf("%q lies outside of the chart's directory", bounded(name))
	}
	return clean, nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// Named reports whether a chart has a name and a version that can be told apart and stand in a path.
func (c *Chart) Named() bool {
	both := c.Name + c.Version
	return c.Name != "" && len(c.Name) <= MaxChart && c.Version != "" && len(c.Version) <= MaxChart &&
		!hasControl(both) && !strings.ContainsAny(both, `/\`)
}

// bounded is s, or "" where it is longer than what is kept.
func bounded(s string) string {
	if len(s) > MaxChart {
		return ""
	}
	return s
}

// errNoArchive: the bytes are not even packed.
var errNoArchive = errors.New("no gzip")

// notChart is an ErrNotChart with its reason, in one line: the YAML parser has more to say.
type notChart struct{ reason error }

func (e notChart) Error() string {
	reason, _, _ := strings.Cut(e.reason.Error(), "\n")
	return ErrNotChart.Error() + ": " + reason
}

func (e notChart) Unwrap() []error { return []error{ErrNotChart, e.reason} }

// SplitChartFile splits NAME-VERSION.tgz without knowing either: the longest name that leaves a full semantic version, else one
// that begins with "v", else one that is not complete.
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

var errUnpacked = errors.New("too much is packed in it, or in one header")

// meter passes on what is unpacked while the upload's bytes last, and no more than most.
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
