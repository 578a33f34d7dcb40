// Package presets holds what is known of consumers, as data: a file for each, with the keys of a
// webhook that the consumer wants, what it needs from the user, and what is to be set on its side.
// To add one, add its file.
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

// Preset is a consumer.
type Preset struct {
	Name     string `yaml:"-"`        // that of its file
	Title    string `yaml:"title"`    // what people call the consumer
	Link     string `yaml:"link"`     // its documentation
	About    string `yaml:"about"`    // one sentence: what it does with an event
	Needs    []Need `yaml:"needs"`    // what the user has to give
	Consumer string `yaml:"consumer"` // Markdown: what to set on its side
	See      string `yaml:"see"`      // Markdown: how to see that it works
	Webhook  string `yaml:"-"`        // YAML: keys of webhooks[] that it stands for
	Example  string `yaml:"-"`        // YAML: those that the user gives, for example
}

// Need is a key that the user has to give.
type Need struct {
	Key      string `yaml:"key"`      // of webhooks[]: auth_header, url, match.repositories
	Contains string `yaml:"contains"` // what its value must contain; "": it must be there
	Why      string `yaml:"why"`
}

// Names of the presets, sorted.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // they are part of the program
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

// block is the text below a key, as it stands in the file, without its indentation.
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
