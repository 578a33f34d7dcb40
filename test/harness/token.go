package harness

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// TokenOptions chooses which users get a token, and for what.
type TokenOptions struct {
	Users         map[string]string // user → password; each gets what it asks for
	AnonymousPull bool              // requests without credentials get a token that pulls
	Claims        map[string]any    // further claims of every token
}

// A TokenServer issues tokens as in Docker's token authentication: by GET with Basic credentials,
// and by POST of a form with grant_type=password. It signs with RS256.
type TokenServer struct {
	URL     string // http://127.0.0.1:port; tokens at /token, the keys at /jwks
	Service string
	Issuer  string

	opts TokenOptions
	key  *rsa.PrivateKey
}

const tokenKeyID = "harness"

// NewTokenServer starts a token server in this process.
func NewTokenServer(t T, opts TokenOptions) *TokenServer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatalf("making a key: %v", err)
	}
	s := &TokenServer{Service: "registry.test", Issuer: "token.test", opts: opts, key: key}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.URL = srv.URL
	return s
}

// JWKS is the public key as a JSON Web Key Set.
func (s *TokenServer) JWKS() string {
	key := map[string]string{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": tokenKeyID,
		"n": encode(s.key.N.Bytes()), "e": encode(big.NewInt(int64(s.key.E)).Bytes()),
	}
	out, _ := json.Marshal(map[string]any{"keys": []any{key}}) // strings can always be encoded
	return string(out)
}

func (s *TokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/jwks") {
		fmt.Fprint(w, s.JWKS())
		return
	}
	user, password, given := r.BasicAuth()
	if r.Method == http.MethodPost && r.FormValue("grant_type") == "password" {
		user, password, given = r.FormValue("username"), r.FormValue("password"), true
	}
	if given && !s.knows(user, password) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	r.ParseForm() // a malformed form has no scope
	token := s.Sign(user, s.access(given, r.Form["scope"]), time.Now())
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 300})
}

func (s *TokenServer) knows(user, password string) bool {
	want, ok := s.opts.Users[user]
	return ok && password == want
}

// access grants known users what they ask for, and others pulls if that is allowed.
func (s *TokenServer) access(known bool, scopes []string) []any {
	granted := []any{}
	for _, scope := range strings.Fields(strings.Join(scopes, " ")) {
		kind, rest, _ := strings.Cut(scope, ":")
		colon := strings.LastIndex(rest, ":")
		if colon < 0 {
			continue
		}
		actions := strings.Split(rest[colon+1:], ",")
		if !known {
			actions = nil
			if s.opts.AnonymousPull && kind == "repository" {
				actions = []string{"pull"}
			}
		}
		granted = append(granted, map[string]any{"type": kind, "name": rest[:colon], "actions": actions})
	}
	return granted
}

// Sign makes a token for a subject ("" for none) with the given access list.
func (s *TokenServer) Sign(subject string, access []any, now time.Time) string {
	claims := map[string]any{
		"iss": s.Issuer, "sub": subject, "aud": s.Service, "access": access, "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	for name, value := range s.opts.Claims {
		claims[name] = value
	}
	head, _ := json.Marshal(map[string]string{"typ": "JWT", "alg": "RS256", "kid": tokenKeyID})
	body, _ := json.Marshal(claims)
	signed := encode(head) + "." + encode(body)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err) // cannot happen: the key is large enough
	}
	return signed + "." + encode(signature)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
