// Package helm compares bellbuoy's reading of charts with Helm's own loader, and checks bellbuoy's
// chart. It is a module of its own, because Helm requires modules that bellbuoy must not require:
// half of Kubernetes.
package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"io"
	"os"
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

var update = flag.Bool("update", false, "write what Helm reads into the file")

// corpus has the charts, with what Helm reads in them. The tests of package detect read it too.
const corpus = "../../detect/testdata/charts.json"

// strange is an unusual archive.
type strange struct {
	About string `json:"about"`
	Files []file `json:"files"`
	// Want is what Helm's loader reads; nil: it refuses the archive.
	Want *metadata `json:"want"`
	// Lenient: bellbuoy may read an archive that Helm refuses.
	Lenient bool `json:"lenient,omitempty"`
	// Asked: bellbuoy refuses the name that Helm reads, and asks the upstream.
	Asked bool `json:"asked,omitempty"`
}

type file struct {
	Path string `json:"path"`
	Text string `json:"text"`
	Type string `json:"type,omitempty"` // dir | link | global; "": a file
}

type metadata struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Type       string `json:"type,omitempty"`
	AppVersion string `json:"app_version,omitempty"`
}

// The corpus has the metadata that Helm reads.
func TestLoader(t *testing.T) {
	b, err := os.ReadFile(corpus)
	if err != nil {
		t.Fatal(err)
	}
	var all []strange
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		s := &all[i]
		got := load(t, s.Files)
		if *update {
			s.Want = got
		}
		if (got == nil) != (s.Want == nil) || got != nil && *got != *s.Want {
			t.Errorf("%s: Helm reads %+v, the corpus has %+v", s.About, got, s.Want)
		}
	}
	if *update {
		b, err := json.MarshalIndent(all, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(corpus, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// load returns what Helm reads in an archive.
func load(t *testing.T, files []file) *metadata {
	c, err := loader.LoadArchive(bytes.NewReader(pack(t, files)))
	if err != nil {
		t.Logf("Helm refuses the archive: %v", err)
		return nil
	}
	m := c.Metadata
	return &metadata{m.Name, m.Version, m.Type, m.AppVersion}
}

// pack makes an archive.
func pack(t *testing.T, files []file) []byte {
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, f := range files {
		h := &tar.Header{Name: f.Path, Mode: 0o644, Size: int64(len(f.Text))}
		switch f.Type {
		case "dir":
			h.Typeflag = tar.TypeDir
		case "link":
			h.Typeflag, h.Linkname = tar.TypeSymlink, "elsewhere"
		case "global":
			h = &tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: f.Path, PAXRecords: map[string]string{"comment": "x"}}
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, f.Text); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
