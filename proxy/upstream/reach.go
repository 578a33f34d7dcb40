package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
)

var (
	// ErrLogin: the upstream does not take bellbuoy's own credentials.
	ErrLogin = errors.New("the login (credentials) is refused")
	// ErrNoLogin: the upstream asks for a login, and bellbuoy has none.
	ErrNoLogin = errors.New("it asks for a login, and bellbuoy has none (credentials)")
	// ErrSpeaksTLS: the URL says http, and the upstream speaks https.
	ErrSpeaksTLS = errors.New("it speaks https, and url says http")
)

// chartPlaces are where a ChartMuseum has an index: at the root, or below tenants that there need not be, as deep as its --depth says.
var chartPlaces = []string{"/index.yaml", "/bellbuoy/index.yaml", "/bellbuoy/bellbuoy/index.yaml", "/bellbuoy/bellbuoy/bellbuoy/index.yaml"}

// Reach asks the upstream a question that changes nothing, with bellbuoy's own credentials if it has any. It returns nil where the upstream
// answers as one of its kind does, ErrLogin where it refuses the credentials, and ErrNoLogin where it asks for some and there are none.
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
	return nil // deeper than that, or nothing but archives: it answers
}

// reach asks one place; found is false where nothing is there.
func (c *Client) reach(ctx context.Context, place string) (found bool, err error) {
	as := Anonymous // the token of nobody in particular would hide that a login is asked for
	if c.HasCredentials() {
		as = Own
	}
	resp, err := c.ask(ctx, question{method: http.MethodGet, target: c.at(place, ""), as: as})
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

// missesTLS reports whether a server says that it was spoken to in plain HTTP where it speaks TLS, as Go's, nginx and Apache do.
func missesTLS(body io.Reader) bool {
	said, _ := io.ReadAll(io.LimitReader(body, 4<<10))
	text := strings.ToLower(string(said))
	return strings.Contains(text, "http request") && strings.Contains(text, "https") || strings.Contains(text, "plain http to an ssl")
}
