package access

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// TestLongRequestEnds: a request that is being served ends when its account is changed or removed,
// or its session ends. Changes of other accounts do not end it.
func TestLongRequestEnds(t *testing.T) {
	limit := func(name string) func(*browser) {
		return func(b *browser) {
			a := someAccounts()
			for i := range a.Users {
				if a.Users[i].Name == name {
					a.Users[i].Projects = []string{"other"}
				}
			}
			b.door.Configure(a)
		}
	}
	for name, tt := range map[string]struct {
		login string // a user; "Bearer …"; "session": a login session of dev; "once": of an administrator
		do    func(*browser)
		ends  bool
	}{
		"user limited":              {"dev", limit("dev"), true},
		"administrator limited":     {"ops", limit("ops"), true},
		"another user limited":      {"dev", limit("ops"), false},
		"nothing changed":           {"dev", func(b *browser) { b.door.Configure(someAccounts()) }, false},
		"user removed":              {"dev", func(b *browser) { b.door.Configure(Accounts{}) }, true},
		"password changed":          {"dev", func(b *browser) { a := someAccounts(); a.Users[1].Hash += " "; b.door.Configure(a) }, true},
		"token removed":             {bearer, func(b *browser) { a := someAccounts(); a.Tokens = nil; b.door.Configure(a) }, true},
		"token limited":             {bearer, func(b *browser) { a := someAccounts(); a.Tokens[0].Projects = []string{"x"}; b.door.Configure(a) }, true},
		"user beside token removed": {bearer, func(b *browser) { a := someAccounts(); a.Users = nil; b.door.Configure(a) }, false},
		"session of a limited user": {"session", limit("dev"), true},
		"session of another user":   {"session", limit("ops"), false},
		"logout":                    {"session", func(b *browser) { b.submit("/logout", url.Values{FormField: {b.wantAccount("", "dev")}}) }, true},
		"login in the same browser": {"session", func(b *browser) { b.logIn("ops") }, true},
		"login in another browser":  {"session", func(b *browser) { b.cookie = nil; b.logIn("dev") }, false},
		"logout on another replica": {"session", func(b *browser) {
			b.door.sessions.rows.(*storetest.MemoryRows).Clear()
		}, true},
		"address of bellbuoy console": {"once", limit("ops"), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBrowser(t, &storetest.MemoryRows{})
				r := httptest.NewRequest("GET", "/api/v1/events/stream", nil)
				r.Host, r.RemoteAddr = "localhost:5082", "127.0.0.1:1"
				switch {
				case tt.login == "session":
					b.logIn("dev")
				case tt.login == "once":
					b.open("/login/once?ticket=" + b.door.Ticket())
				case strings.HasPrefix(tt.login, "Bearer "):
					r.Header.Set("Authorization", tt.login)
				default:
					r.SetBasicAuth(tt.login, "right")
				}
				if b.cookie != nil {
					r.AddCookie(b.cookie)
				}
				began, ended := false, false
				go b.door.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					began = true
					<-r.Context().Done()
					ended = true
				})).ServeHTTP(httptest.NewRecorder(), r.WithContext(t.Context()))
				synctest.Wait()
				if !began || ended {
					t.Fatal("the request did not begin, or ended at once")
				}
				tt.do(b)
				time.Sleep(sessionCheck + 1)
				synctest.Wait()
				if ended != tt.ends {
					t.Errorf("ended: %t", ended)
				}
			})
		})
	}
}

// TestAccountChangedDuringLogin: a request whose account was removed after it was found ends at
// once.
func TestAccountChangedDuringLogin(t *testing.T) {
	d := New(Options{Caller: peer, Refuse: refuse})
	v := visit{Principal: Principal{Name: "dev", Projects: []string{"team"}}, stillValid: hasUser(someAccounts().Users[1])}
	ended := false
	d.serveAs(v, httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ended = r.Context().Err() != nil
	}))
	if !ended || len(d.live.all) > 0 {
		t.Error("the request did not end")
	}
}
