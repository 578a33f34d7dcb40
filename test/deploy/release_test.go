package deploy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A snapshot of goreleaser is complete, has the right checksums, and runs. Its package is installed
// and removed.
func TestRelease(t *testing.T) {
	t.Parallel()
	dist := snapshot(t)
	for _, arch := range []string{"amd64", "arm64"} {
		archive := one(t, dist, "bellbuoy_*_linux_"+arch+".tar.gz")
		for _, want := range []string{"/bellbuoy", "/LICENSE", "/completions/bellbuoy.zsh", "/man/bellbuoy.1.gz", "/deploy/systemd/bellbuoy.service"} {
			if !slices.ContainsFunc(entries(t, archive), func(name string) bool { return strings.HasSuffix(name, want) }) {
				t.Errorf("%s lacks %s", filepath.Base(archive), want)
			}
		}
		var sbom struct{ Components []struct{ Name string } }
		if err := json.Unmarshal(harness.ReadFile(t, one(t, dist, "bellbuoy_*_linux_"+arch+".cdx.json")), &sbom); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(sbom.Components, func(c struct{ Name string }) bool { return c.Name == "modernc.org/sqlite" }) {
			t.Errorf("the SBOM of %s lacks modernc.org/sqlite", arch)
		}
		one(t, dist, "bellbuoy_*_"+arch+".deb")
	}
	checkSums(t, dist)
	if dpkg, err := exec.LookPath("dpkg-deb"); err == nil {
		deb := one(t, dist, "bellbuoy_*_"+runtime.GOARCH+".deb")
		checkPackage(t, dpkg, deb)
		installPackage(t, deb)
	}
}

// snapshot runs goreleaser as make snapshot does, into a directory of its own.
func snapshot(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	dist, config := filepath.Join(dir, "dist"), filepath.Join(dir, "goreleaser.yaml")
	harness.WriteFile(t, config, fmt.Sprintf("dist: %q\n%s", dist, harness.ReadFile(t, "../../.goreleaser.yaml")))
	sboms := filepath.Dir(harness.Part(t, "cyclonedx-gomod"))
	cmd := exec.Command(harness.Part(t, "goreleaser"), "release", "--snapshot", "--skip=publish", "--config", config)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "PATH="+sboms+":"+os.Getenv("PATH"), "GOFLAGS=", "MAKEFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("goreleaser: %v\n%s", err, out)
	}
	return dist
}

// one returns the only file of a pattern.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s is %v, want one file (%v)", pattern, found, err)
	}
	return found[0]
}

func entries(t *testing.T, archive string) (names []string) {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(harness.ReadFile(t, archive)))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(unzipped); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}

// checkSums compares checksums.txt with the files: every archive and package has a line.
func checkSums(t *testing.T, dist string) {
	t.Helper()
	lines := 0
	for line := range strings.Lines(string(harness.ReadFile(t, filepath.Join(dist, "checksums.txt")))) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sum := sha256.Sum256(harness.ReadFile(t, filepath.Join(dist, name)))
		if hex.EncodeToString(sum[:]) != want {
			t.Errorf("the checksum of %s is wrong", name)
		}
		lines++
	}
	if lines != 6 {
		t.Errorf("checksums.txt has %d lines, want those of 2 archives, 2 packages and 2 SBOMs", lines)
	}
}

// checkPackage unpacks a package and runs what it installs.
func checkPackage(t *testing.T, dpkg, file string) {
	t.Helper()
	root := t.TempDir()
	harness.Run(t, nil, dpkg, "-x", file, root)
	bellbuoy := filepath.Join(root, "usr/bin/bellbuoy")
	if version := harness.Run(t, nil, bellbuoy, "version"); !strings.Contains(version, "-g") {
		t.Errorf("the version is %q, want the snapshot's", version)
	}
	harness.Run(t, nil, bellbuoy, "check", filepath.Join(root, "etc/bellbuoy/bellbuoy.yaml"))
	for _, name := range []string{
		"usr/lib/systemd/system/bellbuoy.service", "usr/lib/systemd/system/bellbuoy.socket", "usr/share/man/man1/bellbuoy-serve.1.gz",
		"usr/share/bash-completion/completions/bellbuoy", "usr/share/zsh/vendor-completions/_bellbuoy",
		"usr/share/fish/vendor_completions.d/bellbuoy.fish",
	} {
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode().Perm() != 0o644 || info.Size() == 0 {
			t.Errorf("running %s of the package: %v", name, err)
		}
	}
	scripts := t.TempDir()
	harness.Run(t, nil, dpkg, "-e", file, scripts)
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		harness.Run(t, nil, "/bin/sh", "-n", filepath.Join(scripts, name))
	}
	if conffiles := string(harness.ReadFile(t, filepath.Join(scripts, "conffiles"))); !strings.Contains(conffiles, "/etc/bellbuoy/bellbuoy.yaml") {
		t.Errorf("the configuration is no conffile, and an update would replace it: %q", conffiles)
	}
}
