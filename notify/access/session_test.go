package access

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

var rightHash = func() string {
	b, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return string(b)
}()

// someAccounts returns the users ops (without limits) and dev (limited), and the token ci.
func someAccounts() Accounts {
	return Accounts{
		Users:  []User{{Name: "ops", Hash: rightHash}, {Name: "dev", Hash: rightHash, Projects: []string{"team"}}},
		Tokens: []Token{{Name: "ci", Secret: strings.TrimPrefix(bearer, "Bearer ")}},
	}
}

// browser sends requests to a door with a login page at localhost:5082, and keeps its cookie.
type browser struct {
	t      *testing.T
	door   *Door
	tls    bool
	cookie *http.Cookie
	origin string // the Origin of its changes
	log    *observer.ObservedLogs
}

func newBrowser(t *testing.T, rows SessionRows) *browser {
	core, log := observer.New(zap.DebugLevel)
	b := &browser{t: t, origin: "http://localhost:5082", log: log}
	b.door = New(Options{
		Caller: func(r *http.Request) Caller { c := peer(r); c.HTTPS = b.tls; return c },
		Refuse: refuse, Loopback: true, Public: []string{LoginPath, OncePath, "/assets/"}, Rows: rows, Log: zap.New(core),
	})
	b.door.Configure(someAccounts())
	return b
}

// pages returns handlers like the console's, and a handler at /api/v1/webhooks that any account may
// use.
func (b *browser) pages() http.Handler {
	mux := http.NewServeMux()
	finish := func(w http.ResponseWriter, r *http.Request, err error) {
		if err != nil {
			http.Error(w, err.Error(), StatusOf(err))
			return
		}
		http.Redirect(w, r, Next(r), http.StatusSeeOther)
	}
	mux.HandleFunc("GET /login", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		finish(w, r, b.door.LogIn(w, r, r.PostFormValue("user"), r.PostFormValue("password")))
	})
	mux.HandleFunc("GET /login/once", func(w http.ResponseWriter, r *http.Request) {
		finish(w, r, b.door.LogInOnce(w, r, r.URL.Query().Get("ticket")))
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) { finish(w, r, b.door.LogOut(w, r)) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s\n%s", PrincipalOf(r.Context()).Name, FormToken(r.Context()))
	})
	return b.door.Handler(mux)
}

func (b *browser) send(r *http.Request) *httptest.ResponseRecorder {
	b.t.Helper()
	r.Host = "localhost:5082"
	if r.RemoteAddr == "192.0.2.1:1234" { // httptest's
		r.RemoteAddr = "127.0.0.1:1234"
	}
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	w := httptest.NewRecorder()
	b.pages().ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		b.cookie = c
		if c.MaxAge < 0 {
			b.cookie = nil
		}
	}
	return w
}

func (b *browser) open(path string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	return b.send(r)
}

func (b *browser) submit(path string, form url.Values) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Origin", b.origin)
	return b.send(r)
}

func (b *browser) logIn(name string) {
	b.t.Helper()
	if w := b.submit("/login", url.Values{"user": {name}, "password": {"right"}}); w.Code != http.StatusSeeOther || b.cookie == nil {
		b.t.Fatalf("login of %s: %d %s", name, w.Code, w.Body)
	}
}

