package webhook

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// forbiddenHeaders lists the headers that bellbuoy or the transport sets.
var forbiddenHeaders = []string{"Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Expect"}

// setHeaders prepares the headers of every POST. user holds the URL's credentials; nil if it has
// none.
func (c *Client) setHeaders(o Options, user *url.Userinfo) error {
	c.overrides = make(http.Header)
	for name, value := range o.Headers {
		if err := allowedHeader(name); err != nil {
			return fmt.Errorf("headers: %w", err)
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return fmt.Errorf("headers: the value of %s contains a character that is not allowed in a header", name)
		}
		if _, twice := c.overrides[http.CanonicalHeaderKey(name)]; twice {
			return fmt.Errorf("headers: %s is set twice", http.CanonicalHeaderKey(name))
		}
		c.overrides.Set(name, value)
	}
	c.host = c.overrides.Get("Host")
	c.overrides.Del("Host")
	if !httpguts.ValidHostHeader(c.host) {
		return errors.New("headers: Host is not a host name")
	}
	return c.setIdentity(o, user)
}

// setIdentity prepares User-Agent and Authorization.
func (c *Client) setIdentity(o Options, user *url.Userinfo) error {
	if !httpguts.ValidHeaderFieldValue(o.AuthHeader) {
		return errors.New("auth_header: contains a character that is not allowed in a header")
	}
	if !httpguts.ValidHeaderFieldValue(o.UserAgent) {
		return errors.New("user_agent: contains a character that is not allowed in a header")
	}
	c.header = http.Header{"User-Agent": {cmp.Or(o.UserAgent, defaultUserAgent)}}
	if user != nil {
		c.header.Set("Authorization", "Basic "+basic(user))
	}
	if o.AuthHeader != "" {
		c.overrides.Set("Authorization", o.AuthHeader)
	}
	return nil
}

func basic(user *url.Userinfo) string {
	password, _ := user.Password()
	return base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
}

// allowedHeader returns an error if the header may not be configured. The error does not quote an
// invalid name, which may be a misplaced secret.
func allowedHeader(name string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return errors.New("needs a name made of the characters that HTTP allows")
	}
	canonical := http.CanonicalHeaderKey(name)
	if strings.HasPrefix(canonical, "Webhook-") || slices.Contains(forbiddenHeaders, canonical) {
		return fmt.Errorf("%s is set by bellbuoy itself", canonical)
	}
	return nil
}
