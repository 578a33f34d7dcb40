package faults

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// on starts a trial whose data is on a file system of its own.
func on(t *testing.T, dir, store string) *trial {
	t.Helper()
	return newTrial(t, fmt.Sprintf("data_dir: %q\nstore: %s", filepath.Join(dir, "data"), store))
}

// settles checks that exactly these events come.
func (x *trial) settles(want ...string) {
	x.t.Helper()
	got := x.events(len(want))
	slices.Sort(got) // the order of different tags does not matter
	slices.Sort(want)
	if diff := cmp.Diff(either(want, got), got); diff != "" {
		x.t.Errorf("events: -want +got\n%s", diff)
	}
}

// readiness returns the answer to GET /readyz.
func (x *trial) readiness() (int, string) {
	resp, err := quick.Get(x.buoy.HealthURL + "/readyz")
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	return resp.StatusCode, readAll(resp)
}

// With pass, the traffic continues when the disk is full, and the events come when there is space
// again. With refuse, no write reaches the upstream meanwhile.
func TestDiskFull(t *testing.T) {
	short(t)
	t.Parallel()
	t.Run("pass", func(t *testing.T) {
		disk := small(t, "32m")
		x := on(t, disk, "{on_failure: pass}")
		x.try(x.push("v1", "one"), 201)
		x.settles("PUSH_ARTIFACT v1 one") // when the full disk cuts a commit short, a smaller one may use its blocks
		empty := fill(t, disk)
		for i := range 5 {
			x.try(x.push(fmt.Sprint("full", i), "two"), 201)
		}
		x.until("an alarm", func() bool { return strings.Contains(x.buoy.Logs(), "store failing") })
		// A small row sometimes fits into a block that the store has already. Then the
		// store works for a moment.
		x.until("readyz says so, and is 200", func() bool {
			status, body := x.readiness()
			return status == 200 && strings.Contains(body, "store fails")
		})
		x.until("what has not come is kept in memory", func() bool {
			kept, _ := gauge(x.buoy, "bellbuoy_events_kept")
			return kept > 0 && len(x.lines())+int(kept) == 1+5
		})
		empty()
		x.settles("PUSH_ARTIFACT v1 one", "PUSH_ARTIFACT full0 two", "PUSH_ARTIFACT full1 two", "PUSH_ARTIFACT full2 two", "PUSH_ARTIFACT full3 two", "PUSH_ARTIFACT full4 two")
		x.until("readyz says that all is well", func() bool {
			status, body := x.readiness()
			return status == 200 && !strings.Contains(body, "store fails")
		})
	})
	t.Run("refuse", func(t *testing.T) {
		disk := small(t, "32m")
		x := on(t, disk, "{on_failure: refuse}")
		x.try(x.push("v1", "one"), 201)
		x.settles("PUSH_ARTIFACT v1 one") // when the full disk cuts a commit short, a smaller one may use its blocks
		empty := fill(t, disk)
		refusedAll(x)
		x.until("not ready", func() bool { status, _ := x.readiness(); return status == 503 })
		empty()
		x.until("ready", func() bool { status, _ := x.readiness(); return status == 200 })
		x.persist(x.push("v1", "three"), 201)
		x.settles("PUSH_ARTIFACT v1 one", "PUSH_ARTIFACT v1 three either")
	})
}

// refusedAll checks that every kind of write is answered 503 with Retry-After and is not executed,
// and that reads continue.
func refusedAll(x *trial) {
	x.t.Helper()
	done := len(x.up.doneList())
	for _, d := range []*deed{x.push("v1", "two"), x.push("v2", "two"), x.untag("v1"), x.upload("1.0.0"), x.unload("1.0.0")} {
		method, path, contentType := d.line()
		req, err := http.NewRequest(method, x.buoy.ProxyURL+path, strings.NewReader(string(d.body)))
		if err != nil {
			x.t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		resp, err := quick.Do(req)
		if err != nil {
			x.t.Errorf("%s %s while writes are refused: %v", method, path, err)
			continue
		}
		if text := readAll(resp); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			x.t.Errorf("%s %s: %s, Retry-After %q, %s", method, path, resp.Status, resp.Header.Get("Retry-After"), text)
		}
		resp.Body.Close()
	}
	if n := len(x.up.doneList()); n != done {
		x.t.Errorf("the upstream did %d things that were refused", n-done)
	}
	x.head("v1", 200)
}

func (g *gateway) doneList() []commit {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]commit(nil), g.commits...)
}