// wantAccount checks that the browser gets the pages of an account, or the login page if account is
// "". It returns the form token.
func (b *browser) wantAccount(when, account string) (formToken string) {
	b.t.Helper()
	w := b.open("/webhooks")
	name, formToken, _ := strings.Cut(w.Body.String(), "\n")
	switch {
	case account == "" && (w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/login?next=%2Fwebhooks"):
		b.t.Errorf("%s: %d to %q, want the login page", when, w.Code, w.Header().Get("Location"))
	case account != "" && (w.Code != http.StatusOK || name != account):
		b.t.Errorf("%s: %d %s, want a page of %s", when, w.Code, w.Body, account)
	}
	return formToken
}

func TestSession(t *testing.T) {
	m := &storetest.MemoryRows{}
	b := newBrowser(t, m)
	b.wantAccount("before the login", "")
	if w := b.submit("/login", url.Values{"user": {"ops"}, "password": {"wrong"}}); w.Code != http.StatusUnauthorized || b.cookie != nil {
		t.Errorf("a wrong password: %d, cookie %v", w.Code, b.cookie)
	}
	b.logIn("ops")
	c := *b.cookie
	if c.Name != "bellbuoy" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/" || c.Domain != "" || c.MaxAge != 0 {
		t.Errorf("cookie %v", c.String())
	}
	for k, row := range m.All() {
		if strings.Contains(k.ID+string(row.Value), c.Value) || strings.Contains(string(row.Value), rightHash) {
			t.Errorf("the store has the secret itself: %s %s", k.ID, row.Value)
		}
	}
	token := b.wantAccount("after the login", "ops")
	if w := b.submit("/logout", url.Values{FormField: {token}}); w.Code != http.StatusSeeOther || b.cookie != nil || len(m.All()) != 0 {
		t.Errorf("logout: %d, cookie %v, rows %v", w.Code, b.cookie, m.All())
	}
	b.cookie = &c
	b.wantAccount("with the cookie after the logout", "")
	var logged []string
	for _, line := range b.log.All() {
		logged = append(logged, fmt.Sprint(line.Message, line.ContextMap()))
	}
	want := []string{"login failed map[address:127.0.0.1]", "login map[account:ops address:127.0.0.1]", "logout map[account:ops address:127.0.0.1]"}
	for _, line := range want {
		if !slices.ContainsFunc(logged, func(s string) bool { return strings.ReplaceAll(s, "map", " map") == line }) {
			t.Errorf("log %q lacks %q", logged, line)
		}
	}
}

// TestCookieUnderTLS: with TLS the cookie is Secure, and its name prevents other hosts of the
// domain from setting it.
func TestCookieUnderTLS(t *testing.T) {
	b := newBrowser(t, &storetest.MemoryRows{})
	b.tls = true
	b.logIn("ops")
	if !b.cookie.Secure || b.cookie.Name != "__Host-bellbuoy" || b.cookie.Path != "/" || b.cookie.Domain != "" {
		t.Errorf("cookie %v", b.cookie)
	}
	b.wantAccount("under TLS", "ops")
	b.cookie.Name = "bellbuoy"
	b.wantAccount("with the name of plain HTTP", "")
}

// TestSessionFixation: a login begins a new session, whatever cookie the request has, and ends the
// earlier one.
func TestSessionFixation(t *testing.T) {
	m := &storetest.MemoryRows{}
	b := newBrowser(t, m)
	planted := &http.Cookie{Name: "bellbuoy", Value: newSecret().String()}
	b.cookie = planted
	b.logIn("ops")
	first := b.cookie
	if first.Value == planted.Value {
		t.Error("the attacker's cookie became the session")
	}
	b.logIn("dev")
	if b.cookie.Value == first.Value {
		t.Error("the second login did not begin a new session")
	}
	b.wantAccount("after the second login", "dev")
	for _, old := range []*http.Cookie{planted, first} {
		b.cookie = old
		b.wantAccount("with an old cookie", "")
	}
	if len(m.All()) != 1 {
		t.Errorf("%d sessions, want one", len(m.All()))
	}
}

func TestSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &storetest.MemoryRows{}
		b := newBrowser(t, m)
		b.logIn("ops")
		time.Sleep(idleFor - time.Second)
		b.wantAccount("just before it was idle for long", "ops")
		time.Sleep(idleFor)
		b.wantAccount("idle for long", "")

		b.logIn("ops")
		if len(m.All()) != 1 {
			t.Errorf("%d sessions after a login, want one: the ended one is removed", len(m.All()))
		}
		for since := time.Duration(0); since < sessionFor-time.Hour; since += time.Hour {
			time.Sleep(time.Hour)
			b.wantAccount("in use for "+since.String(), "ops")
		}
		time.Sleep(time.Hour)
		b.wantAccount("in use for 7 days", "")
	})
}

// TestManyLogins: many logins of one user end that user's oldest sessions, and no others.
func TestManyLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &storetest.MemoryRows{}
		b := newBrowser(t, m)
		b.logIn("ops")
		other := b.cookie
		var cookies []*http.Cookie
		for range mostOfUser + 5 {
			time.Sleep(time.Second)
			b.cookie = nil
			b.logIn("dev")
			cookies = append(cookies, b.cookie)
		}
		if len(m.All()) != mostOfUser+1 {
			t.Errorf("%d sessions", len(m.All()))
		}
		for i, c := range cookies {
			b.cookie = c
			b.wantAccount(fmt.Sprint("login ", i), map[bool]string{true: "dev"}[i >= 5])
		}
		b.cookie = other
		b.wantAccount("another user", "ops")
	})
}

