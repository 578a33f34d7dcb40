package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify/format/presets"
)

var update = flag.Bool("update", false, "rewrite docs/presets and docs/reference")

// The webhook that preset NAME prints does the same without the preset.
func TestPrintedPresetEqualsThePreset(t *testing.T) {
	for _, name := range presets.Names() {
		p, _ := presets.Get(name)
		text, err := presetYAML(p)
		if err != nil {
			t.Fatal(err)
		}
		upstream := "upstreams: [{type: registry, url: 'http://127.0.0.1:5000', external_url: 'https://registry.example.com'}]\n"
		c, _, err := config.Parse("f", []byte(upstream+text), func(string) (string, bool) { return "a-secret", true })
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		want, err := presetWebhook(p)
		if err != nil {
			t.Fatal(err)
		}
		got := c.Webhooks[0]
		want.Preset = ""
		if !reflect.DeepEqual(got, *want) {
			t.Errorf("%s: %+v\nwith the preset %+v", name, got, *want)
		}
	}
}

func TestPresetCommand(t *testing.T) {
	show := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"preset"}, args...), system{Stdout: &out, Stderr: &out, LookupEnv: os.LookupEnv})
		return code, out.String()
	}
	if code, out := show(); code != exitDone || strings.Count(out, "\n") != len(presets.Names())+1 || !strings.Contains(out, "kargo ") {
		t.Errorf("preset: exit code %d, want a list of %d presets:\n%s", code, len(presets.Names()), out)
	}
	if code, out := show("flux"); code != exitDone || !strings.Contains(out, "  - name: flux\n") || !strings.Contains(out, "# It needs auth_header, as") || !strings.Contains(out, `"tag":"v1.0.0"`) {
		t.Errorf("preset flux: exit code %d, want the webhook and a sample:\n%s", code, out)
	}
	if code, out := show("fluxx"); code != exitFailed || !strings.Contains(out, `there is no preset "fluxx"; there are argo-events, `) {
		t.Errorf("preset fluxx: exit code %d, want an error with the known presets:\n%s", code, out)
	}
}

// docs/presets has a page for each preset, and an index. Both are made from the presets' files.
func TestPresetPages(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "presets")
	want := map[string]string{}
	index := "# Presets\n\nA preset makes a webhook right for a consumer: `preset: NAME`, the URL, and what the consumer needs. Keys that are given override it.\n" +
		"These pages are made from `notify/format/presets/*.yaml` (`go test ./cmd/bellbuoy -run PresetPages -update`).\n\n| preset | for | what it does |\n|---|---|---|\n"
	for _, name := range presets.Names() {
		p, _ := presets.Get(name)
		want[name+".md"] = presetPage(t, p)
		index += fmt.Sprintf("| [`%s`](%s.md) | %s | %s |\n", name, name, p.Title, p.About)
	}
	want["README.md"] = index
	if *update {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range want {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(want) {
		t.Errorf("%s: got %d pages, want %d: %v", dir, len(entries), len(want), err)
	}
	for file, text := range want {
		got, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Error(err)
		} else if diff := cmp.Diff(text, string(got)); diff != "" {
			t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, diff)
		}
	}
}

func presetPage(t *testing.T, p presets.Preset) string {
	t.Helper()
	standsFor, err := presetYAML(p)
	if err != nil {
		t.Fatal(err)
	}
	sample, err := presetSample(p)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "# %s: `preset: %s`\n\n%s See [its documentation](%s).\n\n## In bellbuoy\n\n```yaml\nwebhooks:\n  - name: %s\n    preset: %s\n", p.Title, p.Name, p.About, p.Link, p.Name, p.Name)
	for line := range strings.Lines(p.Example) {
		out.WriteString("    " + line)
	}
	out.WriteString("```\n\n- The upstream needs `external_url`: the consumer identifies images by that name.\n")
	for _, need := range p.Needs {
		text := "`" + need.Key + "`"
		if need.Contains != "" {
			text += " with `" + need.Contains + "`"
		}
		fmt.Fprintf(&out, "- It needs %s, as %s.\n", text, need.Why)
	}
	fmt.Fprintf(&out, "\n## At %s\n\n%s\n## See that it works\n\n%s\n## What it stands for\n\n```yaml\n%s```\n\nA sample of what it sends:\n\n```http\n%s```\n",
		p.Title, p.Consumer, p.See, standsFor, sample)
	return out.String()
}
