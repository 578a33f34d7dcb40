package harness

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
)

// ResidentMiB returns the resident memory of a process.
func ResidentMiB(t T, pid int) int {
	t.Helper()
	return memory(t, pid, regexp.MustCompile(`VmRSS:\s+(\d+) kB`))
}

// MostResidentMiB returns the greatest resident memory that a process has had.
func MostResidentMiB(t T, pid int) int {
	t.Helper()
	return memory(t, pid, regexp.MustCompile(`VmHWM:\s+(\d+) kB`))
}

func memory(t T, pid int, line *regexp.Regexp) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatalf("%v", err)
	}
	m := line.FindSubmatch(text)
	if m == nil {
		t.Fatalf("no %v in %s", line, text)
	}
	kib, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return kib >> 10
}
