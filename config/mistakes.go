package config

import (
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// secrets checks texts that may hold a credential. It reports expressions that are never expanded
// and expansions that are empty. The messages show nothing of the texts.
func (v *validator) secrets() {
	eachScalar(reflect.ValueOf(v.cfg).Elem(), "", func(path string, value reflect.Value) {
		s, written := v.scalars[path]
		if !written {
			return
		}
		switch value := value.Interface().(type) {
		case Secret:
			v.secret(path, s, value.Reveal(), notExpanded)
		case URL:
			v.secret(path, s, value.Reveal(), notExpandedInURL)
		}
	})
}

var (
	notExpanded      = regexp.MustCompile(`^(?:[A-Za-z]+ +)?\$(?:[A-Z_][A-Z0-9_]*|\([^()]*\))$`)
	notExpandedInURL = regexp.MustCompile(`[/=@:]\$(?:[A-Z_][A-Z0-9_]*|\([^()]*\))(?:[/?&@:]|$)`)
	onlyScheme       = regexp.MustCompile(`(?i)^(?:basic|bearer|token) *$`)
)

func (v *validator) secret(path string, s rawScalar, value string, bare *regexp.Regexp) {
	switch {
	case strings.Contains(s.raw, "{{"):
		v.problem(path, "has {{ }}, which bellbuoy does not expand; write ${VAR} or ${file:/path}, or render the template first")
	case bare.MatchString(s.raw):
		v.problem(path, "has a variable that is not expanded; write it as ${VAR}")
	case s.empty != "":
		hint := ""
		if !strings.HasPrefix(s.empty, "${file:") {
			hint = "; write " + strings.TrimSuffix(s.empty, "}") + ":-} if that is meant"
		}
		v.problem(path, "%s expands to an empty value%s", s.empty, hint)
	case onlyScheme.MatchString(value):
		v.problem(path, "has a scheme and no value after it")
	}
}

// eachScalar calls do with the path and value of every scalar below v.
func eachScalar(v reflect.Value, path string, do func(path string, value reflect.Value)) {
	switch {
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			eachScalar(v.Index(i), indexed(path, i), do)
		}
	case v.Kind() == reflect.Map:
		for _, k := range v.MapKeys() {
			eachScalar(v.MapIndex(k), join(path, k.String()), do)
		}
	case !isBlock(v.Type()):
		do(path, v)
	default:
		for _, f := range fieldsOf(v.Type()) {
			eachScalar(v.Field(f.index), join(path, f.name), do)
		}
	}
}

// chats lists the services whose webhooks read only one format, by host.
var chats = []struct{ host, path, format string }{
	{"hooks.slack.com", "", "slack"},
	{"hooks.slack-gov.com", "", "slack"},
	{"discord.com", "/api/webhooks/", "discord"},
	{"discordapp.com", "/api/webhooks/", "discord"},
	{"webhook.office.com", "", "teams"},
	{"outlook.office.com", "/webhook", "teams"},
}

// chat rejects a format that the service at the webhook's host does not read.
func (v *validator) chat(at string, w Webhook) {
	u, problem := parseHTTP(w.URL.Reveal())
	if problem != "" || w.Format == "template" {
		return
	}
	for _, c := range chats {
		if !isHostOf(u.Hostname(), c.host) || !strings.HasPrefix(u.Path, c.path) || w.Format == c.format || readsOther(u, w.Format) {
			continue
		}
		v.problem(at+".url", "%s does not read the format %s; set format: %s", c.host, w.Format, c.format)
		return
	}
	// A flow may read any JSON, so this is only a warning.
	flow := isHostOf(u.Hostname(), "logic.azure.com") || isHostOf(u.Hostname(), "powerplatform.com")
	if flow && w.Format != "teams" {
		v.warning(at+".url", "is a Power Automate flow; a flow that posts to a Teams channel reads only format: teams")
	}
}

// readsOther reports whether the path selects the format of another service, as at Discord.
func readsOther(u *url.URL, format string) bool {
	return format == "slack" && isHostOf(u.Hostname(), "discord.com") && strings.HasSuffix(u.Path, "/slack")
}

func isHostOf(host, domain string) bool {
	host = strings.ToLower(host)
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// authHeader rejects a value that includes the name of the header.
func (v *validator) authHeader(at string, w Webhook) {
	name, _, named := strings.Cut(w.AuthHeader.Reveal(), ":")
	if named && strings.EqualFold(strings.TrimSpace(name), "Authorization") {
		v.problem(at+".auth_header", `must be the value alone; remove "Authorization:"`)
	}
}

// signaturePrefixes maps headers to the prefix that their receivers expect.
var signaturePrefixes = map[string]string{
	"X-Hub-Signature-256": "sha256=",
	"X-Hub-Signature":     "sha1=",
}

// unusedTLS rejects TLS settings for a URL without TLS.
func (v *validator) unusedTLS(path, address string, t ClientTLS) {
	if strings.HasPrefix(strings.ToLower(address), "http://") && t != (ClientTLS{}) {
		v.problem(path, "has no effect: url is http://; write https://, or remove this key")
	}
}

// trustedProxies warns if trusted_proxies includes every address.
func (v *validator) trustedProxies() {
	for i, p := range v.cfg.TrustedProxies {
		if p.Bits() == 0 {
			v.warning(indexed("trusted_proxies", i), "%s trusts every address: any client can then claim another address%s; name the addresses of your proxies",
				p, v.identityHeaderPart())
		}
	}
}

func (v *validator) identityHeaderPart() string {
	if v.cfg.Identity.Header == "" {
		return ""
	}
	return " and operator (identity.header)"
}

// throughBellbuoy warns of a webhook at the host under which clients reach bellbuoy.
func (v *validator) throughBellbuoy(at string, w Webhook) {
	u, problem := parseHTTP(w.URL.Reveal())
	if problem != "" {
		return
	}
	if slices.ContainsFunc(v.cfg.Upstreams, func(up Upstream) bool {
		ext, problem := parseHTTP(up.ExternalURL)
		return problem == "" && strings.EqualFold(ext.Host, u.Host)
	}) {
		v.warning(at+".url", "is at the host of an upstream's external_url: deliveries come back to bellbuoy unless a proxy in front of it routes this path elsewhere")
	}
}
