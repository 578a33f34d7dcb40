package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
)

// Webhook reads one webhook that was made by console or API. data is YAML or JSON with the keys
// of an entry of webhooks. The webhook is checked as if it were in c's file, but it may not use
// ${…} or name files, which belong to the operator. The error is a Problems whose paths begin at
// the webhook's own keys.
func (c *Config) Webhook(name string, data []byte) (Webhook, error) {
	found := &findings{file: name, bad: map[string]bool{}}
	root := readTree(data, found)
	if root == nil {
		_, err := found.result()
		if err == nil {
			err = errors.New("the webhook is empty")
		}
		return Webhook{}, err
	}
	d := &decoder{findings: found, expander: &expander{env: os.LookupEnv, closed: true},
		scalars: map[string]rawScalar{}, places: map[string]place{}}
	with := *c
	wrapped := &node{kind: mapping, at: root.at, keys: []key{{name: "webhooks", at: root.at,
		value: &node{kind: list, at: root.at, items: []*node{root}}}}}
	d.block(wrapped, reflect.ValueOf(&with).Elem(), "")
	if len(with.Webhooks) != 1 {
		_, err := found.result()
		return Webhook{}, err
	}
	w := &with.Webhooks[0]
	w.complete()
	v := &validator{decoder: d, cfg: &with}
	v.webhook(entryPath, *w)
	v.unique("webhooks", []string{w.Name})
	eachFile(reflect.ValueOf(w).Elem(), entryPath, func(path, _ string) {
		v.problem(path, "names a file, which only a webhook of the configuration file may")
	})
	if _, err := found.result(); err != nil {
		return Webhook{}, ownPaths(err)
	}
	return *w, nil
}

// entryPath is where the decoder finds the webhook.
const entryPath = "webhooks[0]"

// errExpansion is the error for a ${…} in a webhook of console or API.
var errExpansion = errors.New("${…} is for the configuration file only")

// ownPaths removes the webhook's path in the file from the paths of problems.
func ownPaths(err error) error {
	problems, ok := errors.AsType[Problems](err)
	if !ok {
		return err
	}
	problems = slices.Clone(problems)
	for i, p := range problems {
		problems[i].Path = strings.TrimPrefix(strings.TrimPrefix(p.Path, entryPath), ".")
	}
	return problems
}

// Plain returns each problem as "key: what is wrong", without the position in a file.
func (ps Problems) Plain() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		if lines[i] = p.Message; p.Path != "" {
			lines[i] = fmt.Sprintf("%s: %s", p.Path, p.Message)
		}
	}
	return strings.Join(lines, "; ")
}
