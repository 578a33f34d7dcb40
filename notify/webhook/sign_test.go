package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	oldSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	newSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

var hostileBodies = map[string][]byte{
	"empty":        {},
	"json":         []byte(`{"a":1}`),
	"dots":         []byte("a.1.b"),
	"line ends":    []byte("{\r\n\r\n}\n"),
	"not UTF-8":    {0xff, 0xfe, 0x00, 0x80},
	"HTML in JSON": []byte(`{"a":"<&>\u2028"}`),
	"1 MiB":        []byte(strings.Repeat("x", 1<<20)),
}

// received is one POST as the receiver got it.
type received struct {
	header http.Header
	body   []byte
}

func deliver(t *testing.T, m Message, set func(*Options)) received {
	t.Helper()
	var got received
	c := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		got.header = r.Header
		got.body, _ = io.ReadAll(r.Body)
	}, set)
	if r := c.Post(t.Context(), m); r.Outcome != Delivered {
		t.Fatalf("%+v", r)
	}
	return got
}

func TestStandardWebhooksVerifies(t *testing.T) {
	for name, body := range hostileBodies {
		m := Message{ID: "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W-1", Body: body}
		got := deliver(t, m, func(o *Options) { o.SigningSecrets = []string{oldSecret, newSecret} })
		if string(got.body) != string(body) {
			t.Errorf("%s: the body changed on the way", name)
		}
		// during a rotation, the receiver may have either secret
		for _, secret := range []string{oldSecret, newSecret} {
			verifier, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				t.Fatal(err)
			}
			if err := verifier.Verify(got.body, got.header); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if verifier.Verify(append(got.body, ' '), got.header) == nil {
				t.Errorf("%s: a changed body verifies", name)
			}
		}
		if list := strings.Split(got.header.Get("webhook-signature"), " "); len(list) != 2 {
			t.Errorf("%s: %q", name, list)
		}
	}
}

func TestOnlyConfiguredSecretsSign(t *testing.T) {
	got := deliver(t, message(), func(o *Options) { o.SigningSecrets = []string{newSecret} })
	verifier, _ := standardwebhooks.NewWebhook(oldSecret)
	if verifier.Verify(got.body, got.header) == nil {
		t.Error("a secret that is not configured verifies")
	}
	got = deliver(t, message(), func(*Options) {})
	if _, ok := got.header["Webhook-Signature"]; ok || got.header.Get("webhook-id") == "" || got.header.Get("webhook-timestamp") == "" {
		t.Errorf("without a secret: %v", got.header)
	}
}

// TestStandardWebhooksKnownAnswer compares a signature with the specification's example and with
// that of its library.
func TestStandardWebhooksKnownAnswer(t *testing.T) {
	key, err := newStandardKey(oldSecret)
	if err != nil {
		t.Fatal(err)
	}
	const id, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", `{"test": 2432232314}`
	got := key(id, "1614265330", []byte(body))
	if got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Error(got)
	}
	reference, _ := standardwebhooks.NewWebhook(oldSecret)
	if want, _ := reference.Sign(id, time.Unix(1614265330, 0), []byte(body)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestEd25519Signature(t *testing.T) {
	seed := sha256.Sum256([]byte("seed"))
	private := ed25519.NewKeyFromSeed(seed[:])
	for _, key := range [][]byte{seed[:], private} {
		got := deliver(t, message(), func(o *Options) {
			o.SigningSecrets = []string{"whsk_" + base64.StdEncoding.EncodeToString(key), oldSecret}
		})
		first, second, _ := strings.Cut(got.header.Get("webhook-signature"), " ")
		encoded, ok := strings.CutPrefix(first, "v1a,")
		signature, err := base64.StdEncoding.DecodeString(encoded)
		content := got.header.Get("webhook-id") + "." + got.header.Get("webhook-timestamp") + "." + string(got.body)
		if !ok || err != nil || !ed25519.Verify(private.Public().(ed25519.PublicKey), []byte(content), signature) {
			t.Errorf("%q does not verify", first)
		}
		if !strings.HasPrefix(second, "v1,") {
			t.Errorf("second signature %q", second)
		}
	}
}

func TestReceiversSignatures(t *testing.T) {
	const secret = "it's a Secret to Everybody"
	mac := func(h func() hash.Hash, body []byte) []byte {
		m := hmac.New(h, []byte(secret))
		m.Write(body)
		return m.Sum(nil)
	}
	for name, test := range map[string]struct {
		signature Signature
		want      func(body []byte) string
	}{
		"GitHub": {Signature{Header: "X-Hub-Signature-256", Algorithm: "sha256", Prefix: "sha256=", Encoding: "hex"},
			func(b []byte) string { return "sha256=" + hex.EncodeToString(mac(sha256.New, b)) }},
		"Flux": {Signature{Header: "X-Signature", Prefix: "sha256="},
			func(b []byte) string { return "sha256=" + hex.EncodeToString(mac(sha256.New, b)) }},
		"Flux, sha512": {Signature{Header: "X-Signature", Algorithm: "sha512", Prefix: "sha512="},
			func(b []byte) string { return "sha512=" + hex.EncodeToString(mac(sha512.New, b)) }},
		"Nexus": {Signature{Header: "X-Nexus-Webhook-Signature", Algorithm: "sha1"},
			func(b []byte) string { return hex.EncodeToString(mac(sha1.New, b)) }},
		"JFrog": {Signature{Header: "X-Jfrog-Event-Auth", Algorithm: "sha256"},
			func(b []byte) string { return hex.EncodeToString(mac(sha256.New, b)) }},
		"Shopify's way": {Signature{Header: "X-Shopify-Hmac-Sha256", Encoding: "base64"},
			func(b []byte) string { return base64.StdEncoding.EncodeToString(mac(sha256.New, b)) }},
		"GitLab": {Signature{Header: "X-Gitlab-Token", Algorithm: "token"},
			func([]byte) string { return secret }},
	} {
		test.signature.Secret = secret
		for kind, body := range hostileBodies {
			m := message()
			m.Body = body
			got := deliver(t, m, func(o *Options) { o.Signatures = []Signature{test.signature} })
			if have := got.header.Values(test.signature.Header); !slices.Equal(have, []string{test.want(got.body)}) {
				t.Errorf("%s, %s: %q", name, kind, have)
			}
		}
	}
}

// TestGitHubKnownAnswer signs the example in GitHub's documentation.
func TestGitHubKnownAnswer(t *testing.T) {
	s, err := newSigner(Signature{Header: "X-Hub-Signature-256", Prefix: "sha256=", Secret: "It's a Secret to Everybody"})
	if err != nil {
		t.Fatal(err)
	}
	const want = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	if got := s.value([]byte("Hello, World!")); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
