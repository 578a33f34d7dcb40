package docs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// tools are the programs that pages use and that no block installs.
var tools = []string{"crane", "docker-registry", "htpasswd", "chartmuseum", "nginx", "caddy"}

// longest is how long the commands of a page may take.
const longest = 5 * time.Minute

// TestCommands runs the commands of each page in one shell, in a fresh directory with a fresh HOME,
// and compares the output with the text block that follows. The shell has its own network, so that
// the ports of the page are free, and its own processes, which end with it.
func TestCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real programs")
	}
	network := ownNetwork(t)
	for _, page := range pages(t) {
		if list := commands(blocks(t, page)); len(list) > 0 {
			t.Run(page, func(t *testing.T) { runPage(t, network, list) })
		}
	}
}

// ownNetwork returns a command that runs another one in a network of its own.
func ownNetwork(t *testing.T) []string {
	t.Helper()
	for _, flags := range [][]string{nil, {"-r"}} {
		command := append(append([]string{"unshare", "-n", "-p", "-f", "--kill-child", "--mount-proc"}, flags...),
			"sh", "-c", `ip link set lo up && exec "$@"`, "sh")
		if exec.Command(command[0], append(command[1:], "true")...).Run() == nil {
			return command
		}
	}
	t.Skip("this machine gives the test no network of its own (unshare -n)")
	return nil
}

// A command is a block of shell commands with the output that the page shows.
type command struct {
	block
	prints string
}

func commands(list []block) (run []command) {
	for i, b := range list {
		if b.language != "sh" || b.notest != "" {
			continue
		}
		c := command{block: b}
		if i+1 < len(list) && list[i+1].language == "text" && list[i+1].follows {
			c.prints = list[i+1].text
		}
		run = append(run, c)
	}
	return run
}

func runPage(t *testing.T, network []string, list []command) {
	dir, out, bin := t.TempDir(), t.TempDir(), t.TempDir()
	for _, tool := range tools {
		link(t, harness.Part(t, tool), filepath.Join(bin, tool))
	}
	link(t, harness.Binary(t), filepath.Join(bin, "bellbuoy"))
	var script strings.Builder
	script.WriteString("set -e\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n")
	for i, c := range list {
		fmt.Fprintf(&script, "exec >%s/%d 2>&1\n%s\n", out, i, c.text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	args := append(network[1:len(network):len(network)], "bash", "-c", script.String())
	shell := exec.CommandContext(ctx, network[0], args...)
	shell.Dir = dir
	// The registry would take REGISTRY_AUTH_FILE, which is skopeo's, for a key of its own
	// configuration.
	env := slices.DeleteFunc(harness.Env(t), func(s string) bool { return strings.HasPrefix(s, "REGISTRY_") })
	shell.Env = append(env, "GIT_CONFIG_COUNT=2",
		"GIT_CONFIG_KEY_0=url."+clone(t)+".insteadOf", "GIT_CONFIG_VALUE_0=https://github.com/bellbuoy/bellbuoy",
		"GIT_CONFIG_KEY_1=safe.directory", "GIT_CONFIG_VALUE_1=*",
		"PATH="+bin+":"+os.Getenv("PATH"), "GOMODCACHE="+goenv(t, "GOMODCACHE"), "GOCACHE="+goenv(t, "GOCACHE"),
		"GOPROXY=off", "GOFLAGS=-modcacherw")
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	began := time.Now()
	err := shell.Run()
	if shell.Process != nil {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL)
	}
	for i, c := range list {
		printed, missing := os.ReadFile(fmt.Sprintf("%s/%d", out, i))
		if missing != nil {
			t.Fatalf("the commands from line %d on were not run", c.line)
		}
		last := i+1 == len(list)
		if !last {
			_, errNext := os.Stat(fmt.Sprintf("%s/%d", out, i+1))
			last = errNext != nil
		}
		if err != nil && last {
			showLogs(t, dir)
			t.Fatalf("line %d: %v\n%s\nprinted\n%s", c.line, err, c.text, printed)
		}
		if pattern := asPattern(c.prints); !pattern.Match(printed) {
			t.Errorf("line %d:\n%s\nprinted\n%s\nbut the page shows\n%s", c.line, c.text, printed, c.prints)
		}
	}
	t.Logf("%d blocks of commands in %v", len(list), time.Since(began).Round(100*time.Millisecond))
}

// showLogs logs what the programs of a page have logged.
func showLogs(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".log" || entry.IsDir() {
			return err
		}
		log, err := os.ReadFile(path)
		t.Logf("%s:\n%s", entry.Name(), log[max(0, len(log)-2000):])
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// asPattern returns the pattern that output must match. In a page, … stands for any text, and the
// number of blanks does not matter.
func asPattern(prints string) *regexp.Regexp {
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(prints), "\n") {
		parts := strings.Split(strings.TrimSpace(line), "…")
		for i, part := range parts {
			words := strings.Fields(part)
			for j := range words {
				words[j] = regexp.QuoteMeta(words[j])
			}
			parts[i] = strings.Join(words, `\s+`)
		}
		lines = append(lines, strings.Join(parts, `(?s:.*)`))
	}
	return regexp.MustCompile(strings.Join(lines, `\s+`))
}

func TestOutputIsCompared(t *testing.T) {
	pattern := asPattern("a  b …\nd\n")
	if !pattern.MatchString("x\na b c\n  d e\n") {
		t.Error("output as the page shows it does not match")
	}
	if pattern.MatchString("a c\nd\n") {
		t.Error("other output matches")
	}
}

func link(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Symlink(from, to); err != nil {
		t.Fatal(err)
	}
}

// clone returns a repository in place of the one at GitHub: this tree's.
func clone(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	return "file://" + path
}

func goenv(t *testing.T, name string) string {
	t.Helper()
	value, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(value))
}
