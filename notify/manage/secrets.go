package manage

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Mask is shown in place of a secret. A client that sends it back leaves the secret unchanged. The
// second secret of a list is shown as ***2, the third as ***3, so that one can be removed.
const Mask = "***"

func maskOf(i int) string {
	if i == 0 {
		return Mask
	}
	return fmt.Sprintf("%s%d", Mask, i+1)
}

func masked(secret string) string {
	if secret == "" {
		return ""
	}
	return Mask
}

// masked returns the definition as it is shown.
func (d Definition) masked() Definition {
	d.URL, d.Proxy, d.AuthHeader = maskURL(d.URL), maskURL(d.Proxy), masked(d.AuthHeader)
	d.Headers = maps.Clone(d.Headers)
	for name, value := range d.Headers {
		d.Headers[name] = masked(value)
	}
	d.SigningSecrets = slices.Clone(d.SigningSecrets)
	for i := range d.SigningSecrets {
		d.SigningSecrets[i] = maskOf(i)
	}
	d.Signatures = slices.Clone(d.Signatures)
	for i := range d.Signatures {
		d.Signatures[i].Secret = maskOf(i)
	}
	return d
}

// unmasked replaces the masks of the definition by the secrets of old. If url or proxy has changed,
// a secret could go to another receiver: a mask is then a problem of its key, unless nothing is
// sent.
func (d Definition) unmasked(old Definition, nothingSent bool) (Definition, error) {
	u := unmasker{}
	d.URL, d.Proxy = u.url("url", d.URL, old.URL), u.url("proxy", d.Proxy, old.Proxy)
	u.moved = !nothingSent && (d.URL != old.URL || d.Proxy != old.Proxy)
	d.AuthHeader = u.secret("auth_header", d.AuthHeader, Mask, old.AuthHeader)
	d.Headers = maps.Clone(d.Headers)
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		d.Headers[name] = u.secret("headers."+name, d.Headers[name], Mask, old.Headers[name])
	}
	var signing, signatures []string
	for _, s := range old.Signatures {
		signatures = append(signatures, s.Secret)
	}
	signing = old.SigningSecrets
	d.SigningSecrets = slices.Clone(d.SigningSecrets)
	for i, s := range d.SigningSecrets {
		d.SigningSecrets[i] = u.listed(fmt.Sprintf("signing_secrets[%d]", i), s, signing)
	}
	d.Signatures = slices.Clone(d.Signatures)
	for i, s := range d.Signatures {
		d.Signatures[i].Secret = u.listed(fmt.Sprintf("signatures[%d].secret", i), s.Secret, signatures)
	}
	if len(u.problems) > 0 {
		return d, u.problems
	}
	return d, nil
}

type unmasker struct {
	moved    bool // the webhook has another receiver
	problems Problems
}

func (u *unmasker) url(field, given, old string) string {
	switch {
	case given == old || old != "" && given == maskURL(old):
		return old
	case strings.Contains(given, Mask):
		u.problems = append(u.problems, Problem{field, "was changed and still has a masked part: give the whole value"})
	}
	return given
}

// secret returns the secret for a given value, which may be a mask.
func (u *unmasker) secret(field, given, mask, old string) string {
	switch {
	case given != mask:
		return given
	case old == "":
		u.problems = append(u.problems, Problem{field, "is a mask without a stored secret: give the secret"})
	case u.moved:
		u.problems = append(u.problems, Problem{field, "give it again, because url or proxy has changed"})
	default:
		return old
	}
	return given
}

func (u *unmasker) listed(field, given string, old []string) string {
	if !strings.HasPrefix(given, Mask) {
		return given
	}
	for i, secret := range old {
		if given == maskOf(i) {
			return u.secret(field, given, given, secret)
		}
	}
	return u.secret(field, given, given, "")
}
