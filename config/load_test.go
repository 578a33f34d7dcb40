package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/google/go-cmp/cmp"
)

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bellbuoy.yaml")
	if err := os.WriteFile(path, []byte(smallest+"    retri: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := Load(path, noEnv)
	if want := path + `:8:5: webhooks[0].retri: unknown key; did you mean "retry"?`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := os.WriteFile(path, []byte(smallest), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path, noEnv); err != nil {
		t.Error(err)
	}
}

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	_, _, err := Load(filepath.Join(dir, "none.yaml"), noEnv)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("missing file: %v", err)
	}
	if _, _, err := Load(dir, noEnv); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: %v", err)
	}
}

// TestUnreadableNamesTheUser: a denied read names the user of the process, which is often another
// one than the reader of the message expects.
func TestUnreadableNamesTheUser(t *testing.T) {
	err := withoutPath(&fs.PathError{Op: "open", Path: "/etc/bellbuoy/bellbuoy.yaml", Err: syscall.EACCES})
	if want := fmt.Sprintf("uid %d", os.Geteuid()); !strings.Contains(err.Error(), want) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, want it to name %s", err, want)
	}
	if err := withoutPath(&fs.PathError{Err: syscall.ENOENT}); strings.Contains(err.Error(), "uid") {
		t.Errorf("got %v", err)
	}
}

func TestFind(t *testing.T) {
	t.Chdir(t.TempDir())
	env := environment(map[string]string{"BELLBUOY_CONFIG": "env.yaml"})
	if got, err := Find("flag.yaml", env); got != "flag.yaml" || err != nil {
		t.Errorf("flag: %q %v", got, err)
	}
	if got, err := Find("", env); got != "env.yaml" || err != nil {
		t.Errorf("environment: %q %v", got, err)
	}
	_, err := firstExisting("./bellbuoy.yaml", "./etc/bellbuoy.yaml")
	want := "no configuration file: -c and $BELLBUOY_CONFIG are not set, and there is no ./bellbuoy.yaml and no ./etc/bellbuoy.yaml"
	if !errors.Is(err, ErrNotFound) || err.Error() != want {
		t.Errorf("nothing there: %v", err)
	}
	if err := os.WriteFile("bellbuoy.yaml", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Find("", noEnv); got != "./bellbuoy.yaml" || err != nil {
		t.Errorf("working directory: %q %v", got, err)
	}
}

func TestFiles(t *testing.T) {
	ca := authority.New(t)
	t.Chdir(ca.File("."))
	for _, name := range []string{"jwks", "secret"} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"client", "clients", "own"} {
		ca.Issue(name)
	}
	cfg := mustParse(t, smallest+`
    auth_header: ${file:secret}
    tls: {ca_file: ca.pem, cert_file: client.pem, key_file: client.key}
tls: {cert_file: own.pem, key_file: own.key, client_ca_file: clients.pem}
identity: {verify: {jwks_file: jwks}}
`)
	if diff := cmp.Diff([]string{"ca.pem", "client.key", "client.pem", "clients.pem", "jwks", "own.key", "own.pem", "secret"}, cfg.Files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestProblemHasItsPlace(t *testing.T) {
	cfg := mustParse(t, smallest)
	for path, want := range map[string]string{
		"webhooks[0].url":        "bellbuoy.yaml:7:10: warning: webhooks[0].url: m",
		"webhooks[0].tls":        "bellbuoy.yaml:6:5: warning: webhooks[0].tls: m",
		"upstreams[0].tls.x.y.z": "bellbuoy.yaml:2:5: warning: upstreams[0].tls.x.y.z: m",
		"data_dir":               "bellbuoy.yaml:1:1: warning: data_dir: m",
	} {
		if got := cfg.Warning(path, "m").String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestNames(t *testing.T) {
	cfg := mustParse(t, smallest+"limits: {idle: 1m}\nlog:\n")
	for path, want := range map[string]bool{"webhooks[0].url": true, "limits.idle": true, "data_dir": false, "limits.header_read": false, "log": false} {
		if cfg.Names(path) != want {
			t.Errorf("%s: not %v", path, want)
		}
	}
}

func TestKeepUntilRestart(t *testing.T) {
	running := mustParse(t, smallest)
	for _, tt := range []struct {
		change func(*Config)
		want   string
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Log.Level, c.Webhooks, c.ShutdownGrace = "debug", nil, 1 }, ""},
		{func(c *Config) { c.TLS.ClientCAFile = "ca" }, ""},
		{func(c *Config) { c.Listen = ":1" }, "listen"},
		{func(c *Config) { c.TLS.CertFile = "cert" }, "tls"},
		{func(c *Config) { c.Admin.TLS.CertFile = "cert" }, "admin.tls"},
		{func(c *Config) { c.DataDir, c.Log.Level = "/data", "warn" }, "data_dir"},
		{func(c *Config) { c.Database = "postgres://db" }, "database"},
		{func(c *Config) { c.Health.Listen, c.Admin.Listen = "", "" }, "health.listen admin.listen"},
	} {
		next := mustParse(t, smallest)
		tt.change(next)
		level := next.Log.Level
		var keys []string
		for _, w := range KeepUntilRestart(running, next) {
			keys = append(keys, w.Path)
		}
		if got := strings.Join(keys, " "); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
		if next.Listen != running.Listen || next.TLS.On() || next.DataDir != running.DataDir || next.Database != running.Database ||
			next.Health != running.Health || next.Admin.Listen != running.Admin.Listen || next.Log.Level != level {
			t.Errorf("%s: the running values are not kept, or others are: %+v", tt.want, next)
		}
	}
}
