package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
)

// A backup during another one is a conflict. Once the other one has ended, it works.
func TestTwoBackups(t *testing.T) {
	s, err := sqlite.Open(t.Context(), sqlite.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := control{&daemon{backupStore: s, log: zap.NewNop()}}
	h := asAdministrator((&api.V1{Operations: d, Log: zap.NewNop()}).Handler())
	post := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, api.V1Path+"/backup", nil))
		return w
	}
	err = d.Backup(t.Context(), bySocket, func(io.Reader, int64) error {
		if w := post(); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), `"detail":"another backup is being made"`) {
			t.Errorf("POST /backup during a backup: got %d %s, want 409", w.Code, w.Body)
		}
		return nil
	})
	if w := post(); err != nil || w.Code != http.StatusOK || !strings.HasPrefix(w.Body.String(), "SQLite format 3") {
		t.Errorf("POST /backup after the backup, which returned %v: got %d, want a copy", err, w.Code)
	}
}

// The errors of a disk without room for a copy, and of a copy that is being written, say so.
func TestBackupWithoutRoom(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: a small disk needs a mount, and a mount needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("SKIPPED: a small disk needs a mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("TMPDIR", dir)
	r := start(t, smallConfig)
	file := filepath.Join(t.TempDir(), "copy.db")
	if code, _, stderr := r.command("backup", file); code != 1 || !strings.Contains(stderr, "the disk is too full for a copy: it has ") {
		t.Errorf("backup to a full disk: exit code %d, stderr %q", code, stderr)
	}
	if err := os.WriteFile(file+".part", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := writeBackup(file, strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "another backup is writing it") {
		t.Errorf("writeBackup beside an existing .part file: got the error %v", err)
	}
}
