package parts

import (
	"context"
	"io"
	"path/filepath"
)

// moduleFile is a file of a module that is not compiled.
type moduleFile struct {
	module string
	file   string // slash-separated, below the module
}

func (m moduleFile) find(c cache, p part) (string, bool) {
	return existing(c.dir(p), filepath.Base(m.file))
}

func (m moduleFile) install(ctx context.Context, c cache, p part, log io.Writer) error {
	return c.publish(p, func(dir string) error {
		from, err := download(ctx, m.module+"@"+p.version, dir, log)
		if err != nil {
			return err
		}
		file := filepath.Join(from, filepath.FromSlash(m.file))
		return copyBelow(filepath.Dir(file), file, dir)
	})
}
