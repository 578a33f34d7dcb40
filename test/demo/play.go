package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
	"github.com/bellbuoy/bellbuoy/test/parts"
)

// webhookTimeout is how long a webhook may take; it should take milliseconds.
const webhookTimeout = 20 * time.Second

// A scene is an action of a client, and the webhook that it must cause.
type scene struct {
	title string
	do    func()
	want  string // "TYPE repository:tag"
}

// play runs the scenes one after the other. It waits for the webhook of each.
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
	crane := func(args ...string) { client(s, out, env, h.tools.crane, "crane", args...) }
	crane("auth", "login", "-u", user, "-p", password, h.buoy.Host)
	return []scene{
		{"push an image for two platforms", func() { crane("push", layout, repository+":v1") }, "PUSH_ARTIFACT team/app:v1"},
		{"pull the image", func() { crane("pull", "--format", "oci", repository+":v1", filepath.Join(s.TempDir(), "app")) },
			"PULL_ARTIFACT team/app:v1"},
		{"delete the image", func() { crane("delete", repository+"@"+image.Digest.String()) }, "DELETE_ARTIFACT team/app:v1"},
	}
}

func (h *harbour) chartScenes(s *harness.Program, out io.Writer) []scene {
	chart := harness.ChartFile(s, "buoy", "1.0.0", harness.ChartOptions{Type: "application", AppVersion: "1.0"})
	env := harness.Env(s)
	curl := func(args ...string) {
		args = append([]string{"-sS", "--fail", "-u", user + ":" + password}, args...)
		client(s, out, env, h.tools.curl, "curl", args...)
	}
	return []scene{
		{"push a chart", func() { curl("--data-binary", "@"+chart, h.buoy.ProxyURL+"/api/charts") }, "UPLOAD_CHART library/buoy:1.0.0"},
		{"pull the chart", func() { h.pullChart(s, out, env, curl) }, "DOWNLOAD_CHART library/buoy:1.0.0"},
		{"delete the chart", func() { curl("-X", "DELETE", h.buoy.ProxyURL+"/api/charts/buoy/1.0.0") },
			"DELETE_CHART library/buoy:1.0.0"},
	}
}

// pullChart pulls with helm if there is a helm.
func (h *harbour) pullChart(s *harness.Program, out io.Writer, env []string, curl func(...string)) {
	dir := s.TempDir()
	if h.tools.helm == "" {
		curl("-o", filepath.Join(dir, "buoy-1.0.0.tgz"), h.buoy.ProxyURL+"/charts/buoy-1.0.0.tgz")
		return
	}
	client(s, out, env, h.tools.helm, "helm", "pull", "buoy", "--repo", h.buoy.ProxyURL, "--version", "1.0.0",
		"--username", user, "--password", password, "-d", dir)
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