// TestLastRequestIsStoredRarely: the time of the last request is stored every few minutes, not with
// each request.
func TestLastRequestIsStoredRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &storetest.MemoryRows{}
		b := newBrowser(t, m)
		b.logIn("ops")
		before := m.Updates()
		for range 60 {
			time.Sleep(10 * time.Second)
			b.wantAccount("in use", "ops")
		}
		if got := m.Updates() - before; got != 2 {
			t.Errorf("%d writes in 10 minutes, want 2", got)
		}
	})
}

func TestChangedAccountEndsSession(t *testing.T) {
	other, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Accounts){
		"another password": func(a *Accounts) { a.Users[0].Hash = string(other) },
		"limited":          func(a *Accounts) { a.Users[0].Projects = []string{"team"} },
		"renamed":          func(a *Accounts) { a.Users[0].Name = "operator" },
		"removed":          func(a *Accounts) { a.Users = a.Users[1:] },
		"all are removed":  func(a *Accounts) { *a = Accounts{} },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBrowser(t, &storetest.MemoryRows{})
			b.logIn("ops")
			dev := newBrowser(t, b.door.Rows)
			dev.door = b.door
			dev.logIn("dev")
			b.door.Configure(someAccounts())
			b.wantAccount("after a reload that changes nothing", "ops")
			a := someAccounts()
			change(&a)
			b.door.Configure(a)
			b.wantAccount("after the change", "")
			if len(a.Users) > 0 {
				dev.wantAccount("somebody else after the change", "dev")
			}
			b.door.Configure(someAccounts())
			b.wantAccount("after the change was undone", "")
		})
	}
}

// TestSessionWhileStoreFails: while the store fails, sessions that were read before remain valid,
// and no session begins.
func TestSessionWhileStoreFails(t *testing.T) {
	m := &storetest.MemoryRows{}
	b, late := newBrowser(t, m), newBrowser(t, m)
	b.logIn("ops")
	m.Fail(errors.New("disk full"))
	b.wantAccount("while the store fails", "ops")
	if w := late.submit("/login", url.Values{"user": {"ops"}, "password": {"right"}}); w.Code != http.StatusServiceUnavailable || late.cookie != nil {
		t.Errorf("a login while the store fails: %d", w.Code)
	}
	m.Fail(nil)
	m.Clear()
	b.wantAccount("ended elsewhere meanwhile", "")
}

// TestLogoutIsFinal: a touch at the moment of a logout does not store the session again.
func TestLogoutIsFinal(t *testing.T) {
	m := &storetest.MemoryRows{}
	s := newSessions(m)
	made := time.Now()
	key, err := s.begin(t.Context(), session{User: "ops", Made: made, Used: made})
	if err != nil {
		t.Fatal(err)
	}
	one, _ := s.find(t.Context(), key.id(), made)
	if err := s.end(t.Context(), key.id()); err != nil {
		t.Fatal(err)
	}
	if err := s.touch(t.Context(), key.id(), one, made.Add(time.Hour)); err != nil || len(m.All()) != 0 {
		t.Errorf("%v, rows %v", err, m.All())
	}
}

func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBrowser(t, &storetest.MemoryRows{})
		b.door.Configure(Accounts{})
		use := func(ticket string) int {
			b.cookie = nil
			return b.open("/login/once?ticket=" + ticket).Code
		}
		ticket := b.door.Ticket()
		for _, looks := range []*http.Request{
			httptest.NewRequest("HEAD", "/login/once?ticket="+ticket, nil),
			{Method: "GET", URL: &url.URL{Path: "/login/once", RawQuery: "ticket=" + ticket}, RemoteAddr: "127.0.0.1:1234", Header: http.Header{"Sec-Purpose": {"prefetch"}}},
		} {
			if w := b.send(looks); w.Code != http.StatusUnauthorized || b.cookie != nil {
				t.Errorf("%s with %v: %d, cookie %v", looks.Method, looks.Header, w.Code, b.cookie)
			}
		}
		if code := use(ticket); code != http.StatusSeeOther {
			t.Errorf("a new ticket: %d", code)
		}
		b.wantAccount("after the ticket", consoleName)
		if code := use(ticket); code != http.StatusUnauthorized || b.cookie != nil {
			t.Errorf("a ticket again: %d, cookie %v", code, b.cookie)
		}
		late := b.door.Ticket()
		time.Sleep(ticketFor)
		for _, bad := range []string{late, "", "x", newSecret().String(), ticket + "A"} {
			if code := use(bad); code != http.StatusUnauthorized || b.cookie != nil {
				t.Errorf("ticket %q: %d, cookie %v", bad, code, b.cookie)
			}
		}
		first := b.door.Ticket()
		for range mostTickets {
			time.Sleep(time.Millisecond)
			b.door.Ticket()
		}
		if code := use(first); code != http.StatusUnauthorized || len(b.door.tickets.ends) > mostTickets {
			t.Errorf("the oldest of too many tickets: %d; %d are kept", code, len(b.door.tickets.ends))
		}
	})
}

