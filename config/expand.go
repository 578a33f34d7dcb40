package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"regexp"
	"strconv"
	"strings"
)

// maxSecretFile bounds what ${file:…} reads.
const maxSecretFile = 1 << 20

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	expansion    = regexp.MustCompile(`\$\$\{|\$\{[^}]*\}?`)
)

// expander replaces ${VAR}, ${VAR:-default} and ${file:/path} in the strings of a file. What it puts in is not looked
// at again, so that a value can be any text.
type expander struct {
	env   func(string) (string, bool)
	files []string // every path of a ${file:…}, for whoever watches them
}

// expand returns text with everything replaced. Errors name variables and files, never values.
func (e *expander) expand(text string) (string, error) {
	var errs []error
	out := expansion.ReplaceAllStringFunc(text, func(found string) string {
		value, err := e.value(found)
		if err != nil {
			errs = append(errs, err)
		}
		return value
	})
	return out, errors.Join(errs...)
}

func (e *expander) value(found string) (string, error) {
	if found == "$${" {
		return "${", nil
	}
	inner, closed := strings.CutSuffix(found[len("${"):], "}")
	if !closed {
		return "", errors.New(`"${" without "}"; write "$${" for a literal "${"`)
	}
	if path, ok := strings.CutPrefix(inner, "file:"); ok {
		return e.readSecret(path)
	}
	return e.variable(inner)
}

// variable is the value of VAR or VAR:-default. As in a shell, the default also stands in for an empty variable.
func (e *expander) variable(inner string) (string, error) {
	name, fallback, hasFallback := strings.Cut(inner, ":-")
	if !variableName.MatchString(name) {
		return "", fmt.Errorf(`"${%s}" is none of ${VAR}, ${VAR:-default} and ${file:/path}; write "$${" for a literal "${"`, inner)
	}
	value, set := e.env(name)
	if hasFallback && value == "" {
		return fallback, nil
	}
	if !set {
		return "", fmt.Errorf("the environment has no %s; ${%s:-default} would give it a default", name, name)
	}
	return value, nil
}

// readSecret is the content of a file without one newline at its end.
func (e *expander) readSecret(path string) (string, error) {
	if path == "" {
		return "", errors.New("${file:} names no file")
	}
	e.files = append(e.files, path)
	data, err := readBounded(path, maxSecretFile)
	if err != nil {
		return "", fmt.Errorf("${file:%s}: %w", path, err)
	}
	text := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}

// readBounded reads a regular file of at most limit bytes; a pipe or a device could block or never end.
func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("larger than %s", Size(limit))
	}
	return data, nil
}

// withoutPath leaves the cause of a file's error: the caller has already named the path, as the user wrote it.
// Where reading is not allowed it names the user, which is seldom the one who asks.
func withoutPath(err error) error {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		err = pathErr.Err
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w for %s", err, whoReads())
	}
	return err
}

// whoReads is the user that this process runs as.
func whoReads() string {
	id := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(id); err == nil {
		return fmt.Sprintf("user %s (uid %s)", u.Username, id)
	}
	return "uid " + id
}

// expands says whether text has anything to replace.
func expands(text string) bool { return strings.Contains(text, "${") }

// maskExpansions writes NUL, which no URL has, for everything in text that would be replaced.
func maskExpansions(text string) string {
	return expansion.ReplaceAllLiteralString(text, "\x00")
}