// A frozen file system lets every commit hang. store.timeout ends the wait.
func TestHangingDisk(t *testing.T) {
	short(t)
	t.Parallel()
	dir := frozenDisk(t)
	x := on(t, dir, "{on_failure: pass, timeout: 300ms}")
	x.try(x.push("v1", "one"), 201)
	freeze(t, "-f", dir)
	thawed := false
	t.Cleanup(func() {
		if !thawed {
			freeze(t, "-u", dir)
		}
	})
	begun := time.Now()
	x.try(x.push("v2", "two"), 201)
	if took := time.Since(begun); took < 250*time.Millisecond {
		t.Errorf("the push took %v", took)
	}
	freeze(t, "-u", dir)
	thawed = true
	x.settles("PUSH_ARTIFACT v1 one", "PUSH_ARTIFACT v2 two")
}

// frozenDisk makes a file system that can be frozen.
func frozenDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a hanging disk needs a mount, and a mount needs root")
	}
	dir, image := t.TempDir(), filepath.Join(t.TempDir(), "disk")
	for _, argv := range [][]string{{"truncate", "-s", "48M", image}, {"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: a hanging disk needs a loop device: %v: %v: %s", argv, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("unmounting: %v: %s", err, out)
		}
	})
	return dir
}

func freeze(t *testing.T, how, dir string) {
	if out, err := exec.Command("fsfreeze", how, dir).CombinedOutput(); err != nil {
		t.Errorf("fsfreeze %s: %v: %s", how, err, out)
	}
}

// bellbuoy reports a read-only directory and exits. If the directory becomes read-only later,
// bellbuoy follows on_failure.
func TestReadOnlyDirectory(t *testing.T) {
	short(t)
	t.Parallel()
	disk := small(t, "32m")
	x := on(t, disk, "{on_failure: refuse}")
	x.try(x.push("v1", "one"), 201)
	x.settles("PUSH_ARTIFACT v1 one")
	x.buoy.Stop()
	remount(t, disk, "ro")
	x.buoy.StartOnly()
	select {
	case <-x.buoy.Exited():
	case <-time.After(patience):
		t.Error("bellbuoy runs although it cannot write")
	}
	if logs := x.buoy.Logs(); !strings.Contains(logs, "read-only file system") {
		t.Errorf("it does not say why: %s", logs)
	}
	remount(t, disk, "rw")
	x.buoy.Start()
	x.try(x.push("v1", "two"), 201)
	x.settles("PUSH_ARTIFACT v1 one", "PUSH_ARTIFACT v1 two")
}

func remount(t *testing.T, dir, how string) {
	t.Helper()
	if out, err := exec.Command("mount", "-o", "remount,"+how, dir).CombinedOutput(); err != nil {
		t.Fatalf("remounting %s: %v: %s", dir, err, out)
	}
}

// Every fsync fails with EIO for a while (strace injects the error).
func TestFailingDisk(t *testing.T) {
	short(t)
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED: failing fsync needs strace")
	}
	if out, err := exec.Command(strace, "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: failing fsync needs ptrace: %v: %s", err, out)
	}
	x := newTrial(t, "store: {on_failure: pass}")
	x.try(x.push("v1", "one"), 201)
	tracer := exec.Command(strace, "-f", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO", "-p", fmt.Sprint(x.buoy.Pid()))
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	x.until("every thread is traced", func() bool { return traced(x.buoy.Pid()) })
	x.try(x.push("v2", "two"), 201)
	x.until("an alarm", func() bool { return strings.Contains(x.buoy.Logs(), "store failing") })
	tracer.Process.Signal(os.Interrupt)
	tracer.Wait()
	x.settles("PUSH_ARTIFACT v1 one", "PUSH_ARTIFACT v2 two")
}

// traced reports whether all threads of a process are being traced.
func traced(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid)) // the pattern is valid
	for _, path := range threads {
		status, err := os.ReadFile(path)
		if err != nil || strings.Contains(string(status), "TracerPid:\t0\n") {
			return false
		}
	}
	return len(threads) > 0
}

