package parts

import (
	"context"
	"io"
	"os"
	"path"
	"path/filepath"
)

// A cut leaves out parts of a module when another module is built with it.
type cut struct {
	module  string
	version string
	keep    []string          // globs of the files that stay
	add     map[string]string // further files with their content
}

// replace makes the module in src use a copy of c's module that has only the files that c leaves.
func (c cut) replace(ctx context.Context, src string, log io.Writer) error {
	from, err := download(ctx, c.module+"@"+c.version, src, log)
	if err != nil {
		return err
	}
	dir := filepath.Join(src, ".cut", path.Base(c.module)+"-"+c.version)
	for _, glob := range c.keep {
		files, err := filepath.Glob(filepath.Join(from, filepath.FromSlash(glob)))
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := copyBelow(from, file, dir); err != nil {
				return err
			}
		}
	}
	for name, content := range c.add {
		if err := write(filepath.Join(dir, filepath.FromSlash(name)), []byte(content)); err != nil {
			return err
		}
	}
	return goCommand(ctx, src, log, "mod", "edit", "-replace", c.module+"="+dir).Run()
}

// copyBelow copies a file below from to the same place below to.
func copyBelow(from, file, to string) error {
	name, err := filepath.Rel(from, file)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return write(filepath.Join(to, name), content)
}

func write(name string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, content, 0o644)
}
