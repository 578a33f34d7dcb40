package api

import (
	"context"

	"github.com/bellbuoy/bellbuoy/notify/access"
)

type versionAnswer struct {
	Body struct {
		Version string `json:"version" doc:"the version of the running bellbuoy" example:"1.2.0"`
		Account string `json:"account" doc:"the account of this request" example:"ops"`
		Limited bool   `json:"limited" doc:"whether the account is limited to projects"`
	}
}

// addSystem adds the endpoints about bellbuoy itself.
func (v *V1) addSystem() {
	addV1(v, operation("version", "GET /version", "Version, and the account of the request", "system"),
		everyAccount, func(_ context.Context, by access.Principal, _ *struct{}) (*versionAnswer, error) {
			out := &versionAnswer{}
			out.Body.Version, out.Body.Account, out.Body.Limited = v.Version, by.Name, !by.Administrator
			return out, nil
		})
}
