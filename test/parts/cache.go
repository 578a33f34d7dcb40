package parts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A cache is the directory of the parts that were built: one directory for each part and version,
// either complete or missing.
type cache string

// defaultCache returns $BELLBUOY_PARTS, else bellbuoy/parts in the user's cache directory.
func defaultCache() (cache, error) {
	if dir := os.Getenv("BELLBUOY_PARTS"); dir != "" {
		abs, err := filepath.Abs(dir)
		return cache(abs), err
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a cache directory (set BELLBUOY_PARTS): %w", err)
	}
	return cache(filepath.Join(dir, "bellbuoy", "parts")), nil
}

// dir returns the directory of a part.
func (c cache) dir(p part) string { return filepath.Join(string(c), p.name+"-"+p.version) }

// publish lets build fill a new directory and then, in one step, makes it the part's directory. A
// build that fails leaves nothing.
func (c cache) publish(p part, build func(dir string) error) error {
	tmp, err := os.MkdirTemp(string(c), ".building-"+p.name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil { // other users run these programs too: PostgreSQL's tests do not run as root
		return err
	}
	if err := build(tmp); err != nil {
		return err
	}
	if err := os.RemoveAll(c.dir(p)); err != nil {
		return err
	}
	return os.Rename(tmp, c.dir(p))
}

// lock takes a named lock of this cache between processes. It waits until the lock is free or ctx
// ends.
func (c cache) lock(ctx context.Context, name string) (unlock func(), err error) {
	if err := os.MkdirAll(string(c), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(string(c), "."+name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil // closing the file releases the lock
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// lockName returns the name of a part's lock: one for each part that is built, and one for all that
// the package manager installs.
func lockName(p part) string {
	if p.version == "" {
		return "debian"
	}
	return p.name
}
