package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
		{"a user of one project", withLogins, true, "127.0.0.1:5082", []func(*http.Request){basic("team", "secret")}, 401},
		{"a token", withLogins, false, "bellbuoy.example.com", []func(*http.Request){header("Authorization", "Bearer 0123456789abcdef")}, 200},
		{"a token of one project", withLogins, false, "bellbuoy.example.com", []func(*http.Request){header("Authorization", "Bearer fedcba9876543210")}, 401},
		{"a rebound name", config.Admin{}, true, "evil.example.com:5082", []func(*http.Request){header("Authorization", "Bearer "+own)}, 403},
		{"another site", withLogins, true, "localhost:5082", []func(*http.Request){basic("ops", "secret"), header("Origin", "https://evil.example.com")}, 403},
		{"the same site", withLogins, true, "localhost:5082", []func(*http.Request){basic("ops", "secret"), header("Origin", "http://localhost:5082")}, 200},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, tokenName), []byte(own+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := newAdmin(&config.Config{DataDir: dir, Admin: tt.admin}, tt.loopback)
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

func TestAdminTokenIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := adminToken(dir)
	if err != nil || len(first) != 64 {
		t.Fatal(first, err)
	}
	if again, err := adminToken(dir); err != nil || again != first {
		t.Errorf("%q %v, want the same token again", again, err)
	}
	if info, err := os.Stat(filepath.Join(dir, tokenName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}
