package access

import (
	"context"
	"mime"
	"net/http"
)

const (
	// FormField is the field of a form that holds its token.
	FormField = "form_token"
	// FormHeader is the header of a script's request that holds the token.
	FormHeader = "X-Form-Token"

	longestForm = 1 << 20 // bytes, of a request by a session
)

// FormToken returns the token for forms of the request's session; "" if it has none.
func FormToken(ctx context.Context) string { return visitOf(ctx).formToken }

// changes reports whether a request may change something.
func changes(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
}

// provesForm reports whether a request has the form token of its session. It may parse the body,
// which it bounds.
func provesForm(w http.ResponseWriter, r *http.Request, token string) bool {
	r.Body = http.MaxBytesReader(w, r.Body, longestForm)
	if given := r.Header.Get(FormHeader); given != "" {
		return constantTimeEqual(given, token)
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || r.ParseForm() != nil {
		return false
	}
	return constantTimeEqual(r.PostForm.Get(FormField), token)
}
