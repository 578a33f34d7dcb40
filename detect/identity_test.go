package detect

import (
	"encoding/base64"
	"testing"
	"time"
)

func jwt(payload string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
}

func TestNames(t *testing.T) {
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for header, want := range map[string]string{
		basic("alice:alicepw"):       "alice",
		basic("robot$team+ci:x:y"):   "robot$team+ci",
		"basic" + basic("bob:")[5:]:  "bob",
		basic("no colon"):            "",
		basic("evil\nname:x"):        "",
		"Basic !!!":                  "",
		"Bearer " + jwt(`{"sub":1}`): "",
	} {
		if got, _ := BasicUser(header); got != want {
			t.Errorf("BasicUser(%q) = %q, want %q", header, got, want)
		}
	}
	if _, ok := BasicUser(basic("no colon")); ok {
		t.Error("a value without a colon is no Basic credential")
	}
	tests := []struct {
		token  string
		claims []string
		want   string
	}{
		{jwt(`{"sub":"alice"}`), []string{"sub"}, "alice"},
		{jwt(`{"sub":""}`), []string{"sub"}, ""},
		{jwt(`{"sub":"(anonymous)"}`), []string{"sub"}, ""},
		{jwt(`{"sub":"uuid","preferred_username":"al"}`), []string{"preferred_username", "sub"}, "al"},
		{jwt(`{"context":{"user":"org+robot"}}`), []string{"context.user"}, "org+robot"},
		{jwt(`{"https://x.io/name":"al"}`), []string{"https://x.io/name"}, "al"},
		{jwt(`{"sub":7}`), []string{"sub"}, "7"},
		{jwt(`{"UserID":1234567890123}`), []string{"sub", "UserID"}, "1234567890123"},
		{jwt(`{"sub":1.5}`), []string{"sub"}, ""},
		{jwt(`{"sub":9007199254740993}`), []string{"sub"}, ""},
		{jwt(`[1]`), []string{"sub"}, ""},
		{"opaque", []string{"sub"}, ""},
		{"a.b", []string{"sub"}, ""},
	}
	for _, tt := range tests {
		if got, ok := TokenName(tt.token, tt.claims); got != tt.want || ok != (tt.want != "") {
			t.Errorf("TokenName(%q, %q) = %q %v", tt.token, tt.claims, got, ok)
		}
	}
}

func TestEvidence(t *testing.T) {
	now := time.Unix(1e9, 0)
	check := func(e *Evidence, at time.Time, repository string, access Access, want LoginPolicy) {
		t.Helper()
		if got := e.LoginPolicy("r", repository, access, at); got != want {
			t.Errorf("%s %v: got %v, want %v", repository, access, got, want)
		}
	}
	e := NewEvidence()
	check(e, now, "a", Reading, UnknownPolicy)
	e.Anonymous("r", "", Ping, 200, now)
	check(e, now, "a", Reading, UnknownPolicy)
	e.Anonymous("r", "", Ping, 401, now)
	check(e, now, "a", Reading, RequiresLogin)
	check(e, now, "a", Writing, RequiresLogin)
	e.Anonymous("r", "a", BlobGet, 206, now)
	check(e, now, "a", Reading, OpenToAll)
	check(e, now, "a", Writing, RequiresLogin)
	check(e, now, "b", Reading, RequiresLogin)
	check(e, now.Add(evidenceFor), "a", Reading, UnknownPolicy)

	e = NewEvidence()
	e.Anonymous("r", "a", ManifestPut, 401, now)
	check(e, now, "a", Writing, RequiresLogin)
	check(e, now, "a", Reading, UnknownPolicy)
	e.Anonymous("r", "b", ManifestGet, 401, now)
	check(e, now, "b", Writing, RequiresLogin)
	e.Anonymous("r", "b", UploadStart, 202, now)
	check(e, now, "b", Writing, OpenToAll)
	check(e, now, "b", Reading, RequiresLogin)
	for _, status := range []int{307, 403, 404, 429, 500} {
		e.Anonymous("r", "b", ManifestGet, status, now)
		check(e, now, "b", Reading, RequiresLogin)
	}

	e = NewEvidence()
	for _, status := range []int{307, 400, 404, 405, 429, 500} {
		// answers to look-ups that failed, or that could not be understood
		e.Probed("r", "a", UploadEnd, status, now)
		check(e, now, "a", Writing, UnknownPolicy)
	}
	e.Probed("r", "a", UploadEnd, 401, now)
	check(e, now, "a", Writing, RequiresLogin)
	check(e, now, "a", Reading, UnknownPolicy)
	e.Probed("r", "b", UploadEnd, 403, now)
	check(e, now, "b", Writing, ForbidsAnonymous)
	e.Probed("r", "b", ManifestGet, 200, now)
	check(e, now, "b", Writing, ForbidsAnonymous)
	check(e, now, "b", Reading, OpenToAll)
	for _, c := range []struct {
		word            LoginPolicy
		failed, allowed bool
	}{{UnknownPolicy, false, false}, {OpenToAll, false, false}, {RequiresLogin, true, true}, {ForbidsAnonymous, false, true}} {
		if c.word.Vouches(false) != c.failed || c.word.Vouches(true) != c.allowed {
			t.Errorf("evidence %v: got %+v", c.word, c)
		}
	}
}
