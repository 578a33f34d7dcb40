package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"go.uber.org/zap"
)

const (
	tokenName     = "admin.token"
	shortestToken = 32 // bytes
	longestToken  = 4 << 10
)

// adminToken returns the token in data_dir/admin.token. It makes a new one where there is none, and where
// others may have read or chosen it: the file is another user's, or everybody may read or write it.
func adminToken(dir string, log *zap.Logger) (string, error) {
	path := filepath.Join(dir, tokenName)
	token, known, err := readToken(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return "", fmt.Errorf("reading %s: %w", path, err)
	case len(token) >= shortestToken && known == "":
		return token, nil
	case known != "":
		log.Warn("admin.token is replaced by a new one", zap.String("file", path), zap.String("reason", known))
	}
	return newToken(path)
}

// readToken reads a token's file, and says why its content must be taken for known to others; "" where nothing
// says so. It takes the group's permissions away: in a Kubernetes volume with fsGroup files get them.
func readToken(path string) (token, known string, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return "", "", errors.New("it is a symbolic link; remove it, and bellbuoy makes a file")
	}
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", "", err
	}
	if !info.Mode().IsRegular() {
		return "", "", errors.New("it is not a file")
	}
	switch owner := info.Sys().(*syscall.Stat_t).Uid; {
	case int(owner) != os.Geteuid():
		return "", "it belonged to another user", nil
	case info.Mode().Perm()&0o007 != 0:
		return "", fmt.Sprintf("it was open to everybody (mode %04o)", info.Mode().Perm()), nil
	case info.Mode().Perm() != 0o600:
		if err := f.Chmod(0o600); err != nil {
			return "", "", err
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, longestToken))
	return strings.TrimSpace(string(b)), "", err
}

// newToken writes a new token to a file of mode 0600.
func newToken(path string) (string, error) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	token := hex.EncodeToString(raw)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("removing the old %s: %w", tokenName, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", tokenName, err)
	}
	_, err = f.WriteString(token + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("writing %s: %w", tokenName, err)
	}
	return token, nil
}
