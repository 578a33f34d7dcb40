package config

import (
	"fmt"
	"io"
	"os"
	"regexp"
)

// DataDir returns the data_dir of the configuration file at path, and whether the file itself names
// it. It evaluates no other key, because other values may be wrong and their variables unset.
func DataDir(path string, env func(string) (string, bool)) (dir string, named bool, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", false, fmt.Errorf("reading configuration: %s: %w", path, withoutPath(err))
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return "", false, fmt.Errorf("reading configuration: %s: %w", path, withoutPath(err))
	}
	found := &findings{file: path, bad: map[string]bool{}}
	d := &decoder{findings: found, expander: &expander{env: env}, scalars: map[string]rawScalar{}, places: map[string]place{}}
	cfg := d.config(&node{kind: mapping, keys: dataDirOf(data)})
	d.complete(cfg)
	if _, err := found.result(); err != nil {
		return "", false, err
	}
	_, named = d.places["data_dir"]
	return cfg.DataDir, named, nil
}

var dataDirLine = regexp.MustCompile(`(?m)^data_dir[ \t]*:.*$`)

// dataDirOf returns the key data_dir of a file. If the file is not YAML, it returns the line that
// begins with that key.
func dataDirOf(data []byte) []key {
	ignored := &findings{bad: map[string]bool{}}
	root := readTree(data, ignored)
	if root == nil {
		root = readTree(dataDirLine.Find(data), ignored)
	}
	if root == nil {
		return nil
	}
	for _, k := range root.keys {
		if k.name == "data_dir" {
			return []key{k}
		}
	}
	return nil
}
