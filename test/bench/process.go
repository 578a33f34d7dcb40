package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of CPU time in /proc: USER_HZ, which Linux has fixed at 100 for every program.
const tick = 10 * time.Millisecond

// start runs a server until its stage ends, and waits until it accepts connections.
func (s *stage) start(address, path string, args ...string) (pid int) {
	cmd := exec.Command(path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	dir := s.TempDir()
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	s.must(cmd.Start())
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	s.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // the group: nginx's workers too
		select {
		case <-exited:
		case <-time.After(5 * time.Second):
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-exited
	})
	s.accepts(address, exited, func() string { return filepath.Base(path) + " ended:\n" + out.String() })
	return cmd.Process.Pid
}

// accepts waits until something listens at the address.
func (s *stage) accepts(address string, exited <-chan struct{}, why func() string) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-exited:
			s.Fatalf("%s", why())
		case <-s.Context().Done():
			s.Fatalf("interrupted")
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.Fatalf("nobody listens at %s: %w", address, err)
		}
	}
}

// usage is the CPU time that a process and its children have used, and the memory that they hold.
type usage struct {
	cpu time.Duration
	rss int64
}

// measure reads the usage of a process and its descendants, because nginx works in child processes.
func measure(pid int) usage {
	var total usage
	for _, pid := range family(pid) {
		u, err := one(pid)
		if err == nil { // otherwise it has ended
			total.cpu += u.cpu
			total.rss += u.rss
		}
	}
	return total
}

func one(pid int) (usage, error) {
	fields, err := stat(pid)
	if err != nil {
		return usage{}, err
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64) // the kernel writes numbers
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	pages, _ := strconv.ParseInt(fields[21], 10, 64)
	return usage{time.Duration(user+system) * tick, pages * int64(os.Getpagesize())}, nil
}

// stat returns the fields of /proc/PID/stat after the program's name, which may contain spaces:
// field 0 is the state.
func stat(pid int) ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 22 {
		return nil, fmt.Errorf("unexpected /proc/%d/stat", pid)
	}
	return fields, nil
}

// family returns a process and all its descendants.
func family(pid int) []int {
	children := map[int][]int{}
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		child, _ := strconv.Atoi(filepath.Base(entry)) // the pattern matches names that begin with a digit
		if fields, err := stat(child); err == nil {
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], child)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}
