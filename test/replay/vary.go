package replay

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
)

// A Variation changes a recording into another one that could have been made, and whose events are
// known. Make returns false for scenarios that it does not fit.
type Variation struct {
	Name string
	Make func(Scenario, *rand.Rand) (Scenario, bool)
}

// Variations lists all variations.
var Variations = []Variation{
	{"closes", closes},
	{"one-connection", oneConnection},
	{"by-method", byMethod},
	{"other-user", otherUser},
	{"other-address", otherAddress},
	{"two-addresses", twice(func(s Scenario) Scenario { return moved(s, "127.0.0.9") })},
	{"two-users", twiceUsers},
	{"two-agents", twice(func(s Scenario) Scenario { return as(s, "other/1.0") })},
	{"behind-nat", behindNAT},
	{"no-challenge", noChallenge},
	{"nobody-asks", nobodyAsks},
	{"claimed-only", claimedOnly},
	{"mirror", mirror},
	{"redirects", redirected},
	{"busy-upstream", busyUpstream},
	{"cut-layers", cutLayers},
	{"pause", pause},
	{"no-digests", noDigests},
	{"checks-only", checksOnly},
	{"referrers-api", referrersAPI},
	{"gzipped", gzipped},
	{"again-later", againLater},
}

func clone(s Scenario) Scenario {
	s.Lines, s.Want = slices.Clone(s.Lines), slices.Clone(s.Want)
	for i := range s.Lines {
		s.Lines[i].ReqHeader, s.Lines[i].RespHeader = s.Lines[i].ReqHeader.Clone(), s.Lines[i].RespHeader.Clone()
	}
	return s
}

// each returns a copy of a scenario in which every line is changed.
func each(s Scenario, change func(l *Line)) Scenario {
	s = clone(s)
	for i := range s.Lines {
		change(&s.Lines[i])
	}
	return s
}

// merge returns a scenario in which several scenarios happen at one upstream, each shifted in time.
func merge(name string, all []Scenario, shiftMS func(i int) float64) Scenario {
	out := Scenario{Name: name, Auth: all[0].Auth}
	for i, s := range all {
		shift := shiftMS(i) - s.Lines[0].StartMS
		for _, l := range s.Lines {
			l.StartMS += shift
			l.Conn += 10_000 * i
			out.Lines = append(out.Lines, l)
		}
		out.Want = append(out.Want, s.Want...)
	}
	slices.SortStableFunc(out.Lines, func(a, b Line) int { return cmp.Compare(a.StartMS, b.StartMS) })
	return out
}

// closes sends every request on a connection of its own.
func closes(s Scenario, _ *rand.Rand) (Scenario, bool) {
	n := 0
	return each(s, func(l *Line) {
		n++
		l.Conn = n
		l.ReqHeader.Set("Connection", "close")
	}), true
}

// oneConnection sends all requests on one connection, as far as they do not overlap.
func oneConnection(s Scenario, _ *rand.Rand) (Scenario, bool) {
	return each(s, func(l *Line) {
		l.Conn = 1
		l.ReqHeader.Del("Connection")
		l.RespHeader.Del("Connection")
	}), true
}

// byMethod sends HEADs on one connection and all other requests on another.
func byMethod(s Scenario, _ *rand.Rand) (Scenario, bool) {
	return each(s, func(l *Line) {
		l.Conn = 2
		if l.Method == http.MethodHead {
			l.Conn = 1
		}
		l.ReqHeader.Del("Connection")
	}), true
}

// otherUser gives the user a name that needs escaping.
func otherUser(s Scenario, _ *rand.Rand) (Scenario, bool) {
	if strings.HasPrefix(s.Auth, "anon") {
		return s, false
	}
	return user(s, `robot$ci+"ü"`), true
}

// user returns the scenario as another user would do it.
func user(s Scenario, name string) Scenario {
	s = each(s, func(l *Line) {
		for i, v := range l.ReqHeader["Authorization"] {
			l.ReqHeader["Authorization"][i] = renamed(v, name)
		}
	})
	for i := range s.Want {
		if s.Want[i].Operator != nil {
			s.Want[i].Operator = &name
		}
	}
	return s
}

// renamed replaces the name in credentials.
func renamed(authorization, name string) string {
	scheme, rest, _ := strings.Cut(authorization, " ")
	switch scheme {
	case "Basic":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":pw"))
	case "Bearer":
		parts := strings.Split(rest, ".")
		if len(parts) != 3 {
			return authorization
		}
		var claims map[string]any
		if b, err := base64.RawURLEncoding.DecodeString(parts[1]); err != nil || json.Unmarshal(b, &claims) != nil || claims["sub"] == "" {
			return authorization
		}
		claims["sub"] = name
		b, err := json.Marshal(claims)
		if err != nil {
			return authorization
		}
		return scheme + " " + parts[0] + "." + base64.RawURLEncoding.EncodeToString(b) + "." + parts[2]
	}
	return authorization
}

