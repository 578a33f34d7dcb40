package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
)

// Load reads the configuration file at path. env looks up environment variables, as os.LookupEnv
// does. See Parse.
func Load(path string, env func(string) (string, bool)) (*Config, Warnings, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading configuration: %s: %w", path, withoutPath(err))
	}
	defer file.Close()
	// One byte more, so that Parse notices a file that is too long.
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("reading configuration: %s: %w", path, withoutPath(err))
	}
	return Parse(path, data, env)
}

// ErrNotFound is wrapped by Find's error if none of the places has a configuration file.
var ErrNotFound = errors.New("no configuration file")

// Find returns the path of the configuration file: flag if it is set, else $BELLBUOY_CONFIG, else
// the first that exists of ./bellbuoy.yaml and /etc/bellbuoy/bellbuoy.yaml. It does not check a
// path that the user names; Load does.
func Find(flag string, env func(string) (string, bool)) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if path, _ := env("BELLBUOY_CONFIG"); path != "" {
		return path, nil
	}
	return firstExisting("./bellbuoy.yaml", "/etc/bellbuoy/bellbuoy.yaml")
}

func firstExisting(paths ...string) (string, error) {
	for _, path := range paths {
		// A file that exists counts even if it cannot be read.
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: -c and $BELLBUOY_CONFIG are not set, and there is no %s", ErrNotFound, strings.Join(paths, " and no "))
}

// Files returns the files that the configuration names, sorted: files of ${file:…}, certificates
// and keys. A change of any of them causes a reload.
func (c *Config) Files() []string {
	files := slices.Clone(c.source.secretFiles)
	eachFile(reflect.ValueOf(c).Elem(), "", func(_, file string) { files = append(files, file) })
	slices.Sort(files)
	return slices.Compact(files)
}

// eachFile calls do for every file below v, with its path in the configuration and its name.
func eachFile(v reflect.Value, path string, do func(path, file string)) {
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			eachFile(v.Index(i), fmt.Sprintf("%s[%d]", path, i), do)
		}
		return
	}
	if !isBlock(v.Type()) {
		return
	}
	for _, f := range fieldsOf(v.Type()) {
		field, at := v.Field(f.index), join(path, f.name)
		if v.Type().Field(f.index).Tag.Get("role") != "file" {
			eachFile(field, at, do)
		} else if field.String() != "" {
			do(at, field.String())
		}
	}
}

// Warning returns a warning about the value at path, such as webhooks[0].url, with its place in the
// file. It is for checks outside this package.
func (c *Config) Warning(path, message string) Problem {
	w := c.Problem(path, message)
	w.Warning = true
	return w
}

// Problem returns a problem with the value at path; see Warning.
func (c *Config) Problem(path, message string) Problem {
	at := c.source.place(path)
	return Problem{File: c.source.file, Line: at.line, Column: at.column, Path: path, Message: message}
}

// Names reports whether the file has a value at path, such as data_dir. Otherwise the value is a
// default.
func (c *Config) Names(path string) bool {
	_, ok := c.source.places[path]
	return ok
}

// KeepUntilRestart copies the values that a reload cannot change from the running configuration to
// next. It returns a warning for each value that differs.
func KeepUntilRestart(running, next *Config) Warnings {
	var kept Warnings
	keep(next, &kept, "listen", running.Listen, &next.Listen)
	if running.TLS.On() != next.TLS.On() {
		keep(next, &kept, "tls", running.TLS, &next.TLS)
	}
	keep(next, &kept, "data_dir", running.DataDir, &next.DataDir)
	keep(next, &kept, "database", running.Database, &next.Database)
	keep(next, &kept, "health.listen", running.Health.Listen, &next.Health.Listen)
	keep(next, &kept, "admin.listen", running.Admin.Listen, &next.Admin.Listen)
	if running.Admin.TLS.On() != next.Admin.TLS.On() {
		keep(next, &kept, "admin.tls", running.Admin.TLS, &next.Admin.TLS)
	}
	return kept
}

func keep[T comparable](next *Config, kept *Warnings, key string, running T, value *T) {
	if *value == running {
		return
	}
	*value = running
	*kept = append(*kept, next.Warning(key, "needs a restart to change; it keeps its old value until then"))
}
