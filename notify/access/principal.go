package access

import (
	"context"
	"net/http"
	"slices"

	"github.com/bmatcuk/doublestar/v4"
)

// Principal is the account of a request. The zero value has no permissions.
type Principal struct {
	Name string
	// Administrator: the account has no limits.
	Administrator bool
	// Projects are globs of the projects that a limited account manages.
	Projects []string
}

// Knows reports whether the request has an account.
func (p Principal) Knows() bool { return p.Administrator || len(p.Projects) > 0 }

// May reports whether the account manages a project.
func (p Principal) May(project string) bool {
	return p.Administrator || slices.ContainsFunc(p.Projects, func(glob string) bool {
		ok, err := doublestar.Match(glob, project)
		return err == nil && ok
	})
}

// MayAll reports whether the account manages all given projects. Without projects only an
// administrator does.
func (p Principal) MayAll(projects []string) bool {
	foreign := func(project string) bool { return !p.May(project) }
	return p.Administrator || len(projects) > 0 && !slices.ContainsFunc(projects, foreign)
}

// WithPrincipal returns r with the account p and without a session.
func WithPrincipal(r *http.Request, p Principal) *http.Request {
	return withVisit(r, visit{Principal: p})
}

// PrincipalOf returns the account of a request, or the zero value if it has none.
func PrincipalOf(ctx context.Context) Principal { return visitOf(ctx).Principal }
