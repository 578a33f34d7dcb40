package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
	"github.com/bellbuoy/bellbuoy/test/parts"
)

// webhookTimeout is how long a webhook may take; it should take milliseconds.
const webhookTimeout = 20 * time.Second

// A scene is something that a client does, and the webhook that has to come of it.
type scene struct {
	title string
	do    func()
	want  string // "TYPE repository:tag"
}

// play does one thing after the other, and waits for its webhook before the next.
func (h *harbour) play(s *harness.Program, out io.Writer) {
	var scenes []scene
	scenes = append(scenes, h.imageScenes(s, out)...)
	scenes = append(scenes, h.chartScenes(s, out)...)
	for _, sc := range scenes {
		fmt.Fprintf(out, "── %s\n", sc.title)
		sc.do()
		h.await(s, sc)
	}
	if n := len(h.hooks.Posts("")); n != len(scenes) {
		s.Fatalf("%d webhooks arrived, want %d", n, len(scenes))
	}
}

func (h *harbour) imageScenes(s *harness.Program, out io.Writer) []scene {
	image := harness.NewMultiArch(harness.ImageOptions{Layers: 2, LayerSize: 100 << 10}, "linux/amd64", "linux/arm64")
	layout, repository := image.Layout(s, "v1"), h.buoy.Host+"/team/app"
	env := harness.Env(s)
	crane := func(args ...string) { client(s, out, env, "crane", args...) }
	crane("auth", "login", "-u", user, "-p", password, h.buoy.Host)
	return []scene{
		{"push an image for two platforms", func() { crane("push", layout, repository+":v1") }, "PUSH_ARTIFACT team/app:v1"},
		{"pull it", func() { crane("pull", "--format", "oci", repository+":v1", filepath.Join(s.TempDir(), "app")) }, "PULL_ARTIFACT team/app:v1"},
		{"delete it", func() { crane("delete", repository+"@"+image.Digest.String()) }, "DELETE_ARTIFACT team/app:v1"},
	}
}

func (h *harbour) chartScenes(s *harness.Program, out io.Writer) []scene {
	chart := harness.ChartFile(s, "buoy", "1.0.0", harness.ChartOptions{Type: "application", AppVersion: "1.0"})
	env := harness.HelmEnv(s)
	helm := func(args ...string) { client(s, out, env, "helm3", args...) }
	login := []string{"--username", user, "--password", password}
	return []scene{
		{"push a chart", func() {
			helm(append([]string{"repo", "add", "harbour", h.buoy.ProxyURL}, login...)...)
			helm("cm-push", chart, "harbour")
		}, "UPLOAD_CHART library/buoy:1.0.0"},
		{"pull it", func() {
			helm("repo", "update")
			helm("pull", "harbour/buoy", "--version", "1.0.0", "-d", s.TempDir())
		}, "DOWNLOAD_CHART library/buoy:1.0.0"},
		{"delete it", func() { h.deleteChart(s, out, "buoy", "1.0.0") }, "DELETE_CHART library/buoy:1.0.0"},
	}
}

// await waits until the scene's webhook, and no other, has been printed.
func (h *harbour) await(s *harness.Program, sc scene) {
	done := parts.Progress(os.Stderr, "waiting for "+sc.want)
	defer done()
	select {
	case got := <-h.printer.seen:
		if got != sc.want {
			s.Fatalf("the webhook is %s, want %s", got, sc.want)
		}
	case <-h.buoy.Exited():
		s.Fatalf("bellbuoy has ended")
	case <-s.Context().Done():
		s.Fatalf("interrupted")
	case <-time.After(webhookTimeout):
		s.Fatalf("no webhook came within %v, want %s", webhookTimeout, sc.want)
	}
}

// client prints a command as one would type it, and runs it.
func client(s *harness.Program, out io.Writer, env []string, name string, args ...string) {
	shown := append([]string{strings.TrimRight(name, "34")}, args...)
	fmt.Fprintf(out, "$ %s\n", strings.Join(shown, " "))
	done := parts.Progress(os.Stderr, shown[0])
	defer done()
	harness.Run(s, env, name, args...)
}

// deleteChart is what curl would do; Helm itself deletes no charts from a repository.
func (h *harbour) deleteChart(s *harness.Program, out io.Writer, name, version string) {
	url := fmt.Sprintf("%s/api/charts/%s/%s", h.buoy.ProxyURL, name, version)
	fmt.Fprintf(out, "$ curl -u %s:%s -X DELETE %s\n", user, password, url)
	req, err := http.NewRequestWithContext(s.Context(), http.MethodDelete, url, nil)
	if err != nil {
		s.Fatalf("%v", err)
	}
	req.SetBasicAuth(user, password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatalf("%v", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.Fatalf("DELETE %s: %s", url, resp.Status)
	}
}
