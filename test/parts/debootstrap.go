package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// debootstrap is a Debian of the suite that is the part's version, with a few packages, as a tar
// file. Only a superuser can make it.
type debootstrap struct {
	packages string // separated by commas
}

func (d debootstrap) find(c cache, p part) (string, bool) { return existing(c.dir(p), "root.tar") }

func (d debootstrap) install(ctx context.Context, c cache, p part, log io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("debootstrap needs a superuser")
	}
	tool := part{name: "debootstrap"}
	program := debian{packages: "debootstrap"}
	if _, ok := program.find(c, tool); !ok {
		if err := program.install(ctx, c, tool, log); err != nil {
			return err
		}
	}
	return c.publish(p, func(dir string) error {
		root := filepath.Join(dir, "root")
		for _, argv := range [][]string{
			{"debootstrap", "--variant=minbase", "--include=" + d.packages, p.version, root},
			{"chroot", root, "apt-get", "clean"},
			{"tar", "-C", root, "-cf", filepath.Join(dir, "root.tar"), "."},
		} {
			cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
			cmd.Stdout, cmd.Stderr = log, log
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%s: %w", argv[0], err)
			}
		}
		return os.RemoveAll(root)
	})
}
