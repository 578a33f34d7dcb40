package manage

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify"
)

// Limits of webhooks that limited accounts make: beyond those of the configuration, so that one
// project's webhooks take little of what all share.
const (
	mostConcurrency = 16
	longestTimeout  = time.Minute
	mostRetries     = 20
	longestSchedule = 14 * 24 * time.Hour
	mostHeaders     = 32
	mostHeaderBytes = 8 << 10
	mostSecrets     = 8  // signing secrets and signatures
	mostGlobs       = 64 // of match and exclude, without braces
	longestGlob     = 255
	mostOfMaker     = 200 // webhooks of one limited account
)

// checkLimits refuses settings that webhooks of limited accounts may not have.
func checkLimits(c *config.Webhook) error {
	switch {
	case !c.Proxy.IsZero():
		return errors.New("proxy: accounts limited to projects may not set it")
	case c.TLS.InsecureSkipVerify:
		return errors.New("tls.insecure_skip_verify: accounts limited to projects may not set it (skip_cert_verify in Harbor's API)")
	case c.Concurrency > mostConcurrency:
		return fmt.Errorf("concurrency: accounts limited to projects may set at most %d", mostConcurrency)
	case time.Duration(c.Timeout) > longestTimeout:
		return fmt.Errorf("timeout: accounts limited to projects may set at most %v", longestTimeout)
	case len(c.SigningSecrets)+len(c.Signatures) > mostSecrets:
		return fmt.Errorf("signing_secrets: accounts limited to projects may have at most %d, with signatures", mostSecrets)
	}
	return errors.Join(checkSchedule(c.Retry), checkHeaders(c), checkGlobs(c))
}

func checkSchedule(retry []config.Duration) error {
	whole := time.Duration(0)
	for _, wait := range retry {
		whole += min(time.Duration(wait), longestSchedule+1)
	}
	if len(retry) > mostRetries || whole > longestSchedule {
		return fmt.Errorf("retry: accounts limited to projects may have at most %d entries, of %d days in all", mostRetries, longestSchedule/(24*time.Hour))
	}
	return nil
}

func checkHeaders(c *config.Webhook) error {
	size := len(c.AuthHeader.Reveal())
	for name, value := range c.Headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			return errors.New("headers.Host: accounts limited to projects may not set it")
		}
		size += len(name) + len(value.Reveal())
	}
	if len(c.Headers) > mostHeaders || size > mostHeaderBytes {
		return fmt.Errorf("headers: accounts limited to projects may have at most %d, of %d KiB in all", mostHeaders, mostHeaderBytes>>10)
	}
	return nil
}

// checkGlobs bounds the time that it takes to match an event, for which a push waits.
func checkGlobs(c *config.Webhook) error {
	n := 0
	for key, m := range map[string]notify.Match{"match": readyMatch(c.Match), "exclude": readyMatch(c.Exclude)} {
		n += notify.CountGlobs(m)
		for _, list := range [][]string{m.Projects, m.Repositories, m.Tags, m.Operators, m.UserAgents, {m.Semver}} {
			if slices.ContainsFunc(list, func(p string) bool { return len(p) > longestGlob }) {
				return fmt.Errorf("%s: accounts limited to projects may have globs of at most %d bytes", key, longestGlob)
			}
		}
	}
	if n > mostGlobs {
		return fmt.Errorf("match: accounts limited to projects may have at most %d globs, with exclude; braces count as several", mostGlobs)
	}
	return nil
}
