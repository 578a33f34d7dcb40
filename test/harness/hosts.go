package harness

import (
	"os"
	"path/filepath"
)

// Hosts returns a BuoyOptions.Launch for a bellbuoy whose /etc/hosts has only these lines. It is
// nil unless the tests run as root, because mounting the file needs root.
func Hosts(t T, lines string) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	file := filepath.Join(t.TempDir(), "hosts")
	WriteFile(t, file, lines)
	return []string{"unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, file}
}
