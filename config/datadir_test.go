package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDataDir: commands find the running bellbuoy even if other values of the file are wrong.
func TestDataDir(t *testing.T) {
	env := environment(map[string]string{"DIR": "/var/lib/bellbuoy"})
	for name, tt := range map[string]struct {
		file, dir string
		named     bool
		err       string
	}{
		"variables of others": {"database: ${UNSET}\ndata_dir: ${DIR}\nlimits: x\n", "/var/lib/bellbuoy", true, ""},
		"not YAML":            {"data_dir: /data # there\nwebhooks: [\n", "/data", true, ""},
		"flow":                {"{data_dir: /data, listen: 7}", "/data", true, ""},
		"none":                {"listen: :80\n", "./data", false, ""},
		"empty":               {"", "./data", false, ""},
		"its own variable":    {"data_dir: ${UNSET}\n", "", false, "data_dir: the environment variable UNSET is not set"},
		"a list":              {"data_dir: [a]\n", "", false, "data_dir: must be a string"},
	} {
		path := filepath.Join(t.TempDir(), "bellbuoy.yaml")
		if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
			t.Fatal(err)
		}
		dir, named, err := DataDir(path, env)
		if dir != tt.dir || named != tt.named || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q %v %v", name, dir, named, err)
		}
	}
	if dir, named, err := DataDir(os.DevNull, environment(map[string]string{"STATE_DIRECTORY": "/state"})); dir != "/state" || named || err != nil {
		t.Errorf("$STATE_DIRECTORY: %q %v %v", dir, named, err)
	}
}
