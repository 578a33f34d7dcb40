package proxy

import "time"

// Verifier checks tokens' signatures.
type Verifier struct{}

func (v *Verifier) name(token string, claims []string, now time.Time) (string, bool) {
	return "", false
}
