package parts

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// required builds a program in a module that requires the program's. The program's own replace
// lines do not count there: they lead to directories of its repository, which are modules that the
// proxy serves as well.
type required struct {
	module  string
	pkg     string // an import path
	binary  string
	ldflags string // besides -s -w
	staged  string // the version of the modules that the program's go.mod replaces; "": those that it requires
}

func (r required) find(c cache, p part) (string, bool) { return existing(c.dir(p), r.binary) }

var replaced = regexp.MustCompile(`(?m)^\s*(?:replace )?(\S+) => \./`)

func (r required) install(ctx context.Context, c cache, p part, log io.Writer) error {
	src, err := os.MkdirTemp("", "bellbuoy-part-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(src)
	from, err := download(ctx, r.module+"@"+p.version, src, log)
	if err != nil {
		return err
	}
	mod, err := os.ReadFile(filepath.Join(from, "go.mod"))
	if err != nil {
		return err
	}
	var own strings.Builder
	fmt.Fprintf(&own, "module part\n\ngo 1.26\n\nrequire %s %s\n", r.module, p.version)
	if r.staged != "" {
		for _, match := range replaced.FindAllStringSubmatch(string(mod), -1) {
			fmt.Fprintf(&own, "replace %s => %s %s\n", match[1], match[1], r.staged)
		}
	}
	if err := os.WriteFile(filepath.Join(src, "go.mod"), []byte(own.String()), 0o644); err != nil {
		return err
	}
	return c.publish(p, func(dir string) error {
		cmd := goCommand(ctx, src, log, "build", "-ldflags=-s -w "+r.ldflags, gcflags(true), "-o", filepath.Join(dir, r.binary), r.pkg)
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("building %s: %w", r.module, err)
		}
		return nil
	})
}