func otherAddress(s Scenario, _ *rand.Rand) (Scenario, bool) { return moved(s, "127.3.2.1"), true }

// moved returns the scenario as a client at another address would do it.
func moved(s Scenario, address string) Scenario {
	return each(s, func(l *Line) {
		_, port, _ := net.SplitHostPort(l.Remote)
		l.Remote = net.JoinHostPort(address, port)
	})
}

// as returns the scenario with another user agent.
func as(s Scenario, agent string) Scenario {
	return each(s, func(l *Line) { l.ReqHeader.Set("User-Agent", agent) })
}

// twice lets two clients do the same at the same time, so that their requests alternate.
func twice(other func(Scenario) Scenario) func(Scenario, *rand.Rand) (Scenario, bool) {
	return func(s Scenario, r *rand.Rand) (Scenario, bool) {
		if !repeatable(s) {
			return s, false
		}
		shift := r.Float64() * 10
		return merge(s.Name, []Scenario{s, other(s)}, func(i int) float64 { return float64(i) * shift }), true
	}
}

func twiceUsers(s Scenario, r *rand.Rand) (Scenario, bool) {
	if strings.HasPrefix(s.Auth, "anon") {
		return s, false
	}
	return twice(func(s Scenario) Scenario { return user(s, "bob") })(s, r)
}

// repeatable reports whether a scenario may happen twice with the same answers. A delete may not,
// and two untagged pushes of one digest at once may be one event.
func repeatable(s Scenario) bool {
	return !slices.ContainsFunc(s.Want, func(h Happening) bool {
		return strings.HasSuffix(h.Type, "delete") || h.Type == "push" && len(h.Tags) == 0
	})
}

// behindNAT lets five nodes with one address and user agent pull an image at once. Each fetches the
// layers.
func behindNAT(s Scenario, r *rand.Rand) (Scenario, bool) {
	if len(s.Want) != 1 || s.Want[0].Type != "pull" || s.Want[0].Weak || !fetchesLayers(s) {
		return s, false
	}
	all := []Scenario{s, s, s, s, s}
	shifts := make([]float64, len(all))
	for i := range shifts {
		shifts[i] = r.Float64() * 200
	}
	return merge(s.Name, all, func(i int) float64 { return shifts[i] }), true
}

// fetchesLayers reports whether blobs besides a config are fetched.
func fetchesLayers(s Scenario) bool {
	blobs := map[string]bool{}
	for i := range s.Lines {
		if l := &s.Lines[i]; l.Method == http.MethodGet && strings.Contains(l.Path, "/blobs/sha256:") {
			blobs[l.Path] = true
		}
	}
	return len(blobs) > 1
}

// noChallenge removes the 401 answers: the client sends its login with the first request.
func noChallenge(s Scenario, _ *rand.Rand) (Scenario, bool) {
	if strings.HasPrefix(s.Auth, "anon") {
		return s, false
	}
	s = clone(s)
	s.Lines = slices.DeleteFunc(s.Lines, func(l Line) bool { return l.Status == http.StatusUnauthorized })
	return s, len(s.Lines) > 0
}

// nobodyAsks removes the login from the upstream, so that names are only claimed. bellbuoy notes
// the first read with a name in a repository after it has asked the upstream whether that requires
// a login. A delete in the next millisecond may miss the tag that the read has shown, so scenarios
// with such deletes do not fit.
func nobodyAsks(s Scenario, r *rand.Rand) (Scenario, bool) {
	s, ok := noChallenge(s, r)
	ok = ok && !deletesDigest(s)
	s.Auth = "anon"
	for i := range s.Want {
		s.Want[i].Operator = nil
	}
	return s, ok
}

// deletesDigest reports whether a manifest is deleted by its digest.
func deletesDigest(s Scenario) bool {
	return slices.ContainsFunc(s.Want, func(h Happening) bool { return h.Type == "delete" && (h.InRequest == nil || *h.InRequest) })
}

// claimedOnly sends a name to an upstream that requires no login. Deletes do not fit, for the
// reason that nobodyAsks has.
func claimedOnly(s Scenario, _ *rand.Rand) (Scenario, bool) {
	return each(s, func(l *Line) { l.ReqHeader.Set("Authorization", "Basic bWFsbG9yeTpwdw==") }), strings.HasPrefix(s.Auth, "anon") && !deletesDigest(s)
}
