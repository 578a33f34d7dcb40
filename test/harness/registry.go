package harness

import (
	"cmp"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// RegistryOptions chooses what the registry supports and which login it needs. The zero value needs
// no login and refuses deletes.
type RegistryOptions struct {
	Part         string            // "": distribution 3; docker-registry: 2.8
	Delete       bool              // manifests can be deleted
	RelativeURLs bool              // Locations without scheme and host
	S3           string            // URL of an S3Server that holds the storage, and to which blobs are redirected; "": a directory
	Htpasswd     map[string]string // user → password; nil: no login
	Token        *TokenServer      // nil: no token authentication; takes precedence over Htpasswd
	// TokenRealm is the URL to which clients are sent for tokens. "" is the token server's own.
	// Some clients refuse a private address other than the registry's: then use one that
	// bellbuoy forwards to the token server. With "auto" the registry names the host that its
	// client used, with the path /token, and with https unless X-Forwarded-Proto says http.
	TokenRealm string
}

// RegistryServer is a running distribution registry.
type RegistryServer struct {
	Daemon
	URL  string // http://127.0.0.1:port
	Host string // 127.0.0.1:port
	Dir  string // its storage; "" if that is in S3
}

// Registry starts the distribution registry with an empty storage.
func Registry(t T, opts RegistryOptions) *RegistryServer {
	t.Helper()
	path, dir := Part(t, cmp.Or(opts.Part, "registry")), t.TempDir()
	host := fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	config := filepath.Join(dir, "config.yml")
	r := &RegistryServer{URL: "http://" + host, Host: host, Dir: filepath.Join(dir, "storage")}
	WriteFile(t, config, registryConfig(t, opts, host, r.Dir, dir))
	r.Daemon = Daemon{
		name: "registry", path: path, args: []string{"serve", config},
		env:   []string{"HOME=" + dir, "OTEL_TRACES_EXPORTER=none"}, // no REGISTRY_* of the caller, which would change its configuration
		ready: answers(r.URL+"/v2/", http.StatusOK, http.StatusUnauthorized),
	}
	r.launch(t)
	return r
}

// CraneRegistry starts go-containerregistry's registry. It keeps manifests in memory, supports
// deletes and accepts any repository name.
func CraneRegistry(t T) *RegistryServer {
	t.Helper()
	return CraneRegistryOf(t, "crane")
}

// CraneRegistryOf is CraneRegistry with another build of crane, such as quick-crane.
func CraneRegistryOf(t T, part string) *RegistryServer {
	t.Helper()
	path, dir := Part(t, part), t.TempDir()
	host := fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	r := &RegistryServer{URL: "http://" + host, Host: host, Dir: dir}
	r.Daemon = Daemon{
		name: "crane registry", path: path, args: []string{"registry", "serve", "--address", host, "--disk", dir},
		env: []string{"HOME=" + dir}, ready: answers(r.URL+"/v2/", http.StatusOK),
	}
	r.launch(t)
	return r
}

func registryConfig(t T, opts RegistryOptions, host, storage, dir string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "version: 0.1\nlog: {level: warn, accesslog: {disabled: true}}\n")
	at := fmt.Sprintf("filesystem: {rootdirectory: %q}", storage)
	if opts.S3 != "" {
		at = fmt.Sprintf("s3: {regionendpoint: %q, bucket: %q, region: us-east-1, accesskey: key, secretkey: secret, "+
			"forcepathstyle: true, secure: false}, redirect: {disable: false}", opts.S3, s3Bucket)
	}
	fmt.Fprintf(&b, "storage: {%s, delete: {enabled: %t}}\n", at, opts.Delete)
	fmt.Fprintf(&b, "http: {addr: %q, relativeurls: %t, secret: test}\n", host, opts.RelativeURLs)
	switch {
	case opts.Token != nil:
		jwks := filepath.Join(dir, "jwks.json")
		WriteFile(t, jwks, opts.Token.JWKS())
		fmt.Fprintf(&b, "auth: {token: {%s, service: %q, issuer: %q, jwks: %q}}\n",
			realm(opts), opts.Token.Service, opts.Token.Issuer, jwks)
	case opts.Htpasswd != nil:
		users := filepath.Join(dir, "htpasswd")
		WriteFile(t, users, htpasswd(t, opts.Htpasswd))
		fmt.Fprintf(&b, "auth: {htpasswd: {realm: registry, path: %q}}\n", users)
	}
	return b.String()
}

func realm(opts RegistryOptions) string {
	switch opts.TokenRealm {
	case "":
		return fmt.Sprintf("realm: %q", opts.Token.URL+"/token")
	case "auto":
		return `realm: "", autoredirect: true, autoredirectpath: /token`
	}
	return fmt.Sprintf("realm: %q", opts.TokenRealm)
}

func htpasswd(t T, users map[string]string) string {
	t.Helper()
	var b strings.Builder
	for user, password := range users {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatalf("hashing a password: %v", err)
		}
		fmt.Fprintf(&b, "%s:%s\n", user, hash)
	}
	return b.String()
}
