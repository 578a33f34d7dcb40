package access

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// peer returns the other end of the connection as the Caller.
func peer(r *http.Request) Caller {
	a, _ := netip.ParseAddrPort(r.RemoteAddr)
	return Caller{Address: a.Addr()}
}

func refuse(w http.ResponseWriter, _ *http.Request, status int, message string) {
	http.Error(w, message, status)
}

// administrators is a handler that answers accounts without limits with 200, and others with 403.
var administrators = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if !PrincipalOf(r.Context()).Administrator {
		w.WriteHeader(http.StatusForbidden)
	}
})

func TestDoor(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	withLogins := Accounts{
		Users:  []User{{Name: "ops", Hash: string(hash)}, {Name: "team", Hash: string(hash), Projects: []string{"team"}}},
		Tokens: []Token{{Name: "ci", Secret: "0123456789abcdef"}, {Name: "team", Secret: "fedcba9876543210", Projects: []string{"team"}}},
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
		accounts Accounts
		loopback bool
		host     string
		with     []func(*http.Request)
		want     int
	}{
		{"nothing", Accounts{}, true, "localhost:5082", nil, 401},
		{"the token of the file", Accounts{}, true, "localhost:5082", []func(*http.Request){header("Authorization", "Bearer "+own)}, 200},
		{"a wrong token", Accounts{}, true, "localhost:5082", []func(*http.Request){header("Authorization", "Bearer x")}, 401},
		{"the file's token off loopback", Accounts{}, false, "10.0.0.1:5082", []func(*http.Request){header("Authorization", "Bearer "+own)}, 401},
		{"the file's token beside logins", withLogins, true, "127.0.0.1:5082", []func(*http.Request){header("Authorization", "Bearer "+own)}, 401},
		{"a user", withLogins, true, "127.0.0.1:5082", []func(*http.Request){basic("ops", "secret")}, 200},
		{"a wrong password", withLogins, true, "127.0.0.1:5082", []func(*http.Request){basic("ops", "wrong")}, 401},
		{"a user of one project", withLogins, true, "127.0.0.1:5082", []func(*http.Request){basic("team", "secret")}, 403},
		{"a token", withLogins, false, "bellbuoy.example.com", []func(*http.Request){header("Authorization", "Bearer 0123456789abcdef")}, 200},
		{"a token of one project", withLogins, false, "bellbuoy.example.com", []func(*http.Request){header("Authorization", "Bearer fedcba9876543210")}, 403},
		{"a rebound name", Accounts{}, true, "evil.example.com:5082", []func(*http.Request){header("Authorization", "Bearer "+own)}, 403},
		{"another site", withLogins, true, "localhost:5082", []func(*http.Request){basic("ops", "secret"), header("Origin", "https://evil.example.com")}, 403},
		{"the same site", withLogins, true, "localhost:5082", []func(*http.Request){basic("ops", "secret"), header("Origin", "http://localhost:5082")}, 200},
	}
	for _, tt := range tests {
		g := New(Options{Caller: peer, Loopback: tt.loopback, OwnToken: own, Refuse: refuse})
		g.Configure(tt.accounts)
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = tt.host
		for _, with := range tt.with {
			with(r)
		}
		w := httptest.NewRecorder()
		g.Handler(administrators).ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s: %d %s, want %d", tt.name, w.Code, strings.TrimSpace(w.Body.String()), tt.want)
		}
	}
}
