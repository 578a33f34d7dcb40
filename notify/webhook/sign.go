package webhook

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Signature is an additional header that authenticates bellbuoy: an HMAC of the body, or, with the
// algorithm "token", the secret itself. Known receivers:
//
//	GitHub, Flux   Header: X-Hub-Signature-256 (Flux: X-Signature), Prefix: "sha256="
//	GitLab         Header: X-Gitlab-Token, Algorithm: token
//	Nexus          Header: X-Nexus-Webhook-Signature, Algorithm: sha1
//	JFrog          Header: X-Jfrog-Event-Auth
type Signature struct {
	Header    string // required
	Algorithm string // sha1, sha256, sha512 or token; "" means sha256
	Prefix    string // precedes the value
	Encoding  string // hex or base64; "" means hex; not for token
	Secret    string // used as it is; required
}

// signer is a validated Signature.
type signer struct {
	header string
	value  func(body []byte) string
}

// standardKey signs as Standard Webhooks defines. It returns "v1,<base64>" or "v1a,<base64>".
type standardKey func(id, timestamp string, body []byte) string

func (c *Client) setSigners(o Options) error {
	for i, secret := range o.SigningSecrets {
		key, err := newStandardKey(secret)
		if err != nil {
			return fmt.Errorf("signing_secrets[%d]: %w", i, err)
		}
		c.standard = append(c.standard, key)
	}
	taken := c.overrides.Clone()
	for i, s := range o.Signatures {
		made, err := newSigner(s)
		if err != nil {
			return fmt.Errorf("signatures[%d].%w", i, err)
		}
		if _, ok := taken[made.header]; ok {
			return fmt.Errorf("signatures[%d].header: %s is already set", i, made.header)
		}
		taken.Set(made.header, "")
		c.signatures = append(c.signatures, made)
	}
	return nil
}

// sign sets all signatures of m and the three headers of Standard Webhooks.
func (c *Client) sign(h http.Header, m Message, now time.Time) {
	for _, s := range c.signatures {
		h.Set(s.header, s.value(m.Body))
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	h.Set("Webhook-Id", m.ID)
	h.Set("Webhook-Timestamp", timestamp)
	h.Del("Webhook-Signature")
	if len(c.standard) == 0 {
		return
	}
	all := make([]string, len(c.standard))
	for i, key := range c.standard {
		all[i] = key(m.ID, timestamp, m.Body)
	}
	h.Set("Webhook-Signature", strings.Join(all, " "))
}

// newStandardKey parses a secret of Standard Webhooks. The prefix is required: without it, a
// password could be decoded as base64 and give an unintended key.
func newStandardKey(secret string) (standardKey, error) {
	if encoded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		key, err := decodeKey(encoded)
		if err != nil {
			return nil, err
		}
		return symmetricKey(key), nil
	}
	if encoded, ok := strings.CutPrefix(secret, "whsk_"); ok {
		key, err := decodeKey(encoded)
		if err != nil {
			return nil, err
		}
		return asymmetricKey(key)
	}
	return nil, errors.New("must begin with whsec_ (or whsk_ for ed25519)")
}

func decodeKey(encoded string) ([]byte, error) {
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil || len(key) == 0 {
		return nil, errors.New("is not base64 after its prefix")
	}
	return key, nil
}

func symmetricKey(key []byte) standardKey {
	return func(id, timestamp string, body []byte) string {
		mac := hmac.New(crypto.SHA256.New, key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
}

func asymmetricKey(key []byte) (standardKey, error) {
	private := ed25519.PrivateKey(key)
	switch len(key) {
	case ed25519.SeedSize:
		private = ed25519.NewKeyFromSeed(key)
	case ed25519.PrivateKeySize:
	default:
		return nil, errors.New("is not an ed25519 key of 32 or 64 bytes")
	}
	return func(id, timestamp string, body []byte) string {
		content := append([]byte(id+"."+timestamp+"."), body...)
		return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(private, content))
	}, nil
}

// newSigner validates s. Its errors begin with the key within the signature.
func newSigner(s Signature) (signer, error) {
	if err := allowedHeader(s.Header); err != nil {
		return signer{}, fmt.Errorf("header: %w", err)
	}
	if s.Secret == "" {
		return signer{}, errors.New("secret: is required")
	}
	if !httpguts.ValidHeaderFieldValue(s.Prefix) {
		return signer{}, errors.New("prefix: contains a character that is not allowed in a header")
	}
	made := signer{header: http.CanonicalHeaderKey(s.Header)}
	if s.Algorithm == "token" {
		return made.token(s)
	}
	hash, ok := map[string]crypto.Hash{"": crypto.SHA256, "sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha512": crypto.SHA512}[s.Algorithm]
	if !ok {
		return signer{}, errors.New("algorithm: must be sha1, sha256, sha512 or token")
	}
	encode, ok := map[string]func([]byte) string{"": hex.EncodeToString, "hex": hex.EncodeToString, "base64": base64.StdEncoding.EncodeToString}[s.Encoding]
	if !ok {
		return signer{}, errors.New("encoding: must be hex or base64")
	}
	made.value = func(body []byte) string {
		mac := hmac.New(hash.New, []byte(s.Secret))
		mac.Write(body)
		return s.Prefix + encode(mac.Sum(nil))
	}
	return made, nil
}

// token returns a signer that sends the secret itself, as GitLab does.
func (made signer) token(s Signature) (signer, error) {
	if s.Encoding != "" {
		return signer{}, errors.New("encoding: does not apply to a token, which is sent unchanged")
	}
	if !httpguts.ValidHeaderFieldValue(s.Secret) {
		return signer{}, errors.New("secret: contains a character that is not allowed in a header")
	}
	made.value = func([]byte) string { return s.Prefix + s.Secret }
	return made, nil
}
