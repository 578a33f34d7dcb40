package access

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// Off loopback no setting lists the names of the admin address. A page of evil.example whose name
// is made to resolve to it gets nothing all the same: its Origin and Host agree, but a session
// counts only at the host of its login, and browsers send no password or token to another host.
func TestRebindingOffLoopback(t *testing.T) {
	d := New(Options{
		Caller: func(r *http.Request) Caller { return Caller{Host: r.Header.Get("X-Forwarded-Host")} },
		Refuse: refuse, Public: []string{LoginPath, OncePath}, Rows: &storetest.MemoryRows{}, Log: zap.NewNop(),
	})
	d.Configure(someAccounts())
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if err := d.LogIn(w, r, "ops", "right"); err != nil {
			http.Error(w, err.Error(), StatusOf(err))
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(PrincipalOf(r.Context()).Name)) })
	send := func(method, target, host string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, strings.NewReader(url.Values{}.Encode()))
		r.Host = host
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		d.Handler(mux).ServeHTTP(w, r)
		return w
	}
	w := send("POST", "/login", "Admin.example.com:5082", "Origin", "https://admin.example.com:5082")
	if w.Code != 200 || len(w.Result().Cookies()) != 1 {
		t.Fatalf("login: %d %s", w.Code, w.Body)
	}
	cookie := w.Result().Cookies()[0].Name + "=" + w.Result().Cookies()[0].Value
	basic := "Basic b3BzOnJpZ2h0" // ops:right
	for _, tt := range []struct {
		name, method, host string
		header             []string
		want               int
	}{
		{"its own host", "GET", "admin.example.com:5082", []string{"Cookie", cookie}, 200},
		{"its own host, another port", "GET", "admin.example.com", []string{"Cookie", cookie}, 200},
		{"its own host by a proxy", "GET", "10.0.0.1:5082", []string{"Cookie", cookie, "X-Forwarded-Host", "admin.example.com"}, 200},
		{"another host", "GET", "evil.example:5082", []string{"Cookie", cookie}, 401},
		{"another host with its Origin", "GET", "evil.example:5082", []string{"Cookie", cookie, "Origin", "http://evil.example:5082"}, 401},
		{"a change at another host", "POST", "evil.example:5082", []string{"Cookie", cookie, "Origin", "http://evil.example:5082"}, 401},
		{"a page below the host", "GET", "evil.admin.example.com", []string{"Cookie", cookie}, 401},
		{"no Host", "GET", "", []string{"Cookie", cookie}, 401},
		{"another site's form", "POST", "admin.example.com:5082", []string{"Cookie", cookie, "Origin", "http://evil.example:5082"}, 403},
		{"a sandboxed page's form", "POST", "admin.example.com:5082", []string{"Cookie", cookie, "Origin", "null"}, 403},
		{"another site with a password", "POST", "admin.example.com:5082", []string{"Authorization", basic, "Origin", "http://evil.example:5082"}, 403},
		{"a sandboxed page with a password", "GET", "admin.example.com:5082", []string{"Authorization", basic, "Origin", "null"}, 403},
		{"a program with a password", "POST", "10.0.0.1:5082", []string{"Authorization", basic}, 200},
	} {
		if w := send(tt.method, "/api/v1/webhooks", tt.host, tt.header...); w.Code != tt.want {
			t.Errorf("%s: %d %s, want %d", tt.name, w.Code, w.Body, tt.want)
		}
	}
}
