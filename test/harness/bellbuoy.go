package harness

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/bellbuoy/bellbuoy/test/parts"
)

// Buoy is a running bellbuoy, the real binary.
type Buoy struct {
	Daemon
	ProxyURL  string // http://127.0.0.1:port, where clients go
	Host      string // 127.0.0.1:port
	HealthURL string
	DataDir   string
	Config    string // the path of its configuration file

	opts   BuoyOptions
	health int
	port   int
}

// BuoyOptions are options that few tests need.
type BuoyOptions struct {
	Port    int      // 0: a free one. For a configuration that has to name it.
	DataDir string   // "": a new one
	Env     []string // besides PATH and HOME
	Launch  []string // a command and its arguments that runs the binary, e.g. a limiter
	NoWait  bool     // do not wait until it is ready, or do not expect it to become so
}

// Bellbuoy runs bellbuoy with a configuration and waits until it is ready. listen, health, admin
// and data_dir are added where the configuration does not name them.
func Bellbuoy(t T, yaml string) *Buoy {
	t.Helper()
	return BellbuoyWith(t, BuoyOptions{}, yaml)
}

// BellbuoyWith is Bellbuoy with options.
func BellbuoyWith(t T, opts BuoyOptions, yaml string) *Buoy {
	t.Helper()
	binary, dir := Binary(t), t.TempDir()
	if opts.Port == 0 {
		opts.Port = FreePort(t)
	}
	if opts.DataDir == "" {
		opts.DataDir = filepath.Join(dir, "data")
	}
	b := &Buoy{opts: opts, port: opts.Port, health: FreePort(t), DataDir: opts.DataDir, Config: filepath.Join(dir, "bellbuoy.yaml")}
	b.Host = fmt.Sprintf("127.0.0.1:%d", b.port)
	b.ProxyURL = "http://" + b.Host
	b.HealthURL = fmt.Sprintf("http://127.0.0.1:%d", b.health)
	b.t = t
	b.WriteConfig(yaml)
	argv := append(append([]string{}, opts.Launch...), binary, "serve", "-c", b.Config)
	b.Daemon = Daemon{
		name: "bellbuoy", path: argv[0], args: argv[1:], dir: dir,
		env:   append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GORACE=halt_on_error=1"}, opts.Env...),
		ready: b.readiness(),
	}
	b.launch(t)
	return b
}

func (b *Buoy) readiness() func(context.Context) error {
	if b.opts.NoWait {
		return func(context.Context) error { return nil }
	}
	return answers(b.HealthURL+"/readyz", http.StatusOK)
}

// Kill9 ends bellbuoy with SIGKILL.
func (b *Buoy) Kill9() { b.Kill() }

// WriteConfig replaces the configuration file in one step. It adds the keys that the configuration
// leaves out.
func (b *Buoy) WriteConfig(yaml string) {
	b.t.Helper()
	next := b.Config + ".next"
	WriteFile(b.t, next, b.complete(yaml))
	if err := os.Rename(next, b.Config); err != nil {
		b.t.Fatalf("replacing the configuration: %v", err)
	}
}

// Reload replaces the configuration and sends bellbuoy SIGHUP. It does not wait for the reload: see
// WaitLog.
func (b *Buoy) Reload(yaml string) {
	b.t.Helper()
	b.WriteConfig(yaml)
	b.Signal(syscall.SIGHUP)
}

// Command runs a subcommand of bellbuoy with this configuration, e.g. "ping", "ci".
func (b *Buoy) Command(args ...string) (string, error) {
	b.t.Helper()
	env := append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(b.Config)}, b.opts.Env...)
	return Try(b.t, env, Binary(b.t), append(args, "-c", b.Config)...)
}

// Metrics returns the text of /metrics.
func (b *Buoy) Metrics() string {
	b.t.Helper()
	return string(fetch(b.t, b.HealthURL+"/metrics"))
}

func (b *Buoy) complete(yaml string) string {
	defaults := []struct{ key, line string }{
		{"listen", fmt.Sprintf("listen: %q", b.Host)},
		{"health", fmt.Sprintf("health: {listen: %q}", strings.TrimPrefix(b.HealthURL, "http://"))},
		{"admin", `admin: {listen: ""}`},
		{"data_dir", fmt.Sprintf("data_dir: %q", b.DataDir)},
		{"log", "log: {level: debug}"},
	}
	var out strings.Builder
	for _, d := range defaults {
		if !regexp.MustCompile(`(?m)^` + d.key + `:`).MatchString(yaml) {
			out.WriteString(d.line + "\n")
		}
	}
	return out.String() + yaml
}

// built builds the binary once in each test process.
var built = sync.OnceValues(buildBinary)

// Binary returns the path of the bellbuoy binary, built from the present sources. It has the race
// detector when the test has, or when BELLBUOY_RACE is set. BELLBUOY_BINARY names another to be
// tested instead.
func Binary(t T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatalf("building bellbuoy: %v", err)
	}
	return path
}

// Race reports whether the binary that is tested has the race detector, which takes time and memory
// of its own.
func Race() bool { return raceEnabled || os.Getenv("BELLBUOY_RACE") != "" }

// buildBinary builds one binary for all test processes of a machine. go links nothing if the
// sources are those of the last build. This process keeps a hard link of its own, because another
// one may build other sources meanwhile.
func buildBinary() (string, error) {
	if path := os.Getenv("BELLBUOY_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("bellbuoy-test-%d", os.Getuid()))
	shared, args := filepath.Join(dir, "plain", "bellbuoy"), []string{"build", "-trimpath"} // as it is shipped
	if Race() {
		shared, args = filepath.Join(dir, "race", "bellbuoy"), append(args, "-race")
	}
	if err := os.MkdirAll(filepath.Dir(shared), 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(shared + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	done := parts.Progress(os.Stderr, "building bellbuoy")
	defer done()
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/bellbuoy/bellbuoy").Output()
	if err != nil {
		return "", fmt.Errorf("finding bellbuoy's sources: %w", err)
	}
	cmd := exec.Command("go", append(args, "-o", shared, "./cmd/bellbuoy")...)
	cmd.Dir = strings.TrimSpace(string(root)) // its own module, also for tests of another one
	if log, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, log)
	}
	sweep(dir)
	mine := filepath.Join(dir, fmt.Sprintf("bellbuoy-%d", os.Getpid()))
	os.Remove(mine) // of an earlier process with the same id
	return mine, os.Link(shared, mine)
}

// lock takes a lock between processes. It waits until the lock is free.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// sweep removes the binaries of test processes that have ended.
func sweep(dir string) {
	found, _ := filepath.Glob(filepath.Join(dir, "bellbuoy-*"))
	for _, path := range found {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(path), "bellbuoy-%d", &pid); err != nil {
			continue
		}
		if syscall.Kill(pid, 0) == syscall.ESRCH {
			os.Remove(path)
		}
	}
}
