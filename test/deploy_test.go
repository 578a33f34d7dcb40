package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSystemdUnits(t *testing.T) {
	service, socket := unit(t, "bellbuoy.service"), unit(t, "bellbuoy.socket")
	for key, want := range map[string]string{
		"StateDirectory": "bellbuoy", "ExecReload": "/usr/bin/bellbuoy reload -c /etc/bellbuoy/bellbuoy.yaml", "DynamicUser": "yes", "Restart": "always", "Type": "notify",
		"EnvironmentFile": "-/etc/bellbuoy/environment", "ExecStart": "/usr/bin/bellbuoy serve -c /etc/bellbuoy/bellbuoy.yaml",
	} {
		if service[key] != want {
			t.Errorf("%s=%s in the service, want %s", key, service[key], want)
		}
	}
	if socket["ListenStream"] != "5080" || socket["FileDescriptorName"] != "proxy" {
		t.Errorf("the socket is %v, want 5080 under the name proxy", socket)
	}
}

// systemd itself checks the units, if it is installed, together with their example lines. It
// requires that the program exists, so the test puts another program into the unit.
func TestSystemdAcceptsTheUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	dir := t.TempDir()
	for _, name := range []string{"bellbuoy.service", "bellbuoy.socket"} {
		content, err := os.ReadFile("../deploy/systemd/" + name)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(content), "/usr/bin/bellbuoy", "/bin/true")
		text = strings.ReplaceAll(text, "\n#LoadCredential=", "\nLoadCredential=")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "verify", "--man=no", filepath.Join(dir, name)).CombinedOutput()
		if err != nil || strings.Contains(string(out), name+":") {
			t.Errorf("systemd refuses %s: %v\n%s", name, err, out)
		}
	}
}

// The comment of the unit names each credential by the path at which bellbuoy finds it.
func TestCredentialsOfTheUnitHaveTheirPaths(t *testing.T) {
	content, err := os.ReadFile("../deploy/systemd/bellbuoy.service")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for line := range strings.Lines(string(content)) {
		rest, ok := strings.CutPrefix(line, "#LoadCredential=")
		if !ok {
			continue
		}
		examples++
		name, path, _ := strings.Cut(strings.TrimSpace(rest), ":")
		if !strings.Contains(string(content), "/run/credentials/bellbuoy.service/"+name) || !strings.HasPrefix(path, "/etc/bellbuoy/") {
			t.Errorf("%s is loaded from %s, and not used", name, path)
		}
	}
	if examples == 0 {
		t.Error("there is no example of a credential")
	}
}

// unit returns the settings of a unit file. If a setting is repeated, its last value counts.
func unit(t *testing.T, name string) map[string]string {
	t.Helper()
	content, err := os.ReadFile("../deploy/systemd/" + name)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for line := range strings.SplitSeq(string(content), "\n") {
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			settings[key] = value
		}
	}
	return settings
}
