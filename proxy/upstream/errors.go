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
	// ErrNotFound says that what was asked for is not there, and that the upstream said so in its own protocol. A 404
	// of which that is not plausible (a gateway's HTML page, an empty body, a route that does not exist) is a plain
	// *StatusError: it does not say.
	ErrNotFound = errors.New("not found")
	// ErrUnauthorized is a 401: the credentials were wrong, missing or, if InsufficientScope, too narrow.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden is a 403, or a 404 that says "denied".
	ErrForbidden = errors.New("forbidden")
	// ErrTooLarge is an answer longer than this package reads.
	ErrTooLarge = errors.New("answer too large")
	// ErrNoCatalog is a registry that does not list its repositories, or not to bellbuoy.
	ErrNoCatalog = errors.New("the upstream lists no repositories")
	// ErrPaging is a list whose pages lead in a circle or do not end.
	ErrPaging = errors.New("paging does not end")
	// ErrName is a repository, reference or chart that cannot be asked for: its name would change the request's path.
	ErrName = errors.New("not a name that can be asked for")
	// ErrNoDigest is an answer that names no digest and from which none can be computed.
	ErrNoDigest = errors.New("no digest in the answer")

	errMalformed = errors.New("the answer cannot be understood")
)

// StatusError is an answer that is not the one hoped for. errors.Is finds ErrNotFound, ErrUnauthorized and
// ErrForbidden in it.
type StatusError struct {
	Status            int
	Code              string        // the first error code of an OCI body, "" if there is none
	RetryAfter        time.Duration // at most an hour; zero if the answer named none
	InsufficientScope bool          // of a 401: somebody is logged in, but may not do this

	gone bool // a 404 that can be believed
	html bool // the answer of a web server, not of a registry
}

func (e *StatusError) Error() string {
	text := strings.TrimSpace(strconv.Itoa(e.Status) + " " + http.StatusText(e.Status))
	if e.Code != "" {
		text += " (" + e.Code + ")"
	}
	if e.Status == http.StatusNotFound && !e.gone {
		text += ", not in the upstream's own words"
	}
	return "the upstream answered " + text
}

// Is makes the sentinels of this package findable.
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

// RealmError is a token server that is neither the upstream's own host nor one of Options.Realms: it was not asked.
type RealmError struct {
	Realm string // without query and user
}

func (e *RealmError) Error() string {
	return fmt.Sprintf("the upstream sends to the token server %q, which is not the upstream's own host; "+
		"if it may see bellbuoy's credentials, name it in credentials.realms", e.Realm)
}

// dialect reads the body of a 404 (nil for a HEAD) and says whether it is the upstream's own word for "not there".
type dialect func(resp *http.Response, body []byte) (code string, gone bool)

// refusal turns an answer into an error. It reads the body but does not close it.
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

// saysOCI believes a body with an error code of the distribution specification. A HEAD has no body: there the header
// that registries put on all their answers counts. What has neither may still be believed by [Client.Stands], which
// asks further.
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

// saysChartMuseum believes {"error": "…"}, but not that of a route that does not exist (the API may be turned off).
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

// meansMissing knows the specification's MANIFEST_UNKNOWN, NAME_UNKNOWN and BLOB_UNKNOWN, Harbor's NOT_FOUND and
// Quay's TAG_EXPIRED.
func meansMissing(code string) bool {
	return strings.HasSuffix(code, "_UNKNOWN") || strings.HasSuffix(code, "NOT_FOUND") || code == "TAG_EXPIRED"
}

func denies(code string) bool { return code == "DENIED" || code == "UNAUTHORIZED" }

// cleanCode keeps an error code only if it looks like one: it ends up in messages.
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

// retryAfter reads seconds or a date.
func retryAfter(value string) time.Duration {
	var d time.Duration
	if seconds, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
		d = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		d = time.Until(date)
	}
	return min(max(d, 0), maxRetryAfter)
}

// mediaType is a Content-Type without its parameters, in lower case.
func mediaType(h http.Header) string {
	parsed, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil && parsed == "" {
		return ""
	}
	return parsed
}
