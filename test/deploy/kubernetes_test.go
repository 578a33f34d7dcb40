package deploy

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// The configuration in the manifests has no problems and no warnings, and uses the variables that
// the pods get.
func TestConfigurationInKubernetes(t *testing.T) {
	for file, database := range map[string]string{"sidecar.yaml": "", "replicas.yaml": "postgres://db.example.com/bellbuoy"} {
		t.Run(file, func(t *testing.T) {
			env := map[string]string{"CI_TOKEN": "secret", "BELLBUOY_DATABASE": database}
			lookup := func(name string) (string, bool) { value, ok := env[name]; return value, ok }
			cfg, warnings, err := config.Parse("bellbuoy.yaml", []byte(configOf(t, file)), lookup)
			if err != nil || len(warnings) > 0 {
				t.Fatal(err, warnings)
			}
			if cfg.Webhooks[0].AuthHeader.Reveal() != "Bearer secret" || cfg.Database.Reveal() != database {
				t.Errorf("auth_header %q, database %q", cfg.Webhooks[0].AuthHeader.Reveal(), cfg.Database.Reveal())
			}
		})
	}
}

func configOf(t *testing.T, file string) string {
	t.Helper()
	documents := yaml.NewDecoder(bytes.NewReader(harness.ReadFile(t, filepath.Join("../../deploy/kubernetes", file))))
	for {
		var object struct {
			Kind string
			Data map[string]string
		}
		err := documents.Decode(&object)
		if errors.Is(err, io.EOF) {
			t.Fatalf("%s has no configuration", file)
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := object.Data["bellbuoy.yaml"]; ok {
			return text
		}
	}
}
