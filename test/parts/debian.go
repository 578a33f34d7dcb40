package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// debian is a program of a Debian package, found in PATH, the system's sbin directories, or dirs.
type debian struct {
	packages string
	dirs     []string // globs; the last match wins, so that the newest version is used
}

func (d debian) find(_ cache, p part) (string, bool) {
	for _, glob := range append([]string{"/usr/sbin", "/sbin"}, d.dirs...) {
		matches, _ := filepath.Glob(filepath.Join(glob, p.name))
		if len(matches) > 0 {
			return matches[len(matches)-1], true
		}
	}
	if len(d.dirs) > 0 { // a program of that name in PATH would only be a wrapper
		return "", false
	}
	path, err := exec.LookPath(p.name)
	return path, err == nil
}

func (d debian) install(ctx context.Context, _ cache, p part, log io.Writer) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s is missing; install it with: sudo apt-get install %s", p.name, d.packages)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("%s is missing and there is no apt-get to install %s with", p.name, d.packages)
	}
	restore, err := keepServicesStopped()
	if err != nil {
		return err
	}
	defer restore()
	if err := d.aptInstall(ctx, log); err == nil {
		return nil
	}
	if err := apt(ctx, log, "update"); err != nil {
		return err
	}
	return d.aptInstall(ctx, log)
}

func (d debian) aptInstall(ctx context.Context, log io.Writer) error {
	args := append([]string{"install", "-y", "--no-install-recommends"}, strings.Fields(d.packages)...)
	return apt(ctx, log, args...)
}

func apt(ctx context.Context, log io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=300"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w", args[0], err)
	}
	return nil
}

const policyFile = "/usr/sbin/policy-rc.d"

// keepServicesStopped keeps Debian from starting the services that it installs: the tests start
// their own, on their own ports. A machine's own policy is not changed.
func keepServicesStopped() (restore func(), err error) {
	f, err := os.OpenFile(policyFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keeping services stopped: %w", err)
	}
	_, err = f.WriteString("#!/bin/sh\nexit 101\n")
	return func() { os.Remove(policyFile) }, errors.Join(err, f.Close())
}
