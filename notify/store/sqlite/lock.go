//go:build unix

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	lockPatience = 2 * time.Second
	lockAgain    = 20 * time.Millisecond
)

// lockDir makes this process the only one that uses dir, until the file is closed or the process
// ends. A process that was killed may hold the lock for a moment longer, until the kernel has ended
// its writes; lockDir waits that long. It follows no symbolic link: the file is truncated.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "bellbuoy.lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if errors.Is(err, syscall.ELOOP) {
		return nil, errors.New("bellbuoy.lock is a symbolic link; remove it")
	}
	if err != nil {
		return nil, err
	}
	err = flock(ctx, f)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		return nil, fmt.Errorf("%w (process %s)", store.ErrLocked, strings.TrimSpace(string(holder)))
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking: %w", err)
	}
	return f, nil
}

// flock locks a file. If another process has it for longer than lockPatience, or ctx ends, the
// error is EWOULDBLOCK.
func flock(ctx context.Context, f *os.File) error {
	for until := time.Now().Add(lockPatience); ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || !time.Now().Before(until) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(lockAgain):
		}
	}
}
