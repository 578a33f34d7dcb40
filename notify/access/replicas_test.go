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

// TestReplicasShareSessions: a session that began on one replica works on the other, and ends on
// both.
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
	token := two.wantAccount("on the other replica", "ops")
	if again := one.wantAccount("on its own", "ops"); again != token {
		t.Errorf("form tokens differ: %q and %q", again, token)
	}
	if w := two.submit("/logout", url.Values{FormField: {token}}); w.Code != http.StatusSeeOther {
		t.Errorf("logout on the other replica: %d %s", w.Code, w.Body)
	}
	one.wantAccount("after the logout on the other replica", "")

	one.logIn("dev")
	two.cookie = one.cookie
	two.wantAccount("on the other replica", "dev")
	two.door.Configure(Accounts{})
	two.wantAccount("where the account is gone", "")
	two.door.Configure(someAccounts())
	one.wantAccount("after the account was gone on the other replica", "")
}

// TestSessionsInSQLite: sessions survive a restart. Beyond the bound, the longest idle are removed.
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
	b.wantAccount("after a restart", "ops")

	few := Trim
	few.Max = 1
	b.cookie = nil
	b.logIn("dev")
	if _, err := s.Purge(t.Context(), store.Retention{}, []store.Trim{few}, time.Now()); err != nil {
		t.Fatal(err)
	}
	b.wantAccount("the newest session", "dev")
	b.cookie = cookie
	b.wantAccount("the longest idle session", "")
}
