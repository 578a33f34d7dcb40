package detect

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// quayAnonymous is the subject of the token that Quay gives to anonymous clients.
const quayAnonymous = "(anonymous)"

// BasicUser returns the user name of an Authorization header of the Basic scheme. The password is
// dropped at once.
func BasicUser(authorization string) (name string, ok bool) {
	scheme, value, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", false
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
	if err != nil {
		return "", false
	}
	name, _, ok = strings.Cut(string(raw), ":")
	if !ok {
		return "", false
	}
	return strings.Clone(usableName(name)), true // a copy without the password
}

// BearerToken returns the token of an Authorization header of the Bearer scheme.
func BearerToken(authorization string) (token string, ok bool) {
	scheme, value, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(value), true
}

// TokenName returns the first of the claims (dots lead into objects) that the payload of a JWT has
// as a non-empty string or as a number. It does not check the signature: the name counts only if
// something vouches for it. Opaque tokens have no name.
func TokenName(token string, claims []string) (name string, ok bool) {
	return ClaimName(payload(token), claims)
}

// TokenEnd returns when a JWT expires, or the zero time if it does not say.
func TokenEnd(token string) time.Time {
	exp, ok := payload(token)["exp"].(float64)
	if !ok || exp < 0 || exp > exactly {
		return time.Time{}
	}
	return time.Unix(int64(exp), 0)
}

// payload returns the claims of a JWT, or nil.
func payload(token string) (all map[string]any) {
	_, rest, _ := strings.Cut(token, ".")
	encoded, _, found := strings.Cut(rest, ".")
	if !found {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil || json.Unmarshal(raw, &all) != nil {
		return nil
	}
	return all
}

// exactly is the number up to which a float64 can hold every whole number.
const exactly = 1 << 53

// ClaimName does the same as TokenName with claims that are decoded already.
func ClaimName(all map[string]any, claims []string) (name string, ok bool) {
	for _, path := range claims {
		switch v := claim(all, path).(type) {
		case string:
			if name = usableName(v); name != "" && name != quayAnonymous {
				return name, true
			}
		case float64:
			if v == math.Trunc(v) && math.Abs(v) < exactly {
				return strconv.FormatFloat(v, 'f', -1, 64), true
			}
		}
	}
	return "", false
}

// claim returns a claim by its whole name, which may hold dots (https://example.com/name), or else
// by its path.
func claim(all map[string]any, path string) any {
	if v, ok := all[path]; ok {
		return v
	}
	head, rest, found := strings.Cut(path, ".")
	inner, ok := all[head].(map[string]any)
	if !found || !ok {
		return nil
	}
	return claim(inner, rest)
}

// usableName returns s, or "" if it is too long for an event or has control characters.
func usableName(s string) string {
	if len(s) > MaxOperator || hasControl(s) {
		return ""
	}
	return s
}

// Access is what a request needs credentials for: upstreams ask for them for writes alone, or for
// reads too.
type Access uint8

// The kinds of access.
const (
	Reading Access = iota
	Writing
)

// Access returns the kind of access that the action needs.
func (a Action) Access() Access {
	switch a {
	case ManifestPut, ManifestDelete, BlobDelete, UploadStart, UploadChunk, UploadEnd, UploadCancel, ChartPost, ProvenancePost, ChartDelete:
		return Writing
	}
	return Reading
}

// LoginPolicy is how an upstream treats requests without credentials, as far as its answers have
// shown. It decides whether the upstream vouches for names.
type LoginPolicy uint8

// The policies of upstreams.
const (
	UnknownPolicy    LoginPolicy = iota // nothing was seen: names are only claimed
	RequiresLogin                       // it answers 401: it vouches for the names of the requests that it accepts
	ForbidsAnonymous                    // it answers 403: it vouches for a name if it answers that request 2xx
	OpenToAll                           // it answers 2xx: names are only claimed
)

// Vouches reports whether the upstream vouches for the name in a request. succeeded means that the
// request was answered 2xx.
func (p LoginPolicy) Vouches(succeeded bool) bool {
	return p == RequiresLogin || p == ForbidsAnonymous && succeeded
}

// Evidence remembers for ten minutes the policies of upstreams, by repository and kind of access.
// A 401 without credentials on GET /v2/ or on a read counts for both kinds, on a write for writes.
// A 2xx without credentials revokes it for that kind in that repository. Evidence is bounded, and
// safe for concurrent use.
type Evidence struct {
	mu sync.Mutex
	// guarded by mu, so that the older of two answers cannot replace the newer
	seen *lru.Cache[evidenceKey, evidence]
}

type evidenceKey struct {
	upstream, repository string // repository "" is the whole upstream (GET /v2/)
	access               Access
}

type evidence struct {
	policy LoginPolicy
	at     time.Time
}

const (
	evidenceFor = 10 * time.Minute
	maxEvidence = 65_536 // entries of about 200 bytes
)

// NewEvidence returns an Evidence that has seen nothing.
func NewEvidence() *Evidence {
	cache, _ := lru.New[evidenceKey, evidence](maxEvidence) // fails for sizes below 1 only
	return &Evidence{seen: cache}
}

// Anonymous records the answer to a client's request that carried no credentials.
func (e *Evidence) Anonymous(upstream, repository string, action Action, status int, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	access := action.Access()
	switch {
	case status == 401 && action == Ping:
		e.note(upstream, "", Reading, RequiresLogin, now)
		e.note(upstream, "", Writing, RequiresLogin, now)
	case action == Ping:
		// a 2xx shows nothing: an upstream may ask for credentials only where it matters
	case status == 401 && access == Reading:
		e.note(upstream, repository, Reading, RequiresLogin, now)
		e.note(upstream, repository, Writing, RequiresLogin, now)
	case status == 401:
		e.note(upstream, repository, Writing, RequiresLogin, now)
	case status >= 200 && status < 300:
		e.note(upstream, repository, access, OpenToAll, now)
	}
}

// Probed records the answer to a probe. An answer other than 401, 403 and 2xx shows nothing: it may
// be about the probe itself.
func (e *Evidence) Probed(upstream, repository string, action Action, status int, now time.Time) {
	if status != 403 {
		e.Anonymous(upstream, repository, action, status, now)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.note(upstream, repository, action.Access(), ForbidsAnonymous, now)
}

// note remembers a policy. Each read of an open registry shows the same: it is stored again only
// when a hundredth of its time is over.
func (e *Evidence) note(upstream, repository string, access Access, policy LoginPolicy, now time.Time) {
	k := evidenceKey{upstream, repository, access}
	if got, ok := e.seen.Get(k); ok && got.policy == policy && now.Sub(got.at) < evidenceFor/100 {
		return
	}
	e.seen.Add(k, evidence{policy, now})
}

// LoginPolicy returns the policy of an upstream for one kind of access to a repository.
func (e *Evidence) LoginPolicy(upstream, repository string, access Access, now time.Time) LoginPolicy {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, where := range []string{repository, ""} {
		if got, ok := e.seen.Get(evidenceKey{upstream, where, access}); ok && now.Sub(got.at) < evidenceFor {
			return got.policy
		}
	}
	return UnknownPolicy
}
