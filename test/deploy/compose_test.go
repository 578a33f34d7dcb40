package deploy

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

const composeDir = "../../deploy/compose"

// The file follows the Compose specification, and all that it mounts exists.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	content := harness.ReadFile(t, composeDir+"/compose.yaml")
	var document any
	if err := yaml.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.NewCompiler().Compile(harness.Part(t, "compose-spec"))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(document); err != nil {
		t.Error(err)
	}
	document.(map[string]any)["services"].(map[string]any)["bellbuoy"].(map[string]any)["port"] = "5080"
	if schema.Validate(document) == nil {
		t.Error("an unknown key of a service is accepted")
	}
	var file composeFile
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	for name, service := range file.Services {
		service.check(t, name, file)
	}
	if ports := file.Services["registry"].Ports; len(ports) > 0 {
		t.Errorf("the registry has ports %v, past bellbuoy", ports)
	}
}

type composeFile struct {
	Services map[string]composeService
	Volumes  map[string]any
}

type composeService struct {
	Image     string
	Build     string
	Ports     []string
	Volumes   []string
	DependsOn []string `yaml:"depends_on"`
}

func (s composeService) check(t *testing.T, name string, file composeFile) {
	t.Helper()
	for _, volume := range s.Volumes {
		from, _, _ := strings.Cut(volume, ":")
		if strings.HasPrefix(from, ".") {
			harness.ReadFile(t, filepath.Join(composeDir, from))
		} else if _, ok := file.Volumes[from]; !ok {
			t.Errorf("%s mounts %s, which is no volume of the file", name, from)
		}
	}
	for _, other := range s.DependsOn {
		if _, ok := file.Services[other]; !ok {
			t.Errorf("%s depends on %s, which is not there", name, other)
		}
	}
	if s.Build != "" {
		harness.ReadFile(t, filepath.Join(composeDir, s.Build, "Dockerfile"))
	}
}

// The configuration has no problems, and names the services of the Compose file.
func TestComposeConfiguration(t *testing.T) {
	t.Parallel()
	content := harness.ReadFile(t, composeDir+"/bellbuoy.yaml")
	cfg, warnings, err := config.Parse("bellbuoy.yaml", content, os.LookupEnv)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	for _, url := range []string{cfg.Upstreams[0].URL, cfg.Upstreams[1].URL, cfg.Webhooks[0].URL.Reveal()} {
		host, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), ":")
		if !bytes.Contains(harness.ReadFile(t, composeDir+"/compose.yaml"), fmt.Appendf(nil, "\n  %s:\n", host)) {
			t.Errorf("%s is no service", host)
		}
	}
}

// The receiver prints what bellbuoy sends, and answers 200.
func TestComposeReceiver(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 here")
	}
	port := harness.FreePort(t)
	script := strings.Replace(string(harness.ReadFile(t, composeDir+"/receiver.py")), `("", 8000)`, fmt.Sprintf(`("127.0.0.1", %d)`, port), 1)
	cmd := exec.Command(python, "-u", "-c", script)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	stop := func() { cmd.Process.Kill(); <-ended }
	go func() { ended <- cmd.Wait() }()
	sent := harness.Eventually(harness.Soon, func() bool {
		resp, err := harness.Send("POST", fmt.Sprintf("http://127.0.0.1:%d/hook", port), []byte(`{"type":"PUSH_ARTIFACT"}`))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
	stop()
	if !sent || !strings.Contains(out.String(), `"type": "PUSH_ARTIFACT"`) {
		t.Errorf("answered 200: %v, printed %q", sent, &out)
	}
}
