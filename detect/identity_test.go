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
		{jwt(`{"sub":7}`), []string{"sub"}, ""},
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
	check := func(e *Evidence, at time.Time, repository string, access Access, want, wantKnown bool) {
		t.Helper()
		if got, known := e.Vouched("r", repository, access, at); got != want || known != wantKnown {
			t.Errorf("%s %v: vouched %v known %v, want %v %v", repository, access, got, known, want, wantKnown)
		}
	}
	e := NewEvidence()
	check(e, now, "a", Reading, false, false)
	e.Anonymous("r", "", Ping, 200, now)
	check(e, now, "a", Reading, false, false)
	e.Anonymous("r", "", Ping, 401, now)
	check(e, now, "a", Reading, true, true)
	check(e, now, "a", Writing, true, true)
	e.Anonymous("r", "a", BlobGet, 206, now)
	check(e, now, "a", Reading, false, true)
	check(e, now, "a", Writing, true, true)
	check(e, now, "b", Reading, true, true)
	check(e, now.Add(evidenceFor), "a", Reading, false, false)

	e = NewEvidence()
	e.Anonymous("r", "a", ManifestPut, 401, now)
	check(e, now, "a", Writing, true, true)
	check(e, now, "a", Reading, false, false)
	e.Anonymous("r", "b", ManifestGet, 401, now)
	check(e, now, "b", Writing, true, true)
	e.Anonymous("r", "b", UploadStart, 202, now)
	check(e, now, "b", Writing, false, true)
	check(e, now, "b", Reading, true, true)
	e.Anonymous("r", "b", ManifestGet, 404, now)
	check(e, now, "b", Reading, true, true)
}
