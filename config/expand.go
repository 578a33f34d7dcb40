package config

import (
	"cmp"
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

// maxSecretFile bounds the size of a ${file:…}.
const maxSecretFile = 1 << 20

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	expansion    = regexp.MustCompile(`\$\$\{|\$\{[^}]*\}?`)
)

// expander replaces ${VAR}, ${VAR:-default} and ${file:/path} in strings of the file. It does not
// expand the results again, so a value can be any text.
type expander struct {
	env   func(string) (string, bool)
	files []string // every path of a ${file:…}, for watching

	closed bool // expansion is an error
}

// expand replaces every ${…} in text. empty is the first one that expands to nothing without an
// explicit empty default. Errors name variables and files, never values.
func (e *expander) expand(text string) (out, empty string, err error) {
	var errs []error
	out = expansion.ReplaceAllStringFunc(text, func(found string) string {
		value, err := e.value(found)
		if err != nil {
			errs = append(errs, err)
		} else if value == "" && !strings.Contains(found, ":-") {
			empty = cmp.Or(empty, found)
		}
		return value
	})
	return out, empty, errors.Join(errs...)
}

func (e *expander) value(found string) (string, error) {
	if e.closed {
		return "", errExpansion
	}
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

// variable returns the value of VAR or VAR:-default. As in a shell, the default also replaces an
// empty variable.
func (e *expander) variable(inner string) (string, error) {
	name, fallback, hasFallback := strings.Cut(inner, ":-")
	if !variableName.MatchString(name) {
		return "", fmt.Errorf(`"${%s}" is not ${VAR}, ${VAR:-default} or ${file:/path}; write "$${" for a literal "${"`, inner)
	}
	value, set := e.env(name)
	if hasFallback && value == "" {
		return fallback, nil
	}
	if !set {
		return "", fmt.Errorf("the environment variable %s is not set; ${%s:-default} gives it a default", name, name)
	}
	return value, nil
}

// readSecret returns the content of a file without one newline at its end.
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

// readBounded reads a regular file of at most limit bytes. It refuses pipes and devices, which
// could block or never end.
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

// withoutPath removes the path from a file's error, because the caller's message has it in the
// user's spelling. If permission is denied, it adds the user of the process.
func withoutPath(err error) error {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		err = pathErr.Err
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w for %s", err, processUser())
	}
	return err
}

// processUser describes the user of this process.
func processUser() string {
	id := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(id); err == nil {
		return fmt.Sprintf("user %s (uid %s)", u.Username, id)
	}
	return "uid " + id
}

// expands reports whether text contains a ${…}.
func expands(text string) bool { return strings.Contains(text, "${") }

// maskExpansions replaces every ${…} in text by a NUL, which no URL contains.
func maskExpansions(text string) string {
	return expansion.ReplaceAllLiteralString(text, "\x00")
}
