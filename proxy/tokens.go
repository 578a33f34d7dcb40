package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

// tokens remember with which login a token was fetched, if the token itself has no name (it is
// opaque, or its claims have none). They are remembered by their hash. A token server is found by
// the 401 of an upstream that sends clients there under bellbuoy's own address; its tokens are for
// the upstreams that do so. tokens are bounded, and safe for concurrent use.
type tokens struct {
	mu     sync.Mutex
	realms *lru.Cache[realmKey, *tokenServer]
	byHash *lru.Cache[[sha256.Size]byte, fetchedToken]
}

type realmKey struct{ upstream, path string }

// tokenServer is a path of an upstream at which tokens are fetched.
type tokenServer struct {
	serves []string // the upstreams that send clients there
	asked  *probe   // sends it a made-up login; nil: not yet sent
}

// fetchedToken is what is known of a token.
type fetchedToken struct {
	name   string
	until  time.Time
	serves []string
	server *probe // the name counts only if the server refuses a made-up login
}

const (
	rememberedRealms = 256
	rememberedTokens = 16_384
	maxServed        = 16          // upstreams that send clients to one token server
	maxTokenAnswer   = 64 << 10    // bytes of a token server's answer
	tokenLives       = time.Minute // if the answer does not say how long
	longestToken     = 24 * time.Hour
)

func newTokens() *tokens {
	realms, _ := lru.New[realmKey, *tokenServer](rememberedRealms) // errs for sizes below one only
	byHash, _ := lru.New[[sha256.Size]byte, fetchedToken](rememberedTokens)
	return &tokens{realms: realms, byHash: byHash}
}

// noteRealm remembers where an upstream sends clients for tokens, if that leads through bellbuoy.
func (n *identification) noteRealm(h http.Header) {
	x := n.x
	realm, err := url.Parse(upstream.TokenRealm(h))
	if err != nil || realm.Path == "" || len(realm.Path) > 256 || !n.leadsHere(realm) {
		return
	}
	rt := x.g.find(x.fwd.host, realm.Path)
	if rt == nil {
		return
	}
	t := x.g.h.tokens
	t.mu.Lock()
	defer t.mu.Unlock()
	key := realmKey{rt.Name, strings.Clone(realm.Path)}
	server, ok := t.realms.Get(key)
	if !ok {
		server = &tokenServer{}
		t.realms.Add(key, server)
	}
	if !slices.Contains(server.serves, x.route.Name) && len(server.serves) < maxServed {
		server.serves = append(slices.Clip(server.serves), x.route.Name)
	}
}

// leadsHere reports whether an address names bellbuoy as this client does, or as external_url does.
func (n *identification) leadsHere(u *url.URL) bool {
	x := n.x
	if u.Host == "" {
		return true
	}
	names := []string{x.fwd.host, x.in.Host}
	if x.route.External != nil {
		names = append(names, x.route.External.Host)
	}
	return slices.ContainsFunc(names, func(name string) bool {
		return strings.EqualFold(bare(u.Host, "80"), bare(name, "80")) || strings.EqualFold(bare(u.Host, "443"), bare(name, "443"))
	})
}

// beginFetch sends a made-up login to the token server of which a client is about to fetch a token.
// Only if the server refuses that does a token show the login with which it was fetched.
func (n *identification) beginFetch(op *detect.Operation) {
	x := n.x
	if op.Action != detect.Other || x.in.Method != http.MethodGet || x.g.Identity.Verify != nil || x.route.Asker == nil {
		return
	}
	if name, _ := detect.BasicUser(x.in.Header.Get("Authorization")); name == "" {
		return
	}
	t := x.g.h.tokens
	t.mu.Lock()
	defer t.mu.Unlock()
	server, ok := t.realms.Get(realmKey{x.route.Name, x.in.URL.Path})
	if !ok {
		return
	}
	if server.asked == nil || x.start.Sub(server.asked.at) >= probeEvery {
		if !x.g.h.lookups.AllowN(op.Client.Address, dearLookup) {
			return
		}
		server.asked = &probe{done: make(chan struct{}), at: x.start}
		go n.askServer(server.asked, x.route.Asker, x.target)
	}
	n.fetches = &fetchedToken{serves: server.serves, server: server.asked}
}

// askServer sends a made-up login to a token server.
func (n *identification) askServer(p *probe, asker Asker, uri string) {
	x := n.x
	defer close(p.done)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.in.Context()), probeTime)
	defer cancel()
	x.guarded("Refuses", func() {
		refuses, err := asker.Refuses(ctx, uri)
		p.refuses = err == nil && refuses
	})
}

// keepToken remembers the token in a token server's answer, if it has no name itself.
func (n *identification) keepToken(body []byte) {
	x := n.x
	var answer struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return
	}
	name, _ := detect.BasicUser(x.in.Header.Get("Authorization"))
	for _, token := range []string{answer.Token, answer.AccessToken} {
		if token == "" || len(token) > maxToken {
			continue
		}
		if _, named := detect.TokenName(token, x.g.Identity.Claims); named {
			continue
		}
		kept := *n.fetches
		kept.name, kept.until = strings.Clone(name), time.Now().Add(tokenLife(token, answer.ExpiresIn))
		x.g.h.tokens.byHash.Add(sha256.Sum256([]byte(token)), kept)
	}
}

// tokenLife returns how long a token is valid: by its own claim, else by the answer that contains
// it.
func tokenLife(token string, seconds float64) time.Duration {
	life := tokenLives
	if end := detect.TokenEnd(token); !end.IsZero() {
		life = time.Until(end)
	} else if seconds >= 1 {
		life = time.Duration(min(seconds, longestToken.Seconds())) * time.Second
	}
	return min(life, longestToken)
}

// fetchedBy returns the login with which a token was fetched for this upstream, or "".
func (n *identification) fetchedBy(token string) string {
	x := n.x
	kept, ok := x.g.h.tokens.byHash.Get(sha256.Sum256([]byte(token)))
	if !ok || !x.start.Before(kept.until) || !slices.Contains(kept.serves, x.route.Name) {
		return ""
	}
	n.through = kept.server
	return kept.name
}
