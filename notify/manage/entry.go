package manage

import (
	"errors"
	"regexp"
	"strings"

	"github.com/bellbuoy/bellbuoy/config"
)

// maskURL returns a URL without the parts that may be secret.
func maskURL(text string) string { return config.NewURL(text).String() }

// CompleteDefinition returns a webhook of the configuration with all its settings. Secrets are
// masked.
func CompleteDefinition(w *config.Webhook) Definition {
	o := w.FormatOptions
	d := Definition{
		Name: w.Name, Description: w.Description, Enabled: w.Enabled, URL: w.URL.String(), Format: w.Format, Preset: w.Preset,
		FormatOptions: FormatOptions{Mode: o.Mode, Type: o.Type, Subject: o.Subject, Spec: o.Spec, File: o.File, Text: o.Text, ContentType: o.ContentType},
		Events:        w.Events, ManifestReads: w.ManifestReads, Match: filterOf(w.Match), Exclude: filterOf(w.Exclude),
		AuthHeader: w.AuthHeader.String(), Proxy: w.Proxy.String(),
		TLS:     TLS{InsecureSkipVerify: w.TLS.InsecureSkipVerify, ServerName: w.TLS.ServerName},
		Timeout: w.Timeout.String(), Concurrency: w.Concurrency, Order: w.Order, Overtaken: w.Overtaken, RateLimit: w.RateLimit.String(),
		Group: Group{Wait: w.Group.Wait.String(), Most: w.Group.Most},
	}
	for name, value := range w.Headers {
		if d.Headers == nil {
			d.Headers = map[string]string{}
		}
		d.Headers[name] = value.String()
	}
	for i := range w.SigningSecrets {
		d.SigningSecrets = append(d.SigningSecrets, maskOf(i))
	}
	for i, s := range w.Signatures {
		d.Signatures = append(d.Signatures, Signature{Header: s.Header, Algorithm: s.Algorithm, Prefix: s.Prefix, Encoding: s.Encoding, Secret: maskOf(i)})
	}
	for _, wait := range w.Retry {
		d.Retry = append(d.Retry, wait.String())
	}
	return d
}

func filterOf(m config.Match) Filter {
	return Filter{Upstreams: m.Upstreams, Projects: m.Projects, Repositories: m.Repositories, Tags: m.Tags, Operators: m.Operators,
		UserAgents: m.UserAgents, Kinds: m.Kinds, Tagged: m.Tagged, Semver: m.Semver, Changed: m.Changed, MinSeverity: m.MinSeverity, NewFindings: m.NewFindings}
}

var keyInFront = regexp.MustCompile(`^([a-z_]+(?:\[\d+\])?(?:\.[A-Za-z0-9_-]+(?:\[\d+\])?)*): `)

// ProblemsOf converts an error about a webhook to Problems. An error that does not come from the
// configuration must begin with the key.
func ProblemsOf(err error) Problems {
	if known, ok := errors.AsType[Problems](err); ok {
		return known
	}
	var all Problems
	if found, ok := errors.AsType[config.Problems](err); ok {
		for _, p := range found {
			all = append(all, Problem{p.Path, p.Message})
		}
		return all
	}
	text := err.Error()
	if key := keyInFront.FindStringSubmatch(text); key != nil {
		return problem(key[1], "%s", strings.TrimPrefix(text, key[0]))
	}
	return problem("", "%s", text)
}
