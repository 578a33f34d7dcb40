package sqlite

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// A lock that its process is about to lose is waited for, and no longer than the caller waits.
func TestLockOfADyingProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		dying, err := lockDir(ctx, dir)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := lockDir(ctx, dir); !errors.Is(err, store.ErrLocked) || time.Since(began) != lockPatience {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		began = time.Now()
		if _, err := lockDir(short, dir); !errors.Is(err, store.ErrLocked) || time.Since(began) != time.Second {
			t.Errorf("a caller that gives up: %v after %v", err, time.Since(began))
		}
		time.AfterFunc(time.Second, func() { dying.Close() })
		next, err := lockDir(ctx, dir)
		if err != nil {
			t.Fatal(err)
		}
		next.Close()
	})
}
