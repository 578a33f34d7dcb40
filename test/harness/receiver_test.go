package harness

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// record is a T that records failures instead of failing.
type record struct {
	*testing.T
	failures []string
}

func (r *record) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}
func (r *record) Fatalf(format string, args ...any) { r.Errorf(format, args...) }
func (r *record) Failed() bool                      { return false }

func send(t *testing.T, url, body string) int {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestReceiverWithEachRecordsNothing(t *testing.T) {
	r := NewReceiver(t)
	var got []string
	r.Each(func(w http.ResponseWriter, _ *http.Request, p Post) {
		got = append(got, p.Path+" "+string(p.Body))
		w.WriteHeader(http.StatusTeapot)
	})
	if status := send(t, r.URL("/a"), "{}"); status != http.StatusTeapot {
		t.Errorf("got the status %d", status)
	}
	if len(got) != 1 || got[0] != "/a {}" || len(r.Posts("")) != 0 {
		t.Errorf("the function got %q; the receiver recorded %d, want none", got, len(r.Posts("")))
	}
}

func TestReceiverRecordsAndAnswers(t *testing.T) {
	r := NewReceiver(t)
	r.Statuses("/b", 500, 204)
	for _, step := range []struct {
		path string
		want int
	}{{"/a", 200}, {"/b", 500}, {"/b", 204}, {"/b", 204}} {
		if got := send(t, r.URL(step.path), `{"x":{"y":[{"z":"hit"}]}}`); got != step.want {
			t.Errorf("POST %s: %d, want %d", step.path, got, step.want)
		}
	}
	posts := r.WaitAt("/b", 3, time.Second)
	if got := posts[0].Text("x.y.0.z"); got != "hit" {
		t.Errorf("got the field %q", got)
	}
	for _, path := range []string{"x.y.1.z", "x.q", "x.y.z", "x.y.0.z.w"} {
		if got := posts[0].Field(path); got != nil {
			t.Errorf("field %s is %v, want nil", path, got)
		}
	}
	r.Wait(4, time.Second)
}

func TestReceiverAnswerCanReadTheBody(t *testing.T) {
	r := NewReceiver(t)
	var got string
	r.Answer("/", func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		got = string(body)
	})
	send(t, r.URL("/"), "hello")
	if got != "hello" {
		t.Errorf("the answer read %q", got)
	}
}

func TestReceiverHangsUntilTheClientDisconnects(t *testing.T) {
	r := NewReceiver(t)
	r.Hang("/h")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { r.Wait(1, time.Minute); cancel() }()
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, r.URL("/h"), nil)
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		t.Error("it answered")
	}
}

func TestReceiverReportsMissingAndUnexpectedPosts(t *testing.T) {
	rec := &record{T: t}
	r := NewReceiver(rec)
	r.Wait(1, 20*time.Millisecond)
	send(t, r.URL("/x"), "1")
	r.Wait(0, time.Second)
	go http.Post(r.URL("/x"), "text/plain", strings.NewReader("2")) // only its arrival is tested
	r.Quiet(5 * time.Second)
	r.Quiet(20 * time.Millisecond)
	want := []string{"0 webhooks arrived", "1 webhooks arrived, want 0", "unexpected webhook arrived at /x: 2"}
	if len(rec.failures) != len(want) {
		t.Fatalf("got the failures %q", rec.failures)
	}
	for i := range want {
		if !strings.Contains(rec.failures[i], want[i]) {
			t.Errorf("failure %q, want %q", rec.failures[i], want[i])
		}
	}
}

func TestTokenServerGrants(t *testing.T) {
	s := NewTokenServer(t, TokenOptions{Users: map[string]string{"ann": "pw"}, AnonymousPull: true})
	scope := "repository:a/b:pull,push"
	for _, tc := range []struct {
		name, user, password string
		post                 bool
		status               int
		subject, access      string
	}{
		{"basic", "ann", "pw", false, 200, "ann", `[{"actions":["pull","push"],"name":"a/b","type":"repository"}]`},
		{"form", "ann", "pw", true, 200, "ann", `[{"actions":["pull","push"],"name":"a/b","type":"repository"}]`},
		{"anonymous", "", "", false, 200, "", `[{"actions":["pull"],"name":"a/b","type":"repository"}]`},
		{"wrong password", "ann", "no", false, 401, "", ""},
		{"wrong password in a form", "ann", "no", true, 401, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body := requestToken(t, s.URL+"/token", scope, tc.user, tc.password, tc.post)
			if status != tc.status {
				t.Fatalf("status %d, want %d", status, tc.status)
			}
			if status != 200 {
				return
			}
			var answer struct{ Token string }
			decode(t, body, &answer)
			claims := verify(t, s.JWKS(), answer.Token)
			access, _ := json.Marshal(claims["access"])
			if claims["sub"] != tc.subject || string(access) != tc.access {
				t.Errorf("sub %v, access %s", claims["sub"], access)
			}
		})
	}
}

func requestToken(t *testing.T, endpoint, scope, user, password string, post bool) (int, []byte) {
	t.Helper()
	req, _ := http.NewRequest(http.MethodGet, endpoint+"?service=x&scope="+url.QueryEscape(scope), nil)
	if post {
		form := url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}, "scope": {scope}}
		req, _ = http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, body
}

// verify checks a token against a key set, with other code than that which signed it, and returns
// its claims.
func verify(t *testing.T, jwks, token string) map[string]any {
	t.Helper()
	var set struct{ Keys []struct{ N, E string } }
	decode(t, []byte(jwks), &set)
	key := rsa.PublicKey{N: new(big.Int).SetBytes(unbase64(t, set.Keys[0].N)), E: 65537}
	parts := strings.Split(token, ".")
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&key, crypto.SHA256, digest[:], unbase64(t, parts[2])); err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	decode(t, unbase64(t, parts[1]), &claims)
	return claims
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
