package upstream

import (
	"context"
	"errors"
	"net/http"
)

// ErrLogin: the upstream does not take bellbuoy's own credentials.
var ErrLogin = errors.New("the login (credentials) is refused")

// Reach asks the upstream one question that changes nothing, with bellbuoy's own credentials where it asks for any. It
// returns nil where the upstream answers as one of its kind does, and ErrLogin where it refuses the credentials. An upstream
// that asks for a login and for which there are none is reached.
func (c *Client) Reach(ctx context.Context, charts bool) error {
	path := "/v2/"
	if charts {
		path = "/index.yaml"
	}
	resp, err := c.ask(ctx, question{method: http.MethodGet, target: c.at(path, ""), as: Own})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch denied := resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden; {
	case denied && c.HasCredentials():
		return ErrLogin
	case denied, success(resp.StatusCode):
		return nil
	case charts && resp.StatusCode == http.StatusNotFound: // the index of a ChartMuseum with --depth lies below a tenant
		return nil
	}
	return refusal(resp, saysOCI)
}
