package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"github.com/bellbuoy/bellbuoy/config"
)

func TestAdminGate(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	withLogins := config.Admin{
		Users:  []config.AdminUser{{Name: "ops", PasswordHash: config.Secret(hash)}, {Name: "team", PasswordHash: config.Secret(hash), Projects: []string{"team"}}},
		Tokens: []config.AdminToken{{Name: "ci", Token: "0123456789abcdef"}, {Name: "team", Token: "fedcba9876543210", Projects: []string{"team"}}},
	}
	basic := func(name, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(name, password) }
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	const own = "0123456789012345678901234567890123456789"
	tests := []struct {
		name     string
		admin    config.Admin
		loopback bool
		host     string
		with     []func(*http.Request)
		want     int
	}{
		{"nothing", config.Admin{}, true, "localhost:5082", nil, 401},
		{"the token of the file", config.Admin{}, true, "localhost:5082", []func(*http.Request){header("Authorization", "Bearer "+own)}, 200},
		{"a wrong token", config.Admin{}, true, "localhost:5082", []func(*http.Request){header("Authorization", "Bearer x")}, 401},
		{"the file's token off loopback", config.Admin{}, false, "10.0.0.1:5082", []func(*http.Request){header("Authorization", "Bearer "+own)}, 401},
		{"the file's token beside logins", withLogins, true, "127.0.0.1:5082", []func(*http.Request){header("Authorization", "Bearer "+own)}, 401},
		{"a user", withLogins, true, "127.0.0.1:5082", []func(*http.Request){basic("ops", "secret")}, 200},
		{"a wrong password", withLogins, true, "127.0.0.1:5082", []func(*http.Request){basic("ops", "wrong")}, 401},
		{"a user of one project", withLogins, true, "127.0.0.1:5082", []func(*http.Request){basic("team", "secret")}, 403},
		{"a token", withLogins, false, "bellbuoy.example.com", []func(*http.Request){header("Authorization", "Bearer 0123456789abcdef")}, 200},
		{"a token of one project", withLogins, false, "bellbuoy.example.com", []func(*http.Request){header("Authorization", "Bearer fedcba9876543210")}, 403},
		{"a rebound name", config.Admin{}, true, "evil.example.com:5082", []func(*http.Request){header("Authorization", "Bearer "+own)}, 403},
		{"another site", withLogins, true, "localhost:5082", []func(*http.Request){basic("ops", "secret"), header("Origin", "https://evil.example.com")}, 403},
		{"the same site", withLogins, true, "localhost:5082", []func(*http.Request){basic("ops", "secret"), header("Origin", "http://localhost:5082")}, 200},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, tokenName), []byte(own+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := newAdmin(&config.Config{DataDir: dir, Admin: tt.admin}, tt.loopback, http.NotFoundHandler(), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/debug/pprof/cmdline", nil)
		r.Host = tt.host
		for _, with := range tt.with {
			with(r)
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s: %d %s, want %d", tt.name, w.Code, strings.TrimSpace(w.Body.String()), tt.want)
		}
	}
}

func TestAdminToken(t *testing.T) {
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
			path := filepath.Join(t.TempDir(), tokenName)
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			core, logs := observer.New(zap.WarnLevel)
			token, err := adminToken(filepath.Dir(path), zap.New(core))
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
			if again, err := adminToken(filepath.Dir(path), zap.NewNop()); err != nil || again != token {
				t.Errorf("%q %v, want the same token again", again, err)
			}
		})
	}
}

func writeMode(text string, mode os.FileMode) func(string) error {
	return func(path string) error {
		// whatever the umask is
		return errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode))
	}
}

func TestPlaceWarnings(t *testing.T) {
	for mode, want := range map[os.FileMode]bool{0o700: false, 0o770: false, 0o755: false, 0o777: true, 0o777 | os.ModeSticky: true} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		for _, database := range []config.Secret{"", "postgres://h/d"} {
			text := dataDirWarnings(&config.Config{DataDir: dir, Database: database}).String()
			if warned := strings.Contains(text, "everybody may write"); warned != want {
				t.Errorf("mode %v, database %t: %q", mode, database != "", text)
			}
		}
	}
}
