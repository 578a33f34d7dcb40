package parts

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// npm is a file of an npm package: a script that a test runs in a browser. npm itself comes from
// Debian.
type npm struct {
	pkg  string
	file string // in the package
}

func (n npm) find(c cache, p part) (string, bool) { return existing(c.dir(p), path.Base(n.file)) }

func (n npm) install(ctx context.Context, c cache, p part, log io.Writer) error {
	program, err := c.ensure(ctx, part{"npm", "", debian{packages: "npm"}})
	if err != nil {
		return err
	}
	return c.publish(p, func(dir string) error {
		in, err := os.MkdirTemp("", "bellbuoy-part-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(in)
		cmd := exec.CommandContext(ctx, program, "install", "--prefix", in, "--ignore-scripts", "--no-audit", "--no-fund", n.pkg+"@"+strings.TrimPrefix(p.version, "v"))
		cmd.Dir, cmd.Stdout, cmd.Stderr = in, log, log
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("installing %s: %w", n.pkg, err)
		}
		return copyTree(filepath.Join(in, "node_modules", n.pkg, n.file), filepath.Join(dir, path.Base(n.file)))
	})
}
