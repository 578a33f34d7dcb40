package access

import (
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/postgres"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	storetest.StopPostgres()
	os.Exit(code)
}

// A session that one replica has begun works on the other, and ends on both at once.
func TestReplicasShareSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("starts PostgreSQL")
	}
	address := storetest.Database(t)
	replica := func(name string) *browser {
		s, err := postgres.Open(t.Context(), postgres.Options{URL: address, Replica: name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return newBrowser(t, s)
	}
	one, two := replica("one"), replica("two")
	one.logIn("ops")
	cookie := one.cookie
	two.cookie = cookie
	token := two.sees("on the other replica", "ops")
	if again := one.sees("on its own", "ops"); again != token {
		t.Errorf("form tokens differ: %q and %q", again, token)
	}
	if w := two.submit("/logout", url.Values{FormField: {token}}); w.Code != http.StatusSeeOther {
		t.Errorf("logout on the other replica: %d %s", w.Code, w.Body)
	}
	one.sees("after the logout on the other replica", "")

	one.logIn("dev")
	two.cookie = one.cookie
	two.sees("on the other replica", "dev")
	two.door.Configure(Accounts{})
	two.sees("where the account is gone", "")
	two.door.Configure(someAccounts())
	one.sees("after the account was gone on the other replica", "")
}

// Sessions survive a restart, and the longest idle go beyond the bound.
func TestSessionsInSQLite(t *testing.T) {
	dir := t.TempDir()
	open := func() *sqlite.Store {
		s, err := sqlite.Open(t.Context(), sqlite.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	b := newBrowser(t, s)
	b.logIn("ops")
	cookie := b.cookie
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	b = newBrowser(t, s)
	b.cookie = cookie
	b.sees("after a restart", "ops")

	few := Trim
	few.Max = 1
	b.cookie = nil
	b.logIn("dev")
	if _, err := s.Purge(t.Context(), store.Retention{}, []store.Trim{few}, time.Now()); err != nil {
		t.Fatal(err)
	}
	b.sees("the newest session", "dev")
	b.cookie = cookie
	b.sees("the longest idle session", "")
}
