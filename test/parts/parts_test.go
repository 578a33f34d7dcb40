package parts

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// script is a source whose program is a file that it writes. It counts how often it was installed.
type script struct {
	installs *atomic.Int32
	fail     error
}

func (s script) find(c cache, p part) (string, bool) { return existing(c.dir(p), "prog") }

func (s script) install(_ context.Context, c cache, p part, log io.Writer) error {
	return c.publish(p, func(dir string) error {
		s.installs.Add(1)
		io.WriteString(log, "compiling\n")
		if err := os.WriteFile(filepath.Join(dir, "prog"), []byte("#!/bin/sh\n"), 0o755); err != nil {
			return err
		}
		return s.fail
	})
}

func TestEnsureBuildsOnceForManyAtOnce(t *testing.T) {
	c, installs := cache(t.TempDir()), new(atomic.Int32)
	p := part{"prog", "v1", script{installs: installs}}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			path, err := c.ensure(t.Context(), p)
			if err != nil {
				t.Error(err)
				return
			}
			if want := filepath.Join(string(c), "prog-v1", "prog"); path != want {
				t.Errorf("path %s, want %s", path, want)
			}
		})
	}
	wg.Wait()
	if n := installs.Load(); n != 1 {
		t.Errorf("built %d times, want once", n)
	}
}

func TestAnotherVersionIsAnotherPart(t *testing.T) {
	c, installs := cache(t.TempDir()), new(atomic.Int32)
	for _, version := range []string{"v1", "v2"} {
		if _, err := c.ensure(t.Context(), part{"prog", version, script{installs: installs}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := installs.Load(); n != 2 {
		t.Errorf("built %d times, want 2", n)
	}
}

func TestFailedBuildLeavesNothingAndShowsItsOutput(t *testing.T) {
	c, installs := cache(t.TempDir()), new(atomic.Int32)
	broken := errors.New("exit status 1")
	p := part{"prog", "v1", script{installs: installs, fail: broken}}
	_, err := c.ensure(t.Context(), p)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "compiling") {
		t.Errorf("error %v, want the build's error and output", err)
	}
	if _, ok := p.source.find(c, p); ok {
		t.Error("a build that failed is found")
	}
	entries, err := os.ReadDir(string(c))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

func TestWaitForALockEndsWithTheContext(t *testing.T) {
	c := cache(t.TempDir())
	unlock, err := c.lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.lock(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a held lock: %v, want context.Canceled", err)
	}
	unlock()
	again, err := c.lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestErrorOfAnUnknownNameListsTheParts(t *testing.T) {
	err := Ensure(t.Context(), "crain")
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "crane") {
		t.Errorf("error %v, want ErrUnknown and the names", err)
	}
}

func TestTableNamesAreUniqueAndVersionsPinned(t *testing.T) {
	names := Names()
	slices.Sort(names)
	if len(slices.Compact(names)) != len(table) {
		t.Error("the table has a name twice")
	}
	for _, p := range table {
		var pinned bool
		switch p.source.(type) {
		case debian:
			pinned = p.version == "" // Debian's own
		case debootstrap:
			pinned = p.version == "bookworm"
		default:
			pinned = strings.HasPrefix(p.version, "v")
		}
		if !pinned {
			t.Errorf("%s has version %q", p.name, p.version)
		}
	}
}

func TestCacheDirectoryOfTheEnvironment(t *testing.T) {
	t.Setenv("BELLBUOY_PARTS", "/x/parts")
	if c, err := defaultCache(); err != nil || c != "/x/parts" {
		t.Errorf("got the cache %q, %v", c, err)
	}
	t.Setenv("BELLBUOY_PARTS", "")
	t.Setenv("XDG_CACHE_HOME", "/y")
	if c, err := defaultCache(); err != nil || c != "/y/bellbuoy/parts" {
		t.Errorf("got the cache %q, %v", c, err)
	}
}

func TestProgressReportsOnlyLongJobs(t *testing.T) {
	for _, tc := range []struct {
		name string
		took time.Duration
		want string
	}{
		{"short", time.Second, ""},
		{"long", 5 * time.Second, "… job, 2 s so far\n… job: 5 s\n"},
		{"very long", 20 * time.Second, "… job, 2 s so far\n… job, 17 s so far\n… job: 20 s\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				done := Progress(&out, "job")
				time.Sleep(tc.took) // virtual time
				done()
				done()
				if out.String() != tc.want {
					t.Errorf("printed %q, want %q", out.String(), tc.want)
				}
			})
		})
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	log := &tail{limit: 4}
	io.WriteString(log, "abc")
	io.WriteString(log, "def")
	if log.String() != "cdef" {
		t.Errorf("got the log %q", log)
	}
}