// TestThrottleOfTheForm: the login form has the same limit of failures as the other ways to log
// in. A session is not limited.
func TestThrottleOfTheForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBrowser(t, &storetest.MemoryRows{})
		b.logIn("ops")
		guess := newBrowser(t, b.door.Rows)
		guess.door = b.door
		for i := range mostFailures {
			user := []string{"ops", "nobody"}[i%2]
			if w := guess.submit("/login", url.Values{"user": {user}, "password": {"wrong"}}); w.Code != http.StatusUnauthorized {
				t.Errorf("failure %d: %d", i, w.Code)
			}
		}
		w := guess.submit("/login", url.Values{"user": {"ops"}, "password": {"right"}})
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "60" || guess.cookie != nil {
			t.Errorf("after ten failures: %d, Retry-After %q, cookie %v", w.Code, w.Header().Get("Retry-After"), guess.cookie)
		}
		basic := httptest.NewRequest("GET", "/webhooks", nil)
		basic.SetBasicAuth("ops", "right")
		if w := guess.send(basic); w.Code != http.StatusTooManyRequests {
			t.Errorf("Basic after ten failures of the form: %d", w.Code)
		}
		b.wantAccount("after ten failures of its address", "ops")
		time.Sleep(failuresFor)
		guess.logIn("ops")
	})
}

// TestFormTakesEqualWork: refusing an unknown name in the form takes as much work as refusing a
// known one.
func TestFormTakesEqualWork(t *testing.T) {
	b := newBrowser(t, &storetest.MemoryRows{})
	work := 0
	b.door.logins.compare = func(hash, _ []byte) error {
		work += 1 << costOf(string(hash))
		return bcrypt.ErrMismatchedHashAndPassword
	}
	for _, name := range []string{"ops", "nobody", ""} {
		work = 0
		b.submit("/login", url.Values{"user": {name}, "password": {"wrong"}})
		if work != 1<<bcrypt.MinCost {
			t.Errorf("%q: work of %d", name, work)
		}
	}
}

// TestChangesNeedProof sends changes and reads with all kinds of credentials, origins and form
// tokens.
func TestChangesNeedProof(t *testing.T) {
	const own, foreign = "http://localhost:5082", "https://evil.example.com"
	b := newBrowser(t, &storetest.MemoryRows{})
	b.logIn("dev")
	otherToken := b.wantAccount("logged in", "dev")
	b.cookie = nil
	b.logIn("ops")
	ops := b.cookie
	token := b.wantAccount("logged in", "ops")

	type who int
	const (
		nobody who = iota
		withSession
		withBasic
		withBearer
		withOldSession
	)
	for _, tt := range []struct {
		name         string
		who          who
		origin       string
		field        string
		header       string
		kind         string // of the body; "": a form
		change, read int
	}{
		{"nobody", nobody, "", "", "", "", 401, 401},
		{"no account, own origin", nobody, own, token, token, "", 401, 401},
		{"session, token in the form", withSession, own, token, "", "", 200, 200},
		{"session, token in the header", withSession, own, "", token, "", 200, 200},
		{"session, token in the header, JSON", withSession, own, "", token, "application/json", 200, 200},
		{"session without a token", withSession, own, "", "", "", 403, 200},
		{"session without a token, JSON", withSession, own, "", "", "application/json", 403, 200},
		{"session, token in a body that is no form", withSession, own, token, "", "text/plain", 403, 200},
		{"session, token of another session", withSession, own, otherToken, "", "", 403, 200},
		{"session, token of another session in the header", withSession, own, token, otherToken, "", 403, 200},
		{"session without an origin", withSession, "", token, "", "", 403, 200},
		{"session, origin null", withSession, "null", token, "", "", 403, 403},
		{"session, foreign origin", withSession, foreign, token, token, "", 403, 403},
		{"session, another port", withSession, "http://localhost:5083", token, "", "", 403, 403},
		{"ended session", withOldSession, own, token, token, "", 401, 401},
		{"Basic", withBasic, "", "", "", "", 200, 200},
		{"Basic, own origin", withBasic, own, "", "", "", 200, 200},
		{"Basic, foreign origin", withBasic, foreign, "", "", "", 403, 403},
		{"Bearer", withBearer, "", "", "", "", 200, 200},
		{"Bearer, foreign origin", withBearer, foreign, "", "", "", 403, 403},
	} {
		ask := func(method string) int {
			r := httptest.NewRequest(method, "/api/v1/webhooks", strings.NewReader(url.Values{FormField: {tt.field}}.Encode()))
			kind := tt.kind
			if kind == "" {
				kind = "application/x-www-form-urlencoded"
			}
			r.Header.Set("Content-Type", kind)
			for name, value := range map[string]string{"Origin": tt.origin, FormHeader: tt.header} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			switch tt.who {
			case withSession:
				r.AddCookie(ops)
			case withOldSession:
				r.AddCookie(&http.Cookie{Name: ops.Name, Value: newSecret().String()})
			case withBasic:
				r.SetBasicAuth("ops", "right")
			case withBearer:
				r.Header.Set("Authorization", bearer)
			}
			b.cookie = nil
			return b.send(r).Code
		}
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "ODD"} {
			want := tt.change
			if tt.who == withSession && tt.header == "" && (method == "DELETE" || method == "ODD") {
				want = 403 // HTML forms use other methods
			}
			if got := ask(method); got != want {
				t.Errorf("%s: %s is answered %d, want %d", tt.name, method, got, want)
			}
		}
		for _, method := range []string{"GET", "HEAD"} {
			if got := ask(method); got != tt.read {
				t.Errorf("%s: %s is answered %d, want %d", tt.name, method, got, tt.read)
			}
		}
	}
}

