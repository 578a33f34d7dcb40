// Package presets describes known consumers of webhooks as data. Each has one YAML file with the
// keys of the webhook that it expects, the keys that the user must give, and the settings on the
// consumer's side. To add a preset, add its file.
package presets

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

//go:embed *.yaml
var files embed.FS

// Preset describes one consumer.
type Preset struct {
	Name     string `yaml:"-"`        // the name of its file
	Title    string `yaml:"title"`    // what people call the consumer
	Link     string `yaml:"link"`     // its documentation
	About    string `yaml:"about"`    // one sentence: what it does with an event
	Needs    []Need `yaml:"needs"`    // keys that the user must give
	Consumer string `yaml:"consumer"` // Markdown: how to set it up
	See      string `yaml:"see"`      // Markdown: how to see that it works
	Webhook  string `yaml:"-"`        // YAML: keys of webhooks[] that the preset sets
	Example  string `yaml:"-"`        // YAML: example of the keys that the user gives
}

// Need is a key of webhooks[] that the user must give.
type Need struct {
	Key      string `yaml:"key"`      // of webhooks[]: auth_header, url, match.repositories
	Contains string `yaml:"contains"` // what its value must contain; "": any value
	Why      string `yaml:"why"`
}

// Names returns the names of the presets, sorted.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // the files are part of the program
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	slices.Sort(names)
	return names
}

// Get returns a preset by its name.
func Get(name string) (p Preset, ok bool) {
	if !slices.Contains(Names(), name) {
		return Preset{}, false
	}
	data, err := files.ReadFile(name + ".yaml")
	if err == nil {
		err = yaml.Unmarshal(data, &p)
	}
	if err != nil {
		panic(fmt.Sprintf("preset %s: %v", name, err)) // a test reads them all
	}
	p.Name, p.Webhook, p.Example = name, block(string(data), "webhook"), block(string(data), "example")
	return p, true
}

// block returns the text below a key of the file, without its indentation.
func block(text, key string) string {
	_, rest, _ := strings.Cut("\n"+text, "\n"+key+":\n")
	var out strings.Builder
	for line := range strings.Lines(rest) {
		if line != "\n" && !strings.HasPrefix(line, "  ") {
			break
		}
		out.WriteString(strings.TrimPrefix(line, "  "))
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}