// bellbuoy reports a damaged file and names bellbuoy salvage: at the start after a crash, when it
// checks the file, and otherwise when it reads damaged pages, while traffic continues. bellbuoy
// salvage recovers the readable rows.
func TestDamagedFile(t *testing.T) {
	short(t)
	t.Parallel()
	for _, c := range []struct {
		name string
		stop func(*trial)
		met  func(*trial) // checks bellbuoy with the damaged file
	}{
		{"after a crash", func(x *trial) {
			x.buoy.Restart() // moves everything from the log into the file
			x.try(x.push("last", "one"), 201)
			x.buoy.Kill9()
		}, func(x *trial) {
			x.buoy.StartOnly()
			x.buoy.WaitLog("damaged.*bellbuoy salvage", patience)
			<-x.buoy.Exited()
		}},
		{"in use", func(x *trial) { x.buoy.Stop() }, func(x *trial) {
			x.buoy.Start()
			x.buoy.WaitLog("damaged.*bellbuoy salvage", patience)
			x.try(x.push("meanwhile", "two"), 201)
			x.buoy.Stop()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := newTrial(t, "")
			x.hooks.Statuses("/all", 500)
			for i := range 200 {
				x.try(x.push(fmt.Sprint("v", i), "one"), 201)
			}
			c.stop(x)
			damage(t, filepath.Join(x.buoy.DataDir, "bellbuoy.db"))
			c.met(x)
			out, err := x.buoy.Command("salvage")
			if err != nil || !strings.Contains(out, "the damaged one is kept as") {
				t.Fatalf("bellbuoy salvage: %v: %s", err, out)
			}
			x.hooks.Statuses("/all", 200)
			x.buoy.Start()
			x.try(x.push("after", "two"), 201)
			x.until("what could be read, and what is new", func() bool {
				lines := strings.Join(x.lines(), ", ")
				return strings.Contains(lines, "after two") && len(x.lines()) > 50
			})
			t.Logf("%d of the events survived", len(x.lines())-1)
		})
	}
}

// damage overwrites some pages in the middle of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	for at := size / 4 / 4096 * 4096; at < size*3/4; at += 8 * 4096 {
		if _, err := f.WriteAt([]byte(strings.Repeat("damage! ", 512)), at); err != nil {
			t.Fatal(err)
		}
	}
}

// A second process cannot open the same SQLite file.
func TestSecondProcess(t *testing.T) {
	short(t)
	t.Parallel()
	x := newTrial(t, "")
	second := harness.BellbuoyWith(t, harness.BuoyOptions{DataDir: x.buoy.DataDir, NoWait: true}, x.config(""))
	select {
	case <-second.Exited():
	case <-time.After(patience):
		t.Error("a second process uses the same file")
	}
	if logs := second.Logs(); !strings.Contains(logs, "another bellbuoy uses this data directory") {
		t.Errorf("it does not say why: %s", logs)
	}
	x.try(x.push("v1", "one"), 201)
	x.settles("PUSH_ARTIFACT v1 one")
}

// PostgreSQL stops and starts again.
func TestDatabaseGone(t *testing.T) {
	short(t)
	t.Parallel()
	for _, c := range []struct {
		name       string
		gone, back func(*harness.PostgresServer, *harness.Relay)
	}{
		{"stopped", func(p *harness.PostgresServer, _ *harness.Relay) { p.Stop() }, func(p *harness.PostgresServer, _ *harness.Relay) { p.Start() }},
		{"hanging", func(_ *harness.PostgresServer, v *harness.Relay) { v.Shut() }, func(_ *harness.PostgresServer, v *harness.Relay) { v.Open() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			pg := harness.Postgres(t)
			v := harness.NewRelay(t, strings.SplitN(pg.URL, "@", 2)[1], nil)
			database := func(name string) string {
				return fmt.Sprintf("database: %q\n", strings.Replace(pg.Database(t, name), v.Target, v.Addr, 1))
			}
			pass := newTrial(t, database("pass")+"store: {on_failure: pass, timeout: 500ms}")
			refuse := newTrial(t, database("refuse")+"store: {on_failure: refuse, timeout: 500ms}")
			pass.try(pass.push("v1", "one"), 201)
			refuse.persist(refuse.push("v1", "one"), 201)
			pass.settles("PUSH_ARTIFACT v1 one")
			c.gone(pg, v)
			for i := range 3 {
				pass.try(pass.push(fmt.Sprint("gone", i), "two"), 201)
			}
			refusedAll(refuse)
			refuse.until("not ready", func() bool { status, _ := refuse.readiness(); return status == 503 })
			if status, _ := pass.readiness(); status != 200 {
				t.Errorf("readyz under pass: %d", status)
			}
			c.back(pg, v)
			refuse.until("ready", func() bool { status, _ := refuse.readiness(); return status == 200 })
			refuse.persist(refuse.push("v2", "three"), 201)
			refuse.settles("PUSH_ARTIFACT v1 one either", "PUSH_ARTIFACT v2 three either")
			pass.settles("PUSH_ARTIFACT v1 one", "PUSH_ARTIFACT gone0 two", "PUSH_ARTIFACT gone1 two", "PUSH_ARTIFACT gone2 two")
		})
	}
}
