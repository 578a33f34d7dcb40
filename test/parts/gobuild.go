package parts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Quick is the -gcflags of a build that takes as little CPU time as possible: without optimisation
// and without data for debuggers. Packages that were built with other flags are compiled again.
const Quick = "all=-N -l -dwarf=false"

// goInstall is `go install pkg@version`, with the versions that the program's own go.mod names.
type goInstall struct {
	pkg    string
	binary string // the program's name here; go names it after the package's directory
	quick  bool   // built with Quick
}

func (g goInstall) find(c cache, p part) (string, bool) { return existing(c.dir(p), g.binary) }

func (g goInstall) install(ctx context.Context, c cache, p part, log io.Writer) error {
	return c.publish(p, func(dir string) error {
		cmd := goCommand(ctx, dir, log, "install", "-ldflags=-s -w", gcflags(g.quick), g.pkg+"@"+p.version)
		cmd.Env = append(cmd.Env, "GOBIN="+dir)
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("building %s: %w", g.pkg, err)
		}
		built := filepath.Join(dir, command(g.pkg))
		return os.Rename(built, filepath.Join(dir, g.binary))
	})
}

// goModule builds a program in a copy of its own module, so that its replace lines apply.
type goModule struct {
	module  string
	pkg     string            // relative to the module
	binary  string            // slash-separated, below the part's directory
	ldflags string            // besides -s -w
	keep    map[string]string // further files and directories of the module → where to put them
	cut     []cut             // modules that it uses, of which only a part is compiled
	quick   bool              // built with Quick
}

func (g goModule) find(c cache, p part) (string, bool) { return existing(c.dir(p), g.binary) }

func (g goModule) install(ctx context.Context, c cache, p part, log io.Writer) error {
	src, err := os.MkdirTemp("", "bellbuoy-part-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(src)
	if err := copyModule(ctx, g.module+"@"+p.version, src, log); err != nil {
		return err
	}
	for _, cut := range g.cut {
		if err := cut.replace(ctx, src, log); err != nil {
			return fmt.Errorf("cutting %s: %w", cut.module, err)
		}
	}
	return c.publish(p, func(dir string) error {
		out := filepath.Join(dir, filepath.FromSlash(g.binary))
		cmd := goCommand(ctx, src, log, "build", "-ldflags=-s -w "+g.ldflags, gcflags(g.quick), "-o", out, g.pkg)
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("building %s: %w", g.module, err)
		}
		for from, to := range g.keep {
			if err := copyTree(filepath.Join(src, from), filepath.Join(dir, to)); err != nil {
				return err
			}
		}
		return nil
	})
}

// copyTree copies a file, or a directory with its content.
func copyTree(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// copyModule puts a writable copy of a module's source into dir.
func copyModule(ctx context.Context, module, dir string, log io.Writer) error {
	from, err := download(ctx, module, dir, log)
	if err != nil {
		return err
	}
	return os.CopyFS(dir, os.DirFS(from))
}

// download returns the directory of a module's source in Go's own cache.
func download(ctx context.Context, module, dir string, log io.Writer) (string, error) {
	cmd := goCommand(ctx, dir, log, "mod", "download", "-json", module)
	var out bytes.Buffer
	cmd.Stdout = &out
	runErr := cmd.Run()
	var found struct{ Dir, Error string }
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		return "", fmt.Errorf("downloading %s: %w", module, errors.Join(runErr, err))
	}
	if found.Error != "" || runErr != nil {
		return "", fmt.Errorf("downloading %s: %s %w", module, found.Error, runErr)
	}
	return found.Dir, nil
}

func gcflags(quick bool) string {
	if quick {
		return "-gcflags=" + Quick
	}
	return "-gcflags="
}

// goCommand returns a command that runs go in dir. It has an environment of its own, so that the
// flags of the test run do not apply to the parts.
func goCommand(ctx context.Context, dir string, log io.Writer, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "GOFLAGS", "GOWORK", "GOBIN", "GOOS", "GOARCH", "CGO_ENABLED", "GOEXPERIMENT":
		default:
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "GOFLAGS=-mod=mod -trimpath -buildvcs=false", "GOWORK=off", "CGO_ENABLED=0", "PWD="+dir)
	return cmd
}

// command returns the name that go install gives to a program: the last element of its package's
// path that is no major version.
func command(pkg string) string {
	name := path.Base(pkg)
	if strings.HasPrefix(name, "v") && strings.Trim(name[1:], "0123456789") == "" {
		name = path.Base(path.Dir(pkg))
	}
	return name
}

func existing(dir, binary string) (string, bool) {
	path := filepath.Join(dir, filepath.FromSlash(binary))
	info, err := os.Stat(path)
	return path, err == nil && info.Mode().IsRegular()
}