// TestLoginFromElsewhere: a page of another site cannot log a user in, and the login form refuses
// long bodies.
func TestLoginFromElsewhere(t *testing.T) {
	b := newBrowser(t, &storetest.MemoryRows{})
	for _, origin := range []string{"https://evil.example.com", "null", ""} {
		b.origin = origin
		if w := b.submit("/login", url.Values{"user": {"ops"}, "password": {"right"}}); w.Code != http.StatusForbidden || b.cookie != nil {
			t.Errorf("origin %q: %d, cookie %v", origin, w.Code, b.cookie)
		}
	}
	b.origin = "http://localhost:5082"
	if w := b.submit("/login", url.Values{"user": {"ops"}, "password": {"right"}, "more": {strings.Repeat("x", longestLogin)}}); w.Code != http.StatusUnauthorized {
		t.Errorf("a long form: %d", w.Code)
	}
}

// TestOriginBehindProxy: a trusted reverse proxy may forward another Host than the one in its own
// request.
func TestOriginBehindProxy(t *testing.T) {
	b := newBrowser(t, &storetest.MemoryRows{})
	b.door.Options.Caller = func(*http.Request) Caller {
		return Caller{Address: netip.MustParseAddr("192.0.2.7"), HTTPS: true, Host: "bell.example.com"}
	}
	b.origin = "https://bell.example.com"
	b.logIn("ops")
	if !b.cookie.Secure {
		t.Error("the cookie is not Secure, although the browser uses TLS")
	}
}

// TestWithoutSession: a browser is sent to the login page. Other requests get 401.
func TestWithoutSession(t *testing.T) {
	b := newBrowser(t, &storetest.MemoryRows{})
	for _, tt := range []struct {
		method, path, accept, site string
		status                     int
		location, refresh          string
	}{
		{"GET", "/", "text/html", "none", 303, "/login", ""},
		{"GET", "/deliveries/5?a=b&c=d", "text/html,*/*", "same-origin", 303, "/login?next=%2Fdeliveries%2F5%3Fa%3Db%26c%3Dd", ""},
		{"GET", "/deliveries/5?a=\"b", "text/html", "cross-site", 200, "", "0;url=/deliveries/5?a=\"b"},
		{"GET", "//evil.example.com/x", "text/html", "cross-site", 200, "", "0;url=/"},
		{"GET", "//evil.example.com/x", "text/html", "", 303, "/login", ""},
		{"POST", "/webhooks", "text/html", "same-origin", 303, "/login", ""},
		{"GET", "/webhooks", "*/*", "", 401, "", ""},
		{"GET", "/webhooks", "", "", 401, "", ""},
		{"GET", "/api/v1/webhooks", "text/html", "", 401, "", ""},
		{"GET", "/login", "text/html", "", 200, "", ""},
		{"GET", "/assets/style.css", "text/css", "", 200, "", ""},
		{"GET", "/assets", "text/css", "", 401, "", ""},
		{"GET", "/login/other", "*/*", "", 401, "", ""},
	} {
		r := httptest.NewRequest(tt.method, "http://localhost:5082/", nil)
		r.URL.Path, r.URL.RawQuery, _ = strings.Cut(tt.path, "?")
		r.Header.Set("Accept", tt.accept)
		r.Header.Set("Sec-Fetch-Site", tt.site)
		r.Header.Set("Origin", "http://localhost:5082")
		w := b.send(r)
		if w.Code != tt.status || w.Header().Get("Location") != tt.location || w.Header().Get("Refresh") != tt.refresh {
			t.Errorf("%s %s: %d, Location %q, Refresh %q; want %d %q %q", tt.method, tt.path, w.Code, w.Header().Get("Location"), w.Header().Get("Refresh"), tt.status, tt.location, tt.refresh)
		}
		if strings.Contains(w.Body.String(), `a="b`) {
			t.Errorf("%s: not escaped: %s", tt.path, w.Body)
		}
	}
}

