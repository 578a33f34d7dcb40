package config

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/bellbuoy/bellbuoy/notify/format/presets"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/net/http/httpguts"
)

func (v *validator) webhooks() {
	var names []string
	for i, w := range v.cfg.Webhooks {
		names = append(names, w.Name)
		v.webhook(fmt.Sprintf("webhooks[%d]", i), w)
	}
	v.unique("webhooks", names)
}

// numbered matches the end of the keys of webhooks that were made by console or API.
var numbered = regexp.MustCompile(`#\d+$`)

func (v *validator) webhook(at string, w Webhook) {
	if numbered.MatchString(w.Name) {
		v.problem(at+".name", "must not end in # and digits: the keys of webhooks made by API end so")
	}
	if w.URL.IsZero() {
		v.problem(at+".url", "is missing")
	}
	if _, authority, _ := strings.Cut(w.URL.Reveal(), "://"); strings.Contains(strings.SplitN(authority, "/", 2)[0], "{") {
		v.problem(at+".url", "has a placeholder in its host: only path and query may have one")
	}
	v.httpURL(at+".url", w.URL)
	v.group(at+".group", w)
	v.preset(at, w)
	v.events(at+".events", w)
	v.formatOptions(at+".format_options", w)
	v.chat(at, w)
	v.throughBellbuoy(at, w)
	v.match(at+".match", w.Match)
	v.match(at+".exclude", w.Exclude)
	v.contradictions(at, w)
	v.unraisable(at, w)
	v.authHeader(at, w)
	v.headers(at, w)
	for i, secret := range w.SigningSecrets {
		if problem := checkSigningSecret(secret.Reveal()); problem != "" {
			v.problem(fmt.Sprintf("%s.signing_secrets[%d]", at, i), "%s", problem)
		}
	}
	for i, s := range w.Signatures {
		v.signature(fmt.Sprintf("%s.signatures[%d]", at, i), s)
	}
	v.clientTLS(at+".tls", w.TLS)
	v.unusedTLS(at+".tls", w.URL.Reveal(), w.TLS)
	v.proxy(at+".proxy", w.Proxy)
	v.positive(at+".timeout", w.Timeout)
	if w.Concurrency < 1 || w.Concurrency > 1000 {
		v.problem(at+".concurrency", "must be from 1 to 1000")
	}
	if len(w.Retry) == 0 || len(w.Retry) > 100 {
		v.problem(at+".retry", "must have 1 to 100 entries; [0s] is one attempt and no retry")
	}
}

// group checks that the format can combine events, and the bounds of a message.
func (v *validator) group(at string, w Webhook) {
	template := w.Format == "template" && (w.FormatOptions.File != "" || strings.Contains(w.FormatOptions.Text, ".message") || strings.Contains(w.FormatOptions.Text, ".events"))
	if w.Group.Wait > 0 && !chatFormats[w.Format] && !template {
		v.problem(at, "works only with slack, teams, discord, and templates that use .message or .events")
	}
	if w.Group.Wait > 0 && strings.Contains(w.URL.Reveal(), "{") {
		v.problem(at+".wait", "cannot be combined with placeholders in url")
	}
	if w.Group.Most < 1 || w.Group.Most > 100 {
		v.problem(at+".most", "must be from 1 to 100")
	}
}

// events rejects types that the format cannot render.
func (v *validator) events(at string, w Webhook) {
	says := FormatEvents(w.Format)
	for i, e := range w.Events {
		if !slices.Contains(says, e) {
			v.problem(fmt.Sprintf("%s[%d]", at, i), "the format %s does not support it; it supports %s", w.Format, strings.Join(says, ", "))
		}
	}
}

func (v *validator) formatOptions(at string, w Webhook) {
	o := w.FormatOptions
	for _, option := range []struct{ key, value, format string }{
		{"mode", o.Mode, "cloudevents"}, {"type", o.Type, "cloudevents"}, {"subject", o.Subject, "cloudevents"},
		{"spec", o.Spec, "cdevents"},
		{"file", o.File, "template"}, {"text", o.Text, "template"}, {"content_type", o.ContentType, "template"},
	} {
		if option.value != "" && option.format != w.Format {
			v.problem(at+"."+option.key, "is an option of the format %s", option.format)
		}
	}
	switch {
	case w.Format != "template":
	case o.File == "" && o.Text == "":
		v.problem(at+".file", "is missing: the format template needs it, or text")
	case o.File != "" && o.Text != "":
		v.problem(at+".text", "cannot be combined with file")
	}
	if !httpguts.ValidHeaderFieldValue(o.ContentType) {
		v.problem(at+".content_type", "has characters that a header cannot have")
	}
}

// ownHeaders lists the headers that bellbuoy or the connection sets.
var ownHeaders = []string{
	"Connection", "Content-Length", "Expect", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

func isOwnHeader(canonical string) bool {
	return strings.HasPrefix(canonical, "Webhook-") || slices.Contains(ownHeaders, canonical)
}

func (v *validator) headers(at string, w Webhook) {
	if !httpguts.ValidHeaderFieldValue(w.AuthHeader.Reveal()) {
		v.problem(at+".auth_header", "has characters that a header cannot have")
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(w.Headers)) {
		value := w.Headers[name]
		p := join(at+".headers", name)
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			v.problem(p, "is not a valid header name")
		case value == "" && !v.scalars[p].expanded:
			v.problem(p, "is empty; leave it out")
		case !httpguts.ValidHeaderFieldValue(value.Reveal()):
			v.problem(p, "has characters that a header cannot have")
		case isOwnHeader(canonical):
			v.problem(p, "is set by bellbuoy itself")
		case canonical == "Authorization" && w.AuthHeader != "":
			v.problem(p, "is set by auth_header already")
		case seen[canonical]:
			v.problem(p, "is a duplicate: names of headers ignore case")
		}
		seen[canonical] = true
	}
}

