package access

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
	// TokenFile is the name of the token's file, and of its account.
	TokenFile = "admin.token"

	shortestToken = 32 // bytes
	longestToken  = 4 << 10
)

// OwnToken returns the token in the file admin.token of a directory. It makes a new one if there is
// none, or if others may have read or written the file: another user owns it, or everybody may
// access it.
func OwnToken(dir string, log *zap.Logger) (string, error) {
	path := filepath.Join(dir, TokenFile)
	token, known, err := readToken(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return "", fmt.Errorf("reading %s: %w", path, err)
	case len(token) >= shortestToken && known == "":
		return token, nil
	case known != "":
		log.Warn("admin.token replaced", zap.String("file", path), zap.String("reason", known))
	}
	return newToken(path)
}

// readToken reads a token's file. known is the reason why others may know the token, or "". It
// removes the group's permissions, which a Kubernetes volume with fsGroup adds.
func readToken(path string) (token, known string, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return "", "", errors.New("it is a symbolic link; remove it, and bellbuoy creates a file")
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
		return "", fmt.Errorf("removing the old %s: %w", TokenFile, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", TokenFile, err)
	}
	_, err = f.WriteString(token + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("writing %s: %w", TokenFile, err)
	}
	return token, nil
}
