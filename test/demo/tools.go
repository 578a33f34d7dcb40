package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bellbuoy/bellbuoy/test/harness"
	"github.com/bellbuoy/bellbuoy/test/parts"
)

// A tool is a program of the demo: a part, or a smaller program with the same use.
type tool struct {
	part  string
	quick string // built if part is missing; "": part itself is provided
	what  string // description for people
	cost  string // effort of providing it
}

var (
	crane       = tool{"crane", "quick-crane", "crane", "15 MB"}
	chartmuseum = tool{"chartmuseum", "quick-chartmuseum", "ChartMuseum (for charts in local files)", "19 MB"}
	curl        = tool{"curl", "", "curl", "1 MB"}
	distro      = tool{"docker-registry", "", "docker-registry", "a download of 5 MB, 20 MB on disk; its service is not started"}
)

// choose returns the part that serves as t.
func (t tool) choose() string {
	if t.quick != "" && !parts.Present(t.part) {
		return t.quick
	}
	return t.part
}

// tools are the parts that the demo uses.
type tools struct {
	crane, chartmuseum, curl string
	registry                 string // "": crane's own registry, which has no logins
	helm                     string // a path; "": there is no helm
	missing                  []tool
}

// chooseTools chooses the programs of the demo on this machine. Only a superuser can install
// Debian's packages: others get crane's registry.
func chooseTools() tools {
	have := tools{crane: crane.choose(), chartmuseum: chartmuseum.choose(), curl: curl.choose(), helm: findHelm()}
	want := []tool{crane, chartmuseum, curl}
	if parts.Present(distro.part) || installable() {
		have.registry = distro.part
		want = append(want, distro)
	}
	for _, t := range want {
		if !parts.Present(t.choose()) {
			have.missing = append(have.missing, t)
		}
	}
	return have
}

func installable() bool {
	_, err := exec.LookPath("apt-get")
	return err == nil && os.Geteuid() == 0
}

// findHelm returns a helm that exists already: building one takes as long as everything else.
func findHelm() string {
	if path, err := exec.LookPath("helm"); err == nil {
		return path
	}
	if !parts.Present("helm3") {
		return ""
	}
	paths, err := parts.Find(context.Background(), "helm3")
	if err != nil {
		return ""
	}
	return paths[0]
}

// announce prints what prepare is going to build and install, and where.
func (have tools) announce(out io.Writer) error {
	cache, err := parts.Dir()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The demo runs on free ports of 127.0.0.1 with temporary data. Before that it\n")
	fmt.Fprintf(out, "  builds    bellbuoy (25 MB), into %s\n", binary())
	for _, t := range have.missing {
		if parts.Version(t.choose()) != "" {
			fmt.Fprintf(out, "  builds    %s (%s), into %s\n", t.what, t.cost, cache)
		} else {
			fmt.Fprintf(out, "  installs  %s with apt-get (%s)\n", t.what, t.cost)
		}
	}
	fmt.Fprintln(out)
	return nil
}

// prepare builds and installs the missing programs. The harness then runs the bellbuoy built here.
func (have tools) prepare(ctx context.Context) error {
	if os.Getenv("BELLBUOY_BINARY") == "" {
		if err := buildBellbuoy(ctx, binary()); err != nil {
			return err
		}
		os.Setenv("BELLBUOY_BINARY", binary())
	}
	names := []string{have.crane, have.chartmuseum, have.curl}
	if have.registry != "" {
		names = append(names, have.registry)
	}
	return parts.Ensure(ctx, names...)
}

func binary() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("bellbuoy-demo-%d", os.Getuid()), "bellbuoy")
}

// buildBellbuoy builds bellbuoy with the flags by which make builds the demo, so that both compile
// the same packages once: without optimisation and without the profile of the release.
func buildBellbuoy(ctx context.Context, path string) error {
	done := parts.Progress(os.Stderr, "building bellbuoy")
	defer done()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-pgo=off", "-ldflags=-s -w", "-gcflags="+parts.Quick,
		"-o", path, "github.com/bellbuoy/bellbuoy/cmd/bellbuoy")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building bellbuoy: %w\n%s", err, out)
	}
	return nil
}

// client prints a command as one would type it, and runs it. path is a part's name or a path.
func client(s *harness.Program, out io.Writer, env []string, path, name string, args ...string) {
	fmt.Fprintf(out, "$ %s %s\n", name, strings.Join(args, " "))
	done := parts.Progress(os.Stderr, name)
	defer done()
	harness.Run(s, env, path, args...)
}
