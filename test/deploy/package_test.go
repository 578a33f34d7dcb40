package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// installPackage installs, updates, removes and purges a package where no systemd runs and, if this
// machine can run one in a container, where one runs.
func installPackage(t *testing.T, deb string) {
	t.Run("chroot", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("chroot needs a superuser")
		}
		root := t.TempDir()
		harness.Run(t, nil, "/bin/tar", "-C", root, "-xf", harness.Part(t, "debian"))
		harness.WriteFile(t, filepath.Join(root, "root/bellbuoy.deb"), string(harness.ReadFile(t, deb)))
		steps := string(harness.ReadFile(t, "testdata/package-chroot.sh"))
		if out, err := exec.Command("chroot", root, "sh", "-c", steps).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("systemd", func(t *testing.T) {
		docker := harness.Dockerd(t)
		id := systemdContainer(t, docker)
		docker.Run(t, nil, "cp", deb, id+":/root/bellbuoy.deb")
		docker.Run(t, nil, "cp", "testdata/package.sh", id+":/root/package.sh")
		if out, err := docker.Try(t, nil, "exec", id, "sh", "/root/package.sh"); err != nil {
			log, _ := docker.Try(t, nil, "exec", id, "journalctl", "--no-pager", "-u", "bellbuoy")
			t.Errorf("%v\n%s\n%s", err, out, log)
		}
	})
}

// systemdContainer starts a container that systemd runs. It gets CAP_SYS_ADMIN instead of all
// capabilities, because a machine that is confined itself cannot give all.
func systemdContainer(t *testing.T, docker *harness.Engine) (id string) {
	t.Helper()
	docker.Run(t, nil, "import", harness.Part(t, "debian"), "debian")
	id, err := docker.Try(t, nil, "run", "-d", "--network", "none", "--cap-add", "SYS_ADMIN", "--cgroupns", "host",
		"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "-v", "/sys/fs/cgroup:/sys/fs/cgroup",
		"--tmpfs", "/run", "--tmpfs", "/tmp", "-e", "container=docker", "--stop-signal", "SIGKILL", "debian", "/sbin/init")
	if err != nil {
		t.Skipf("THIS MACHINE RUNS NO CONTAINER, so this test is left out: %v", err)
	}
	id = strings.TrimSpace(id)
	state := ""
	if !harness.Eventually(harness.Soon, func() bool {
		state, _ = docker.Try(t, nil, "exec", id, "systemctl", "is-system-running")
		return strings.TrimSpace(state) == "running"
	}) {
		t.Skipf("THIS MACHINE RUNS NO SYSTEMD IN A CONTAINER, so this test is left out: it is %q", state)
	}
	return id
}
