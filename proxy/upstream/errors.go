package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrNotFound means that the upstream said in its own protocol that the requested item does
	// not exist. Another 404 (a gateway's HTML page, an empty body, a route that does not
	// exist) is a plain *StatusError, after which the state is unknown.
	ErrNotFound = errors.New("not found")
	// ErrUnauthorized is a 401: the credentials were wrong, missing or, if InsufficientScope,
	// too narrow.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden is a 403, or a 404 with the error code DENIED or UNAUTHORIZED.
	ErrForbidden = errors.New("forbidden")
	// ErrTooLarge is an answer beyond this package's limits.
	ErrTooLarge = errors.New("answer too large")
	// ErrNoCatalog means that the registry does not list its repositories, or does not allow
	// bellbuoy to list them.
	ErrNoCatalog = errors.New("the upstream lists no repositories")
	// ErrPaging is a list whose pages repeat or do not end.
	ErrPaging = errors.New("paging does not end")
	// ErrName is an invalid name of a repository, reference or chart: it would change the path
	// of the request.
	ErrName = errors.New("invalid name")
	// ErrNoDigest is an answer without a digest, from which none can be computed.
	ErrNoDigest = errors.New("no digest in the answer")

	errMalformed = errors.New("malformed answer")
)

// StatusError is an answer with an unexpected status. errors.Is matches it with ErrNotFound,
// ErrUnauthorized and ErrForbidden.
type StatusError struct {
	Status            int
	Code              string        // the first error code of an OCI body, "" if there is none
	RetryAfter        time.Duration // at most an hour; zero if the answer has none
	InsufficientScope bool          // of a 401: the login is valid, but lacks the permission

	gone bool // a 404 in the upstream's own protocol
	html bool // the body is HTML, which no registry sends
}

func (e *StatusError) Error() string {
	text := strings.TrimSpace(strconv.Itoa(e.Status) + " " + http.StatusText(e.Status))
	if e.Code != "" {
		text += " (" + e.Code + ")"
	}
	if e.Status == http.StatusNotFound && !e.gone {
		text += ", but not in the form of a registry or ChartMuseum"
	}
	return "the upstream answered " + text
}

// Is implements the interface of errors.Is for the sentinels of this package.
func (e *StatusError) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.gone
	case ErrUnauthorized:
		return e.Status == http.StatusUnauthorized
	case ErrForbidden:
		return e.Status == http.StatusForbidden || e.Status == http.StatusNotFound && denies(e.Code)
	}
	return false
}

// RealmError names a token server that is neither at the upstream's own host nor in Options.Realms.
// No request was sent to it.
type RealmError struct {
	Realm string // without query and user
}

func (e *RealmError) Error() string {
	return fmt.Sprintf("the upstream names the token server %q, which is not at the upstream's own host; "+
		"if it may get bellbuoy's credentials, add it to credentials.realms", e.Realm)
}

// dialect reads the body of an error, nil for a HEAD. It returns the error code, and whether the
// upstream says in its own protocol that the item does not exist.
type dialect func(resp *http.Response, body []byte) (code string, gone bool)

// refusal returns the error for a response. It reads the body but does not close it.
func refusal(resp *http.Response, says dialect) error {
	e := &StatusError{
		Status:     resp.StatusCode,
		RetryAfter: retryAfter(resp.Header.Get("Retry-After")),
		html:       mediaType(resp.Header) == "text/html",
	}
	var body []byte
	if plain, err := unpack(resp); err == nil {
		body, _ = io.ReadAll(io.LimitReader(plain, maxRefusal))
	}
	code, gone := says(resp, body)
	e.Code = code
	e.gone = gone && e.Status == http.StatusNotFound && !e.html
	if e.Status == http.StatusUnauthorized {
		e.InsufficientScope = insufficientScope(resp.Header.Values("Www-Authenticate"))
	}
	return e
}

// saysOCI is the dialect of registries: an error code of the distribution specification. A HEAD has
// no body, so the header that registries add to every answer counts instead. For an answer with
// neither, [Client.Stands] makes further requests.
func saysOCI(resp *http.Response, body []byte) (string, bool) {
	var parsed struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &parsed) == nil && len(parsed.Errors) > 0 {
		code := cleanCode(parsed.Errors[0].Code)
		return code, meansMissing(code)
	}
	return "", resp.Request != nil && resp.Request.Method == http.MethodHead && speaksRegistry(resp.Header)
}

// saysChartMuseum is the dialect of ChartMuseum: {"error": "…"}. It excludes the error of a route
// that does not exist, because the API may be turned off.
func saysChartMuseum(_ *http.Response, body []byte) (string, bool) {
	var parsed struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &parsed) != nil || parsed.Error == "" {
		return "", false
	}
	return "", parsed.Error != "not found"
}

func speaksRegistry(h http.Header) bool {
	return strings.HasPrefix(strings.ToLower(h.Get("Docker-Distribution-Api-Version")), "registry/")
}

// meansMissing reports whether an error code means that an item does not exist: MANIFEST_UNKNOWN,
// NAME_UNKNOWN and BLOB_UNKNOWN of the specification, Harbor's NOT_FOUND and Quay's TAG_EXPIRED.
func meansMissing(code string) bool {
	return strings.HasSuffix(code, "_UNKNOWN") || strings.HasSuffix(code, "NOT_FOUND") || code == "TAG_EXPIRED"
}

func denies(code string) bool { return code == "DENIED" || code == "UNAUTHORIZED" }

// cleanCode returns code if it has the form of an error code, else "". The code is used in
// messages.
func cleanCode(code string) string {
	if len(code) > 64 {
		return ""
	}
	for _, r := range code {
		if (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' {
			return ""
		}
	}
	return code
}

const maxRetryAfter = time.Hour

// retryAfter parses a Retry-After header: seconds or a date.
func retryAfter(value string) time.Duration {
	var d time.Duration
	if seconds, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
		d = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		d = time.Until(date)
	}
	return min(max(d, 0), maxRetryAfter)
}

// mediaType returns the Content-Type without its parameters, in lower case.
func mediaType(h http.Header) string {
	parsed, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil && parsed == "" {
		return ""
	}
	return parsed
}