func TestNext(t *testing.T) {
	for next, want := range map[string]string{
		"":                                     "/",
		"/":                                    "/",
		"/deliveries?webhook=team%2Fci&a=b#x":  "/deliveries?webhook=team%2Fci&a=b#x",
		"https://evil.example.com/":            "/",
		"//evil.example.com/":                  "/",
		"///evil.example.com/":                 "/",
		`/\evil.example.com/`:                  "/",
		`\/evil.example.com/`:                  "/",
		"/\t/evil.example.com/":                "/",
		"/\n/evil.example.com/":                "/",
		" //evil.example.com/":                 "/",
		"javascript:alert(1)":                  "/",
		"evil.example.com":                     "/",
		"/login":                               "/",
		"/login/once?ticket=x":                 "/",
		"/" + strings.Repeat("x", longestNext): "/",
	} {
		b := newBrowser(t, &storetest.MemoryRows{})
		w := b.submit("/login", url.Values{"user": {"ops"}, "password": {"right"}, "next": {next}})
		if got := w.Header().Get("Location"); got != want {
			t.Errorf("next %q in the form leads to %q, want %q", next, got, want)
		}
		w = b.open("/login/once?ticket=" + b.door.Ticket() + "&next=" + url.QueryEscape(next))
		if got := w.Header().Get("Location"); got != want {
			t.Errorf("next %q in the address leads to %q, want %q", next, got, want)
		}
	}
}

func FuzzSecret(f *testing.F) {
	f.Add(newSecret().String())
	f.Add("")
	f.Add(strings.Repeat("_", 43))
	f.Fuzz(func(t *testing.T, text string) {
		s, ok := parseSecret(text)
		if ok && s.String() != text {
			t.Errorf("%q is parsed as %q: a session has two cookies", text, s)
		}
	})
}

// FuzzLogin sends any login form with any cookie. No login succeeds without the password, and no
// redirect leads to another host.
func FuzzLogin(f *testing.F) {
	f.Add("user=ops&password=right&next=%2F%2Fevil.example.com", "application/x-www-form-urlencoded", "bellbuoy=x")
	f.Add("user=ops&user=dev&password=wrong&next=/a", "application/x-www-form-urlencoded", "bellbuoy=; bellbuoy=\"")
	f.Add("--b\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\nops\r\n--b--", "multipart/form-data; boundary=b", "")
	f.Fuzz(func(t *testing.T, body, kind, cookie string) {
		b := newBrowser(t, &storetest.MemoryRows{})
		asked := ""
		b.door.logins.compare = func(_, password []byte) error {
			if asked = string(password); asked == "right" {
				return nil
			}
			return bcrypt.ErrMismatchedHashAndPassword
		}
		r := httptest.NewRequest("POST", "/login", strings.NewReader(body))
		r.Header = http.Header{"Content-Type": {kind}, "Cookie": {cookie}, "Origin": {"http://localhost:5082"}}
		w := b.send(r)
		if (b.cookie != nil) != (w.Code == http.StatusSeeOther) || b.cookie != nil && asked != "right" {
			t.Errorf("%d, cookie %v after the password %q", w.Code, b.cookie, asked)
		}
		if to := w.Header().Get("Location"); strings.HasPrefix(to, "//") || to != "" && !strings.HasPrefix(to, "/") {
			t.Errorf("led to %q", to)
		}
	})
}
