package faults

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A keeper kills a bellbuoy and starts it again, as a supervisor would.
type keeper struct {
	t      *testing.T
	buoy   *harness.Buoy
	kills  atomic.Int64
	starts atomic.Int64
	shift  bool // move the due times in the store while bellbuoy is down
	back   bool // also backwards, by up to a minute
	shifts atomic.Int64
}

// keep kills bellbuoy again and again until ctx ends. Afterwards bellbuoy runs.
func (k *keeper) keep(ctx context.Context, every time.Duration) {
	for pause(ctx, every/2+rand.N(every)) {
		k.buoy.Kill9()
		k.kills.Add(1)
		if k.shift && rand.IntN(4) == 0 {
			k.shiftClock()
		}
		pause(ctx, rand.N(300*time.Millisecond))
		k.up()
	}
	k.up()
}

// up starts bellbuoy until it is ready. With a full disk that may take several tries.
func (k *keeper) up() {
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if k.alive() {
			return
		}
		k.buoy.StartOnly()
		k.starts.Add(1)
		for !k.alive() && !ended(k.buoy) && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		if ended(k.buoy) {
			time.Sleep(200 * time.Millisecond)
		}
	}
	k.t.Errorf("bellbuoy does not come back")
}

func (k *keeper) alive() bool {
	if ended(k.buoy) {
		return false
	}
	resp, err := quick.Get(k.buoy.HealthURL + "/healthz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

var quick = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func ended(b *harness.Buoy) bool {
	select {
	case <-b.Exited():
		return true
	default:
		return false
	}
}

// shiftClock imitates a clock that jumped while bellbuoy was down: it moves all due times in the
// store by 40 hours. The clock of a single process cannot be set.
func (k *keeper) shiftClock() {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(k.buoy.DataDir, "bellbuoy.db")+"?_pragma=busy_timeout(2000)")
	if err != nil {
		return
	}
	defer db.Close()
	by := -40 * time.Hour
	if k.back && rand.IntN(2) == 0 {
		by = -by
	}
	// With a full disk this may fail.
	if _, err := db.Exec("UPDATE deliveries SET next_at = next_at + ? WHERE state = 1", by.Microseconds()); err == nil {
		k.shifts.Add(1)
	}
}

// gauge returns the sum of a metric over its labels; ok is false if bellbuoy does not answer.
func gauge(b *harness.Buoy, name string, skip ...string) (sum float64, ok bool) {
	text, err := metrics(b)
	if err != nil {
		return 0, false
	}
	found := regexp.MustCompile(`(?m)^`+name+`(\{[^}]*\})? (\S+)$`).FindAllStringSubmatch(text, -1)
	for _, m := range found {
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return 0, false
		}
		skipped := false
		for _, s := range skip {
			skipped = skipped || strings.Contains(m[1], strconv.Quote(s))
		}
		if !skipped {
			sum += v
		}
	}
	return sum, len(found) > 0
}

func metrics(b *harness.Buoy) (string, error) {
	resp, err := quick.Get(b.HealthURL + "/metrics")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var text strings.Builder
	_, err = fmt.Fprint(&text, readAll(resp))
	return text.String(), err
}

// small mounts a small file system for a test, and skips the test if that is not allowed.
func small(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a full disk needs a mount, and a mount needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED: a full disk needs a mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// fill uses all free space of a file system, until the returned function frees it.
func fill(t *testing.T, dir string) (empty func()) {
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Errorf("filling the disk: %v", err)
		return func() {}
	}
	for chunk := make([]byte, 256<<10); len(chunk) > 0; {
		if _, err = f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2] // until not a byte is free
		}
	}
	f.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("filling the disk: %v", err)
	}
	return func() { os.Remove(path) }
}
