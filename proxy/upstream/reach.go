package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
)

var (
	// ErrLogin: the upstream refuses bellbuoy's own credentials.
	ErrLogin = errors.New("the login (credentials) is refused")
	// ErrNoLogin: the upstream requires a login, and bellbuoy has none.
	ErrNoLogin = errors.New("it asks for a login, and bellbuoy has none (credentials)")
	// ErrSpeaksTLS: the URL has the scheme http, and the upstream speaks https.
	ErrSpeaksTLS = errors.New("it speaks https, and url says http")
)

// chartPlaces are the paths at which a ChartMuseum may have an index. With --depth it has one below
// each tenant, even if the tenant does not exist.
var chartPlaces = []string{"/index.yaml", "/bellbuoy/index.yaml", "/bellbuoy/bellbuoy/index.yaml", "/bellbuoy/bellbuoy/bellbuoy/index.yaml"}

// Reach sends a request that changes nothing, with bellbuoy's own credentials if it has any. It
// returns nil if the upstream answers as a registry or ChartMuseum does, ErrLogin if it refuses the
// credentials, and ErrNoLogin if it requires some and there are none.
func (c *Client) Reach(ctx context.Context, charts bool) error {
	if !charts {
		found, err := c.reach(ctx, "/v2/")
		if err == nil && !found {
			err = &StatusError{Status: http.StatusNotFound}
		}
		return err
	}
	for _, place := range chartPlaces {
		if found, err := c.reach(ctx, place); found || err != nil {
			return err
		}
	}
	return nil // a deeper --depth, or no index at all: the upstream answers
}

// reach requests one path. found is false if the answer is 404.
func (c *Client) reach(ctx context.Context, place string) (found bool, err error) {
	as := Anonymous // an anonymous token would hide that a login is required
	if c.HasCredentials() {
		as = Own
	}
	resp, err := c.ask(ctx, request{method: http.MethodGet, target: c.at(place, ""), as: as})
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	switch status := resp.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		if c.HasCredentials() {
			return false, ErrLogin
		}
		return false, ErrNoLogin
	case success(status):
		return true, nil
	case status == http.StatusNotFound:
		return false, nil
	case status == http.StatusBadRequest && c.base.Scheme == "http" && missesTLS(resp.Body):
		return false, ErrSpeaksTLS
	}
	return false, refusal(resp, saysOCI)
}

// missesTLS reports whether a body is the error of a TLS server that got plain HTTP: that of Go,
// nginx or Apache.
func missesTLS(body io.Reader) bool {
	said, _ := io.ReadAll(io.LimitReader(body, 4<<10))
	text := strings.ToLower(string(said))
	return strings.Contains(text, "http request") && strings.Contains(text, "https") || strings.Contains(text, "plain http to an ssl")
}