// checkSigningSecret checks the form of Standard Webhooks: whsec_ and the base64 of 24 to 64 bytes,
// or whsk_ and the base64 of an ed25519 key. It shows nothing of the secret.
func checkSigningSecret(secret string) string {
	prefix, encoded, _ := strings.Cut(secret, "_")
	if prefix != "whsec" && prefix != "whsk" {
		return "must begin with whsec_"
	}
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return "must have base64 after its prefix"
	}
	if prefix == "whsk" && len(key) != 32 && len(key) != 64 {
		return "is not an ed25519 key of 32 or 64 bytes"
	}
	if len(key) < 24 || len(key) > 64 {
		return fmt.Sprintf("has %d bytes; Standard Webhooks requires 24 to 64, as in: echo whsec_$(openssl rand -base64 32)", len(key))
	}
	return ""
}

func (v *validator) signature(at string, s Signature) {
	switch canonical := http.CanonicalHeaderKey(s.Header); {
	case s.Header == "":
		v.problem(at+".header", "is missing")
	case !httpguts.ValidHeaderFieldName(s.Header):
		v.problem(at+".header", "is not a valid header name")
	case isOwnHeader(canonical):
		v.problem(at+".header", "is set by bellbuoy itself")
	}
	if s.Secret == "" {
		v.problem(at+".secret", "is missing")
	}
	if !httpguts.ValidHeaderFieldValue(s.Prefix) {
		v.problem(at+".prefix", "has characters that a header cannot have")
	}
	if want := signaturePrefixes[http.CanonicalHeaderKey(s.Header)]; want != "" && s.Prefix != want && s.Algorithm != "token" {
		v.warning(at+".header", "receivers of %s expect prefix: %q", http.CanonicalHeaderKey(s.Header), want)
	}
}

func (v *validator) proxy(at string, p URL) {
	if p.IsZero() {
		return
	}
	u, err := url.Parse(p.Reveal())
	if err != nil || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) || !isHost(u.Hostname()) || !validPort(u) {
		v.problem(at, "must be a URL like http://proxy.example.com:3128 or socks5://proxy.example.com:1080")
	}
}

// admin checks the users and tokens, and that an address open to the network has some.
func (v *validator) admin() {
	a := v.cfg.Admin
	v.serverTLS("admin.tls", a.TLS)
	var users, tokens []string
	for i, u := range a.Users {
		users = append(users, u.Name)
		at := fmt.Sprintf("admin.users[%d]", i)
		if strings.Contains(u.Name, ":") {
			v.problem(at+".name", "must have no colon: HTTP Basic separates name and password by one")
		}
		if _, err := bcrypt.Cost([]byte(u.PasswordHash.Reveal())); err != nil {
			v.problem(at+".password_hash", "must be a bcrypt hash, as made by: htpasswd -nB %s", "NAME")
		}
		v.accountProjects(at, u.Projects)
	}
	for i, t := range a.Tokens {
		tokens = append(tokens, t.Name)
		at := fmt.Sprintf("admin.tokens[%d]", i)
		if len(t.Token) < 16 {
			v.problem(at+".token", "must have at least 16 characters")
		}
		v.accountProjects(at, t.Projects)
	}
	v.unique("admin.users", users)
	v.unique("admin.tokens", tokens)
	if a.Listen != "" && !isLoopback(a.Listen) && len(users)+len(tokens) == 0 {
		v.problem("admin.listen", "an address that is not loopback needs admin.users or admin.tokens")
	}
}

// accountProjects checks the limits of an account. An empty list may look like one that allows
// nothing.
func (v *validator) accountProjects(at string, projects []string) {
	v.globs(at, "projects", projectGlobs, projects)
	if _, written := v.places[at+".projects"]; written && len(projects) == 0 {
		v.warning(at+".projects", "is empty, so the account manages everything; leave it out if that is meant")
	}
}

// preset checks that the webhook has the keys that its preset needs, and that external_url is set,
// because consumers look images up by that name.
func (v *validator) preset(at string, w Webhook) {
	if w.Preset == "" {
		return
	}
	for i, u := range v.cfg.Upstreams {
		sends := len(w.Match.Upstreams) == 0 || slices.Contains(w.Match.Upstreams, u.Name)
		if sends && u.ExternalURL == "" {
			v.problem(at+".preset", "needs external_url of upstreams[%d]: the consumer identifies images by that name", i)
		}
	}
	p, _ := presets.Get(w.Preset)
	for _, need := range p.Needs {
		value := presetValue(w, need.Key)
		switch {
		case value == "":
			v.problem(at+"."+need.Key, "is missing: the preset %s needs it, as %s", w.Preset, need.Why)
		case !strings.Contains(value, need.Contains):
			v.problem(at+"."+need.Key, "has no %s: the preset %s needs it, as %s", need.Contains, w.Preset, need.Why)
		}
	}
}

// presetValue returns the webhook's value of a key that presets may need.
func presetValue(w Webhook, key string) string {
	switch key {
	case "auth_header":
		return w.AuthHeader.Reveal()
	case "url":
		return w.URL.Reveal()
	case "match.repositories":
		return strings.Join(w.Match.Repositories, " ")
	}
	panic("presets need " + key + ", which is not known here")
}
