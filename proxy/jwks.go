package proxy

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // tokens name these
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/bellbuoy/bellbuoy/detect"
)

// VerifierOptions say which tokens a Verifier accepts.
type VerifierOptions struct {
	// File holds the JWKS. "": it is at URL.
	File string
	// URL is where Client fetches the JWKS.
	URL    string
	Client *http.Client
	// Audience lists for whom a token may be. Empty: for anybody.
	Audience []string
	// Issuer is whose tokens are accepted. "": those of all whose signature is good.
	Issuer string
}

// Verifier checks tokens: their signature (RS, PS, ES and EdDSA) against a set of keys, their
// times, audience and issuer. A token without exp is refused. The keys are read again from time
// to time and when a token names a key that is not among them. A request never waits for that.
// Safe for concurrent use.
type Verifier struct {
	VerifierOptions
	known *lru.Cache[[sha256.Size]byte, verdict] // of tokens seen

	mu      sync.Mutex
	keys    []jwk     // never changed, only replaced
	looked  time.Time // when the keys were read last
	looking bool      // they are being read
}

// verdict is the result of checking a token. A bad token has no claims.
type verdict struct {
	claims map[string]any
	until  time.Time
}

const (
	keysEvery     = 10 * time.Minute
	keysAgain     = 30 * time.Second // after a token with an unknown key, and after a failure
	keysTimeout   = 10 * time.Second
	maxKeys       = 1 << 20 // bytes of a key set
	knownTokens   = 4096
	maxToken      = 32 << 10
	clockSkew     = time.Minute
	badTokenAgain = time.Minute // a bad token is checked again: its key may be published now
)

var errKeys = errors.New("no usable key in it")

// NewVerifier returns a Verifier without keys. Load reads them for the first time.
func NewVerifier(o VerifierOptions) *Verifier {
	known, _ := lru.New[[sha256.Size]byte, verdict](knownTokens) // errs for sizes below one only
	return &Verifier{VerifierOptions: o, known: known}
}

// Load reads the keys now. On an error the old ones stay; those of a URL are tried again later.
func (v *Verifier) Load(ctx context.Context) error {
	raw, err := v.read(ctx)
	if err != nil {
		return fmt.Errorf("reading the JWKS: %w", err)
	}
	keys, err := parseKeys(raw)
	if err != nil {
		return fmt.Errorf("reading the JWKS: %w", err)
	}
	v.mu.Lock()
	v.keys = keys
	v.mu.Unlock()
	v.known.Purge()
	return nil
}

func (v *Verifier) read(ctx context.Context) ([]byte, error) {
	if v.File != "" {
		return os.ReadFile(v.File)
	}
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.URL, nil)
	if err != nil {
		return nil, err
	}
	res, err := v.Client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	return io.ReadAll(io.LimitReader(res.Body, maxKeys))
}

// refresh reads the keys in the background, if they were last read longer than ago ago.
func (v *Verifier) refresh(now time.Time, ago time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.looking || now.Sub(v.looked) < ago {
		return
	}
	v.looking, v.looked = true, now
	go func() {
		_ = v.Load(context.Background()) // the old keys stay, and it is tried again
		v.mu.Lock()
		defer v.mu.Unlock()
		v.looking = false
	}()
}

// name returns the name in a token whose signature and times are good.
func (v *Verifier) name(token string, claims []string, now time.Time) (string, bool) {
	if len(token) > maxToken {
		return "", false
	}
	v.refresh(now, keysEvery)
	sum := sha256.Sum256([]byte(token))
	known, ok := v.known.Get(sum)
	if !ok || !now.Before(known.until) {
		known = v.judge(token, now)
		v.known.Add(sum, known)
	}
	if known.claims == nil {
		return "", false
	}
	return detect.ClaimName(known.claims, claims)
}

// judge checks a token that is not among the known ones.
func (v *Verifier) judge(token string, now time.Time) verdict {
	bad := verdict{until: now.Add(badTokenAgain)}
	signed, signature, ok := cutLast(token, ".")
	header, payload, ok2 := strings.Cut(signed, ".")
	var h struct{ Alg, Kid string }
	var claims map[string]any
	sig, err := base64.RawURLEncoding.DecodeString(signature)
	if !ok || !ok2 || err != nil || decodeSegment(header, &h) != nil || decodeSegment(payload, &claims) != nil {
		return bad
	}
	v.mu.Lock()
	keys := v.keys
	v.mu.Unlock()
	named := false
	for _, k := range keys {
		if h.Kid != "" && k.id != "" && k.id != h.Kid {
			continue
		}
		named = true
		if k.verifies(h.Alg, []byte(signed), sig) {
			return v.accept(claims, now)
		}
	}
	if !named {
		v.refresh(now, keysAgain)
		bad.until = now.Add(keysAgain / 10)
	}
	return bad
}

