package main

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify/api"
)

func TestNearlyFullDisk(t *testing.T) {
	const gib = 1 << 30
	for _, tc := range []struct {
		free, size int64
		want       string
	}{
		{6 * gib, 252 * gib, ""}, // a large disk
		{4 * gib, 252 * gib, "the disk of data_dir is nearly full: 4.0 GiB of 252.0 GiB are free"},
		{1 * gib, 10 * gib, ""}, // a small one
		{gib / 4, 10 * gib, "the disk of data_dir is nearly full: 256.0 MiB of 10.0 GiB are free"},
		{0, 0, ""}, // unknown
	} {
		got := attention(&api.V1Status{Store: api.V1StoreStatus{DiskFree: tc.free, DiskSize: tc.size}})
		if strings.Join(got, "\n") != tc.want {
			t.Errorf("%d of %d: got %q, want %q", tc.free, tc.size, got, tc.want)
		}
	}
}

func TestListenErrorSaysWhatToDo(t *testing.T) {
	for err, want := range map[error]string{
		syscall.EADDRINUSE: "choose another address",
		syscall.EACCES:     "needs CAP_NET_BIND_SERVICE",
	} {
		got := listenError(&os.SyscallError{Syscall: "bind", Err: err})
		if !strings.Contains(got.Error(), want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
}

func TestForeignDataDirNamesTheUser(t *testing.T) {
	err := dataDirError(fmt.Errorf("opening the store: %w", fs.ErrPermission))
	if want := fmt.Sprintf("for uid %d; data_dir must belong to the user that runs bellbuoy", os.Geteuid()); !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want %q in it", err, want)
	}
}
