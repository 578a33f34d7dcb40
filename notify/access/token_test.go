package access

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestOwnToken(t *testing.T) {
	const known = "0123456789012345678901234567890123456789"
	for name, tt := range map[string]struct {
		make func(path string) error
		kept bool
		err  string
		warn bool
	}{
		"none":            {make: func(string) error { return nil }},
		"its own":         {make: func(path string) error { return os.WriteFile(path, []byte(known+"\n"), 0o600) }, kept: true},
		"too short":       {make: func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }},
		"of the group":    {make: writeMode(known, 0o660), kept: true},
		"of everybody":    {make: writeMode(known, 0o666), warn: true},
		"readable by all": {make: writeMode(known, 0o644), warn: true},
		"a symbolic link": {make: func(path string) error {
			return errors.Join(os.WriteFile(path+".target", []byte(known), 0o600), os.Symlink(path+".target", path))
		},
			err: "symbolic link"},
		"a dangling link": {make: func(path string) error { return os.Symlink(path+".target", path) }, err: "symbolic link"},
		"a directory":     {make: func(path string) error { return os.Mkdir(path, 0o700) }, err: "not a file"},
		"a pipe":          {make: func(path string) error { return syscall.Mkfifo(path, 0o600) }, err: "not a file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), TokenFile)
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			core, logs := observer.New(zap.WarnLevel)
			token, err := OwnToken(filepath.Dir(path), zap.New(core))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("token %q, error %v", token, err)
				}
				return
			}
			if err != nil || len(token) < shortestToken || (token == known) != tt.kept {
				t.Errorf("token %q, error %v", token, err)
			}
			if warned := logs.Len() > 0; warned != tt.warn {
				t.Errorf("warnings: %v", logs.All())
			}
			if info, err := os.Lstat(path); err != nil || info.Mode() != 0o600 {
				t.Errorf("%v %v", info.Mode(), err)
			}
			if again, err := OwnToken(filepath.Dir(path), zap.NewNop()); err != nil || again != token {
				t.Errorf("%q %v, want the same token again", again, err)
			}
		})
	}
}

func writeMode(text string, mode os.FileMode) func(string) error {
	return func(path string) error {
		// Chmod, because of the umask
		return errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode))
	}
}