// accept checks the claims of a token with a good signature.
func (v *Verifier) accept(claims map[string]any, now time.Time) verdict {
	bad := verdict{until: now.Add(badTokenAgain)}
	exp, expires := claims["exp"].(float64)
	if !expires || !v.forUs(claims) {
		return bad
	}
	until := now.Add(keysEvery)
	if end := time.Unix(int64(exp), 0).Add(clockSkew); end.Before(until) {
		until = end
	}
	nbf, ok := claims["nbf"].(float64)
	if !now.Before(until) || ok && now.Add(clockSkew).Before(time.Unix(int64(nbf), 0)) {
		return bad
	}
	return verdict{claims, until}
}

// forUs reports whether a token comes from the issuer and is for an audience that is accepted.
func (v *Verifier) forUs(claims map[string]any) bool {
	if v.Issuer != "" && claims["iss"] != v.Issuer {
		return false
	}
	if len(v.Audience) == 0 {
		return true
	}
	audience, isList := claims["aud"].([]any)
	if !isList {
		audience = []any{claims["aud"]}
	}
	return slices.ContainsFunc(audience, func(a any) bool {
		name, isString := a.(string)
		return isString && slices.Contains(v.Audience, name)
	})
}

func decodeSegment(s string, into any) error {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// jwk is a public key.
type jwk struct {
	id  string
	alg string // the only algorithm for which it may be used; "": any of its type
	key crypto.PublicKey
}

// verifies reports whether a signature was made with this key. The algorithm must fit the type of
// the key, whatever the token says.
func (k jwk) verifies(alg string, signed, signature []byte) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	if key, ok := k.key.(ed25519.PublicKey); ok {
		return (alg == "EdDSA" || alg == "Ed25519") && ed25519.Verify(key, signed, signature)
	}
	if len(alg) != 5 {
		return false
	}
	hash, ok := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	if !ok {
		return false
	}
	h := hash.New()
	h.Write(signed)
	sum := h.Sum(nil)
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return alg[:2] == "RS" && rsa.VerifyPKCS1v15(key, hash, sum, signature) == nil ||
			alg[:2] == "PS" && rsa.VerifyPSS(key, hash, sum, signature, nil) == nil
	case *ecdsa.PublicKey:
		size := (key.Params().BitSize + 7) / 8
		return alg == curveAlg[key.Params().Name] && len(signature) == 2*size &&
			ecdsa.Verify(key, sum, new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:]))
	}
	return false
}

var curveAlg = map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}

// parseKeys reads a JWKS. It leaves out keys that are not for signatures, or of an unknown type.
func parseKeys(raw []byte) ([]jwk, error) {
	var set struct {
		Keys []struct{ Kid, Kty, Alg, Use, Crv, N, E, X, Y string }
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, err
	}
	var keys []jwk
	for _, k := range set.Keys {
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		var key crypto.PublicKey
		switch k.Kty {
		case "RSA":
			key = rsaKey(k.N, k.E)
		case "EC":
			key = ecKey(k.Crv, k.X, k.Y)
		case "OKP":
			key = edKey(k.Crv, k.X)
		}
		if key != nil {
			keys = append(keys, jwk{k.Kid, k.Alg, key})
		}
	}
	if len(keys) == 0 {
		return nil, errKeys
	}
	return keys, nil
}

func rsaKey(n, e string) crypto.PublicKey {
	modulus, err := base64.RawURLEncoding.DecodeString(n)
	exponent, err2 := base64.RawURLEncoding.DecodeString(e)
	if err != nil || err2 != nil || len(modulus) < 256 || len(exponent) == 0 || len(exponent) > 4 {
		return nil
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(new(big.Int).SetBytes(exponent).Int64())}
}

func ecKey(crv, x, y string) crypto.PublicKey {
	curve, ok := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[crv]
	bx, err := base64.RawURLEncoding.DecodeString(x)
	by, err2 := base64.RawURLEncoding.DecodeString(y)
	if !ok || err != nil || err2 != nil {
		return nil
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(bx) > size || len(by) > size {
		return nil
	}
	point := append([]byte{4}, make([]byte, 2*size)...)
	copy(point[1+size-len(bx):], bx)
	copy(point[1+2*size-len(by):], by)
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil
	}
	return key
}

func edKey(crv, x string) crypto.PublicKey {
	key, err := base64.RawURLEncoding.DecodeString(x)
	if crv != "Ed25519" || err != nil || len(key) != ed25519.PublicKeySize {
		return nil
	}
	return ed25519.PublicKey(key)
}
