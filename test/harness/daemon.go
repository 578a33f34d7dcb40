package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Daemon is a server process that a test can stop, kill and start again, on the same port and
// with the same data.
type Daemon struct {
	t     T
	name  string
	path  string
	args  []string
	env   []string
	dir   string
	user  *syscall.Credential // nil: the user of the tests
	quit  syscall.Signal      // what Stop sends; 0: SIGTERM
	kill  syscall.Signal      // what Kill sends; 0: SIGKILL. For programs that would leave children or mounts behind.
	ready func(context.Context) error
	logs  *logBuffer

	mu      sync.Mutex
	running *process // nil before the first Start
}

// process is one process of a daemon, from a Start to its end.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed after err is set
	err    error
}

// Limits that a healthy process does not reach on a busy machine.
const (
	readyTimeout = 2 * time.Minute
	stopTimeout  = 90 * time.Second
	killTimeout  = 60 * time.Second
)

// Serve starts a part that listens at an address (host:port) and needs nothing but its arguments.
func Serve(t T, address, part string, args ...string) *Daemon {
	t.Helper()
	d := &Daemon{
		name: part, path: Part(t, part), args: args, env: []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")},
		ready: func(ctx context.Context) error {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			return c.Close()
		},
	}
	d.launch(t)
	return d
}

// launch starts d, and waits until it is ready.
func (d *Daemon) launch(t T) {
	t.Helper()
	d.prepare(t)
	d.Start()
}

// prepare arranges that d ends with the test, and that its logs are shown if the test failed.
func (d *Daemon) prepare(t T) {
	d.t = t
	d.logs = &logBuffer{limit: 4 << 20}
	d.quit, d.kill = cmp.Or(d.quit, syscall.SIGTERM), cmp.Or(d.kill, syscall.SIGKILL)
	t.Cleanup(func() {
		d.Kill()
		if t.Failed() {
			t.Logf("---- output of %s:\n%s", d.name, lastLines(d.Logs(), 200))
		}
	})
}

// Start starts the daemon and waits until it is ready. It fails the test when that takes too long
// or the process ends.
func (d *Daemon) Start() {
	d.t.Helper()
	d.StartOnly()
	if err := d.WaitReady(readyTimeout); err != nil {
		d.t.Fatalf("%v", err)
	}
}

// StartOnly starts the daemon without waiting for it to be ready.
func (d *Daemon) StartOnly() {
	d.t.Helper()
	cmd := exec.Command(d.path, d.args...)
	cmd.Env, cmd.Dir = d.env, d.dir
	cmd.Stdout, cmd.Stderr = d.logs, d.logs
	// A process group of its own, so that Ctrl-C reaches the tests alone. It is killed with
	// them, so that a crashed test run leaves nothing behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: d.user}
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Start(); err != nil {
		d.t.Fatalf("starting %s: %v", d.name, err)
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	d.mu.Lock()
	d.running = p
	d.mu.Unlock()
}

// errExit0 is the error of a daemon that ended with status 0 before it was ready.
var errExit0 = errors.New("exit status 0")

// WaitReady waits until the daemon answers. It returns an error at once if the process ends.
func (d *Daemon) WaitReady(timeout time.Duration) error {
	p := d.current()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for {
		err := d.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", d.name, cmp.Or(p.err, errExit0), lastLines(d.Logs(), 40))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %v: %w", d.name, timeout, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop asks the daemon to end and waits for it. It fails the test when the process has to be
// killed, and returns how it ended.
func (d *Daemon) Stop() error {
	d.t.Helper()
	p := d.current()
	if p == nil {
		return nil
	}
	d.Signal(d.quit)
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		d.t.Errorf("%s did not stop within %v", d.name, stopTimeout)
		d.Kill()
	}
	return p.err
}

// Kill ends the daemon as a crash does, and waits for its end. It does nothing if the daemon does
// not run.
func (d *Daemon) Kill() {
	p := d.current()
	if p == nil {
		return
	}
	p.cmd.Process.Signal(d.kill) // fails only if it has ended
	select {
	case <-p.exited:
	case <-time.After(killTimeout):
		p.cmd.Process.Kill()
		<-p.exited
	}
}

// Restart is Stop and Start.
func (d *Daemon) Restart() {
	d.t.Helper()
	d.Stop()
	d.Start()
}

// Signal sends a signal to the process, if it runs.
func (d *Daemon) Signal(sig os.Signal) {
	if p := d.current(); p != nil {
		if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			d.t.Errorf("signalling %s: %v", d.name, err)
		}
	}
}

// Exited is closed when the process that was started last has ended.
func (d *Daemon) Exited() <-chan struct{} { return d.current().exited }

// Pid returns the id of the process that was started last.
func (d *Daemon) Pid() int { return d.current().cmd.Process.Pid }

// Logs returns the output of all processes of the daemon; only the end if it is very long.
func (d *Daemon) Logs() string { return d.logs.String() }

// WaitLog waits until the logs match a regular expression. It fails the test if they do not in
// time.
func (d *Daemon) WaitLog(pattern string, timeout time.Duration) {
	d.t.Helper()
	re := regexp.MustCompile(pattern)
	if !Eventually(timeout, func() bool { return re.MatchString(d.Logs()) }) {
		d.t.Fatalf("%s printed nothing like %q within %v", d.name, pattern, timeout)
	}
}

func (d *Daemon) current() *process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running
}

// answers returns a readiness check: the URL must be answered with one of the statuses.
func answers(url string, statuses ...int) func(context.Context) error {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		for _, status := range statuses {
			if resp.StatusCode == status {
				return nil
			}
		}
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
}

func lastLines(s string, n int) string {
	lines := strings.SplitAfter(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
