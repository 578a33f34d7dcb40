package soak

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A client prepares itself and returns the function of a round. It records in the ledger what it
// has done. Every round uses tags of its own, so that no two events are equal.
type client struct {
	name  string
	start func(t *testing.T, s *scene) func(round int) error
}

var clients = []client{
	{"crane", crane}, {"crane too", crane}, {"skopeo", skopeo}, {"oras", oras}, {"helm with OCI", helmOCI}, {"helm with ChartMuseum", helmCharts},
	{"HTTP", plain}, {"HTTP too", plain}, {"a reader", reader},
	{"wrk", wrk},
}

// distinct yields numbers of repositories, so that no two clients share one.
var distinct = make(chan int)

func init() {
	go func() {
		for i := 0; ; i++ {
			distinct <- i
		}
	}()
}

// runs returns a function that runs a program in an environment of its own. Its error contains the
// program's output.
func runs(t *testing.T, env []string, program string) func(args ...string) error {
	return func(args ...string) error {
		_, err := harness.Try(t, env, program, args...)
		return err
	}
}

// steps calls functions one after the other until one fails.
func steps(all ...func() error) error {
	for _, step := range all {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func crane(t *testing.T, s *scene) func(int) error {
	run, repository := runs(t, harness.Env(t), "crane"), fmt.Sprintf("crane/app%d", <-distinct)
	out := filepath.Join(t.TempDir(), "image.tar")
	return func(round int) error {
		image := harness.NewImage(harness.ImageOptions{Layers: 2, LayerSize: 64 << 10})
		dir, err := layout(t, image)
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		tag := fmt.Sprintf("v%d", round)
		name := s.buoy.Host + "/" + repository
		return steps(
			func() error { return run("push", "--insecure", dir, name+":"+tag) },
			func() error { s.ledger.did("PUSH_ARTIFACT", repository, tag); return nil },
			func() error { return run("pull", "--insecure", name+":"+tag, out) },
			func() error { s.ledger.did("PULL_ARTIFACT", repository, tag); return nil },
			func() error {
				if round%3 != 0 {
					return nil
				}
				defer s.ledger.did("DELETE_ARTIFACT", repository, tag)
				return run("delete", "--insecure", name+"@"+image.Digest.String())
			},
		)
	}
}

func skopeo(t *testing.T, s *scene) func(int) error {
	run, repository := runs(t, harness.Env(t), "skopeo"), fmt.Sprintf("skopeo/app%d", <-distinct)
	out := t.TempDir()
	return func(round int) error {
		dir, err := layout(t, harness.NewMultiArch(harness.ImageOptions{LayerSize: 32 << 10}, "linux/amd64", "linux/arm64"))
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		tag := fmt.Sprintf("v%d", round)
		name := "docker://" + s.buoy.Host + "/" + repository + ":" + tag
		to := filepath.Join(out, tag)
		defer os.RemoveAll(to)
		return steps(
			func() error {
				return run("copy", "--all", "--insecure-policy", "--dest-tls-verify=false", "oci:"+dir+":v1", name)
			},
			func() error { s.ledger.did("PUSH_ARTIFACT", repository, tag); return nil },
			func() error {
				return run("copy", "--all", "--insecure-policy", "--src-tls-verify=false", name, "dir:"+to)
			},
			func() error { s.ledger.did("PULL_ARTIFACT", repository, tag); return nil },
		)
	}
}

func oras(t *testing.T, s *scene) func(int) error {
	run, repository := runs(t, harness.Env(t), "oras"), fmt.Sprintf("oras/app%d", <-distinct)
	dir, out := t.TempDir(), t.TempDir()
	return func(round int) error {
		tag := fmt.Sprintf("v%d", round)
		name := s.buoy.Host + "/" + repository + ":" + tag
		file := filepath.Join(dir, "file.txt")
		return steps(
			func() error { return os.WriteFile(file, []byte(strings.Repeat(tag, 1000)), 0o644) },
			func() error {
				return run("push", "--plain-http", "--disable-path-validation", "--artifact-type", "text/x-soak", name, file)
			},
			func() error { s.ledger.did("PUSH_ARTIFACT", repository, tag); return nil },
			func() error { return run("pull", "--plain-http", "--allow-path-traversal", "-o", out, name) },
			func() error { s.ledger.did("PULL_ARTIFACT", repository, tag); return nil },
		)
	}
}

func helmOCI(t *testing.T, s *scene) func(int) error {
	run, project := runs(t, harness.Env(t), "helm3"), fmt.Sprintf("helm%d", <-distinct)
	dir, out := t.TempDir(), t.TempDir()
	return func(round int) error {
		version := fmt.Sprintf("1.0.%d", round)
		file := filepath.Join(dir, "app-"+version+".tgz")
		defer os.Remove(file)
		return steps(
			func() error {
				return os.WriteFile(file, harness.NewChart("app", version, harness.ChartOptions{}), 0o644)
			},
			func() error { return run("push", "--plain-http", file, "oci://"+s.buoy.Host+"/"+project) },
			func() error { s.ledger.did("PUSH_ARTIFACT", project+"/app", version); return nil },
			func() error {
				return run("pull", "--plain-http", "oci://"+s.buoy.Host+"/"+project+"/app", "--version", version, "-d", out)
			},
			func() error { s.ledger.did("PULL_ARTIFACT", project+"/app", version); return nil },
		)
	}
}

// helmCharts uploads charts as curl does, downloads them with helm, and sometimes deletes one.
func helmCharts(t *testing.T, s *scene) func(int) error {
	helm, http1 := runs(t, harness.Env(t), "helm3"), newHTTPClient(t)
	name, out := fmt.Sprintf("chart%d", <-distinct), t.TempDir()
	return func(round int) error {
		version := fmt.Sprintf("1.0.%d", round)
		archive := harness.NewChart(name, version, harness.ChartOptions{Size: 16 << 10})
		file := name + "-" + version + ".tgz"
		defer os.Remove(filepath.Join(out, file))
		return steps(
			func() error {
				return send(http1, http.MethodPost, s.buoy.ProxyURL+"/api/charts", "application/gzip", archive, http.StatusCreated)
			},
			func() error { s.ledger.did("UPLOAD_CHART", "library/"+name, version); return nil },
			func() error { return helm("pull", s.buoy.ProxyURL+"/charts/"+file, "-d", out) },
			func() error { s.ledger.did("DOWNLOAD_CHART", "library/"+name, version); return nil },
			func() error {
				if round%2 != 0 {
					return nil
				}
				defer s.ledger.did("DELETE_CHART", "library/"+name, version)
				return send(http1, http.MethodDelete, s.buoy.ProxyURL+"/api/charts/"+name+"/"+version, "", nil, http.StatusOK)
			},
		)
	}
}

// plain puts a new manifest of the same blobs under ten tags, without a pause.
func plain(t *testing.T, s *scene) func(int) error {
	c, repository := newHTTPClient(t), fmt.Sprintf("http/app%d", <-distinct)
	base := s.buoy.ProxyURL + "/v2/" + repository
	image := harness.NewImage(harness.ImageOptions{})
	for _, d := range append([]v1.Descriptor{image.Config}, image.Layers...) {
		if err := pushBlob(c, base, image.Blob(d.Digest)); err != nil {
			t.Errorf("pushing a blob: %v", err)
		}
	}
	return func(round int) error {
		for i := range 10 {
			tag := fmt.Sprintf("v%d", 10*round+i)
			// Spaces at the end give the manifest another digest.
			manifest := append(bytes.Clone(image.Manifest), strings.Repeat(" ", round%50*10+i)...)
			if err := send(c, http.MethodPut, base+"/manifests/"+tag, image.MediaType, manifest, http.StatusCreated); err != nil {
				return err
			}
			s.ledger.did("PUSH_ARTIFACT", repository, tag)
		}
		return nil
	}
}

// reader downloads one large blob again and again, which causes no event.
func reader(t *testing.T, s *scene) func(int) error {
	c, repository := newHTTPClient(t), fmt.Sprintf("read/app%d", <-distinct)
	base := s.buoy.ProxyURL + "/v2/" + repository
	content := bytes.Repeat([]byte("bellbuoy"), 1<<20)
	if err := pushBlob(c, base, content); err != nil {
		t.Errorf("pushing a blob: %v", err)
	}
	want := digest.FromBytes(content)
	return func(int) error {
		resp, err := c.Get(base + "/blobs/" + want.String())
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		verifier := want.Verifier()
		if _, err := io.Copy(verifier, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK || !verifier.Verified() {
			return fmt.Errorf("downloading a blob: %s, verified: %t", resp.Status, verifier.Verified())
		}
		return nil
	}
}

// wrk reads a small blob as fast as possible on many connections, for a second now and then. The
// other clients must not fail meanwhile.
func wrk(t *testing.T, s *scene) func(int) error {
	env, repository := harness.Env(t), fmt.Sprintf("wrk/app%d", <-distinct)
	base := s.buoy.ProxyURL + "/v2/" + repository
	content := bytes.Repeat([]byte("bellbuoy"), 4<<10)
	if err := pushBlob(newHTTPClient(t), base, content); err != nil {
		t.Errorf("pushing a blob: %v", err)
	}
	return func(int) error {
		out, err := harness.Try(t, env, "wrk", "-t1", "-c32", "-d1s", "--timeout", "60s", base+"/blobs/"+digest.FromBytes(content).String())
		if err == nil && (strings.Contains(out, "Non-2xx") || strings.Contains(out, "Socket errors") || !strings.Contains(out, "requests in")) {
			err = fmt.Errorf("wrk printed %s", out)
		}
		time.Sleep(3 * time.Second)
		return err
	}
}

// layout writes an artifact as an OCI layout tagged v1 into a directory that the caller removes. A
// directory of the test would stay until the test ends.
func layout(t *testing.T, a harness.Artifact) (string, error) {
	dir, err := os.MkdirTemp("", "bellbuoy-soak-")
	if err != nil {
		return "", err
	}
	return a.Layout(roomFor{t, dir}, "v1"), nil
}

// roomFor is a test with another temporary directory.
type roomFor struct {
	*testing.T
	dir string
}

func (r roomFor) TempDir() string { return r.dir }

func pushBlob(c *http.Client, base string, content []byte) error {
	resp, err := c.Post(base+"/blobs/uploads/", "", nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	location, err := resp.Location()
	if err != nil {
		return fmt.Errorf("beginning an upload: %s: %w", resp.Status, err)
	}
	query := location.Query()
	query.Set("digest", digest.FromBytes(content).String())
	location.RawQuery = query.Encode()
	return send(c, http.MethodPut, location.String(), "application/octet-stream", content, http.StatusCreated)
}

func send(c *http.Client, method, url, contentType string, body []byte, want int) error {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s: %s %s", method, url, resp.Status, bytes.TrimSpace(answer))
	}
	return err
}
