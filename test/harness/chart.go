package harness

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// ChartOptions chooses what a chart is made of, besides its name and version.
type ChartOptions struct {
	Type       string            // application | library; "": no type in Chart.yaml
	AppVersion string            // "": no appVersion in Chart.yaml
	Size       int               // bytes of random content in a further file
	Files      map[string]string // further files, by their path inside the chart
}

// NewChart makes a chart archive as `helm package` does: gzipped, Chart.yaml first.
func NewChart(name, version string, opts ChartOptions) []byte {
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "apiVersion: v2\nname: %s\nversion: %s\ndescription: a chart for tests\n", name, version)
	if opts.Type != "" {
		fmt.Fprintf(&yaml, "type: %s\n", opts.Type)
	}
	if opts.AppVersion != "" {
		fmt.Fprintf(&yaml, "appVersion: %q\n", opts.AppVersion)
	}
	files := map[string][]byte{ // tarOf writes them sorted by name, so Chart.yaml comes first
		name + "/Chart.yaml":               []byte(yaml.String()),
		name + "/templates/configmap.yaml": []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n"),
		name + "/values.yaml":              []byte("color: red\n"),
	}
	if opts.Size > 0 {
		files[name+"/files/random"] = newRandom(0).bytes(opts.Size)
	}
	for path, content := range opts.Files {
		files[name+"/"+path] = []byte(content)
	}
	return compress(tarOf(files))
}

// ChartArchive makes an archive of files as `helm package` compresses it. The files are given as
// path and content in turn, and keep this order.
func ChartArchive(files ...string) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i+1 < len(files); i += 2 {
		must(w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}))
		_, err := io.WriteString(w, files[i+1])
		must(err)
	}
	must(w.Close())
	return compress(buf.Bytes())
}

// ChartFile writes a chart to NAME-VERSION.tgz in a directory of its own and returns its path.
func ChartFile(t T, name, version string, opts ChartOptions) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+"-"+version+".tgz")
	WriteFile(t, path, string(NewChart(name, version, opts)))
	return path
}
