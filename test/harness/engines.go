package harness

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// An Engine is a container daemon that pushes and pulls; it need not be able to run a container.
type Engine struct {
	Daemon
	Socket string
	client string   // the path of its command-line client
	args   []string // which reach this daemon
}

// Run runs the engine's own client, docker or ctr, against it.
func (e *Engine) Run(t T, env []string, args ...string) string {
	t.Helper()
	return Run(t, env, e.client, append(append([]string{}, e.args...), args...)...)
}

// Try is Run for a client that may fail.
func (e *Engine) Try(t T, env []string, args ...string) (string, error) {
	t.Helper()
	return Try(t, env, e.client, append(append([]string{}, e.args...), args...)...)
}

// A Skipper is a T that can be skipped. The T of the demo cannot.
type Skipper interface {
	T
	Skipf(format string, args ...any)
}

// Dockerd starts a Docker daemon with a data directory of its own and without any network.
// Registries on 127.0.0.0/8 need no TLS. If this machine cannot start one, the test is skipped with
// the reason.
func Dockerd(t Skipper, flags ...string) *Engine {
	t.Helper()
	dir := engineDir(t, "dockerd")
	socket := filepath.Join(dir, "docker.sock")
	config := filepath.Join(dir, "daemon.json") // instead of the machine's own
	WriteFile(t, config, "{}")
	e := &Engine{Socket: socket, client: Part(t, "docker"), args: []string{"-H", "unix://" + socket}}
	e.Daemon = Daemon{
		name: "dockerd", path: Part(t, "dockerd"), dir: dir, env: engineEnv(dir), kill: syscall.SIGTERM,
		args: append([]string{
			"--config-file", config, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
			"--pidfile", filepath.Join(dir, "pid"), "-H", "unix://" + socket, "--storage-driver", "vfs",
			"--iptables=false", "--ip6tables=false", "--bridge=none",
		}, flags...),
	}
	e.launchOrSkip(t, "version")
	return e
}

// Containerd starts containerd with the directories of its own, without its CRI plugin. Pull with
// `images pull --plain-http --snapshotter native`.
func Containerd(t Skipper) *Engine {
	t.Helper()
	dir := engineDir(t, "containerd")
	socket := filepath.Join(dir, "containerd.sock")
	config := filepath.Join(dir, "config.toml")
	WriteFile(t, config, strings.NewReplacer("DIR", dir, "SOCKET", socket).Replace(`version = 2
root = "DIR/root"
state = "DIR/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "SOCKET"
[ttrpc]
  address = "DIR/ttrpc.sock"
`))
	e := &Engine{Socket: socket, client: Part(t, "ctr"), args: []string{"-a", socket}}
	e.Daemon = Daemon{
		name: "containerd", path: Part(t, "containerd"), dir: dir, env: engineEnv(dir), args: []string{"-c", config},
		kill: syscall.SIGTERM,
	}
	e.launchOrSkip(t, "version")
	return e
}

// launchOrSkip starts the daemon, and skips the test if that fails.
func (e *Engine) launchOrSkip(t Skipper, probe ...string) {
	t.Helper()
	e.ready = func(ctx context.Context) error {
		return exec.CommandContext(ctx, e.client, append(append([]string{}, e.args...), probe...)...).Run()
	}
	e.prepare(t)
	e.StartOnly()
	if err := e.WaitReady(readyTimeout); err != nil {
		t.Skipf("THIS MACHINE CANNOT START %s, so this test is left out: %v", e.name, err)
	}
}

// engineDir makes a directory with a short path: paths of sockets have at most about a hundred
// characters. At the end of the test it unmounts what is still mounted there.
func engineDir(t Skipper, name string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("%s needs root, so this test is left out", name)
	}
	Part(t, name)
	dir, err := os.MkdirTemp("", "bb-"+name+"-")
	if err != nil {
		t.Fatalf("making a directory: %v", err)
	}
	t.Cleanup(func() {
		unmountBelow(dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("leaving %s behind: %v", dir, err)
		}
	})
	return dir
}

func engineEnv(dir string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir}
}

// unmountBelow unmounts what a killed daemon left mounted below dir, the innermost first.
func unmountBelow(dir string) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	lines := strings.Split(string(mounts), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		fields := strings.Fields(lines[i])
		if len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			syscall.Unmount(fields[1], syscall.MNT_DETACH)
		}
	}
}
