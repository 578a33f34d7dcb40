// Package harness starts the real things for end-to-end tests: a registry, ChartMuseum, PostgreSQL,
// a token server, bellbuoy itself as a process, and a receiver of webhooks; and makes the images
// and charts that travel between them.
//
// Everything listens on a free port of 127.0.0.1, is ready when its constructor returns, and is
// gone when the test ends. What a process printed is shown when its test failed:
//
//	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
//	hooks := harness.NewReceiver(t)
//	buoy := harness.Bellbuoy(t, `
//	upstreams: [{type: registry, url: `+registry.URL+`}]
//	webhooks: [{name: all, url: `+hooks.URL("/all")+`, events: ["*"]}]
//	`)
//	harness.Run(t, nil, "crane", "push", image.DockerArchive(t), buoy.Host+"/team/app:v1")
//	post := hooks.Wait(1, 5*time.Second)[0]
//
// A Stage is all of these at once, and compares the events of whole repositories. In a FaultProxy
// or a Relay, between bellbuoy and a server, tests let things go wrong. test/README.md says which
// test goes where.
package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/parts"
)

// T is the part of testing.TB that the harness needs. The demo has an implementation of its own.
type T interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Errorf(format string, args ...any)
	Failed() bool
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	TempDir() string
}

// Part returns the program of a part. It installs the part first if it is missing. A test is
// skipped in -short mode.
func Part(t T, name string) string {
	t.Helper()
	if tb, ok := t.(testing.TB); ok {
		return parts.Path(tb, name)
	}
	paths, err := parts.Find(t.Context(), name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return paths[0]
}

// runTimeout bounds one run of a client.
const runTimeout = 3 * time.Minute

// Run runs a client to its end and returns its stdout. It fails the test if the client fails. name
// is a part's name or a path; a nil env is a fresh Env.
func Run(t T, env []string, name string, args ...string) string {
	t.Helper()
	out, err := Try(t, env, name, args...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return out
}

// Try is Run for a client that may fail: the error has the command and all of its output.
func Try(t T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	if env == nil {
		env = Env(t)
	}
	path := name
	if !strings.Contains(name, "/") {
		path = Part(t, name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), runTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = env
	cmd.WaitDelay = 5 * time.Second
	var stdout bytes.Buffer
	all := &logBuffer{limit: 64 << 10}
	cmd.Stdout, cmd.Stderr = teeWriter{&stdout, all}, all
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, all)
	}
	return stdout.String(), nil
}

// Env returns an environment for clients that neither reads nor changes anything of the user who
// runs the tests: it has a home directory of its own, with every tool's configuration, cache and
// credentials in it.
func Env(t T, more ...string) []string {
	t.Helper()
	home := t.TempDir()
	env := []string{
		"HOME=" + home,
		"PATH=" + os.Getenv("PATH"),
		"TMPDIR=" + home,
		"XDG_CONFIG_HOME=" + filepath.Join(home, ".config"),
		"XDG_CACHE_HOME=" + filepath.Join(home, ".cache"),
		"XDG_DATA_HOME=" + filepath.Join(home, ".local/share"),
		"XDG_RUNTIME_DIR=" + home,
		"DOCKER_CONFIG=" + filepath.Join(home, ".docker"),
		"REGISTRY_AUTH_FILE=" + filepath.Join(home, "auth.json"),
		"HELM_PLUGINS=" + filepath.Join(home, "helm-plugins"),
		"COSIGN_PASSWORD=",
		"TZ=UTC",
	}
	return append(env, more...)
}

// HelmEnv is Env with the cm-push plugin. helm 3 runs it as `helm cm-push`. helm 4 does not know
// that command, because it takes a plugin that also downloads for a downloader: there, run the part
// "cm-push" itself.
func HelmEnv(t T, more ...string) []string {
	t.Helper()
	binary := Part(t, "cm-push") // …/plugins/helm-push/bin/helm-cm-push
	plugins := filepath.Dir(filepath.Dir(filepath.Dir(binary)))
	return Env(t, append([]string{"HELM_PLUGINS=" + plugins}, more...)...)
}

type teeWriter struct {
	a, b interface{ Write([]byte) (int, error) }
}

func (w teeWriter) Write(p []byte) (int, error) {
	w.a.Write(p)
	return w.b.Write(p)
}

// logBuffer keeps at least the last limit bytes of a process's output.
type logBuffer struct {
	mu    sync.Mutex
	limit int
	buf   []byte
	cut   bool
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	if len(l.buf) > 2*l.limit { // rarely, so that long output costs one copy per limit bytes
		l.buf = append(l.buf[:0], l.buf[len(l.buf)-l.limit:]...)
		l.cut = true
	}
	return len(p), nil
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return "[…]" + string(l.buf)
	}
	return string(l.buf)
}
