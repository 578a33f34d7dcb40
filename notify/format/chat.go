package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Bounds on the names that messages show. They are far below every service's limits.
const (
	nameMost = 120 // characters of a repository, tag or operator
	tagsMost = 10  // tags that are listed
	textMost = 300 // characters of a text that bellbuoy did not write
)

// message describes an event in words, without markup.
type message struct {
	who   string        // the operator
	verb  string        // what happened
	what  string        // the artifact
	tail  string        // the result, if the headline alone does not show it
	facts []messageFact // the known ones
}

type messageFact struct{ name, value string }

// verbs describe what happened.
var verbs = map[detect.Type]string{
	detect.PushArtifact: "pushed", detect.PullArtifact: "pulled", detect.DeleteArtifact: "deleted", detect.DeleteTag: "deleted the tag",
	detect.UploadChart: "uploaded", detect.DownloadChart: "downloaded", detect.DeleteChart: "deleted",
	detect.ScanningCompleted: "scanned", detect.ScanningFailed: "failed to scan",
	detect.QuotaExceed: "exceeded the quota of", detect.QuotaWarning: "came near the quota of",
	detect.Replication: "replicated",
}

func messageOf(e *detect.Event) message {
	m := message{who: plain(e.Client.Operator, nameMost), verb: verbs[e.Type], what: shownReference(e), facts: factsOf(e)}
	switch {
	case e.Scan != nil:
		m.tail = scanText(e.Scan)
		if e.Scan.Scanner != nil {
			m.who = plain(e.Scan.Scanner.Name, nameMost)
		}
	case e.Quota != nil:
		m.what, m.tail = "project "+plain(e.Quota.Project, nameMost), plain(quotaDetails(e), nameMost)
	case e.Replication != nil:
		m.who, m.what = plain(e.Replication.Name, nameMost), replicatedText(e.Replication)
	}
	if m.who == "" {
		m.who = "somebody"
	}
	return m
}

// line returns the message as one line of plain text.
func (m message) line() string { return m.who + " " + m.verb + " " + m.what + m.end() }

// end returns the tail with its separator.
func (m message) end() string {
	if m.tail == "" {
		return ""
	}
	return ": " + m.tail
}

func scanText(s *detect.Scan) string {
	if s.Summary == nil {
		return plain(s.Reason, nameMost)
	}
	return plain(fmt.Sprintf("%s, %d findings, %d fixable", s.Severity, s.Summary.Total, s.Summary.Fixable), nameMost)
}

// shownReference returns the artifact's name with all of its tags, as far as they fit.
func shownReference(e *detect.Event) string {
	if e.Chart != nil {
		_, _, full := names(e)
		return plain(full, nameMost) + " " + plain(e.Chart.Version, nameMost)
	}
	repository := plain(e.Repository, nameMost)
	switch {
	case len(e.Tags) == 0:
		return repository + "@" + shortDigest(e.Digest)
	case len(e.Tags) == 1:
		return repository + ":" + plain(e.Tags[0], nameMost)
	}
	var tags []string
	for _, tag := range e.Tags[:min(len(e.Tags), tagsMost)] {
		tags = append(tags, plain(tag, nameMost/tagsMost*2))
	}
	s := repository + ": " + strings.Join(tags, ", ")
	if more := len(e.Tags) - tagsMost; more > 0 {
		s += " and " + strconv.Itoa(more) + " more"
	}
	return s
}

func replicatedText(r *detect.ReplicationRun) string {
	text := strconv.Itoa(len(r.Succeeded)) + " artifacts"
	if len(r.Succeeded) == 1 {
		text = "1 artifact"
	}
	if n := len(r.Failed); n > 0 {
		text += ", failed at " + strconv.Itoa(n)
	}
	return text
}

// factsOf returns the facts to show below the headline.
func factsOf(e *detect.Event) []messageFact {
	var facts []messageFact
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, messageFact{name, value})
		}
	}
	add("Registry", plain(e.External.Host, nameMost))
	if a := e.Artifact; a != nil {
		add("Kind", plain(string(a.Kind), nameMost))
		add("Size", humanSize(a.Size))
		add("Platforms", plain(strings.Join(a.Platforms, ", "), nameMost))
	}
	if c := e.Chart; c != nil {
		add("Size", humanSize(c.Size))
		add("App version", plain(c.AppVersion, nameMost))
	}
	if s := e.Scan; s != nil {
		add("Severity", plain(s.Severity, nameMost))
		add("Findings", findingsText(s.Summary))
		add("Reason", plain(s.Reason, textMost))
	}
	if e.Quota != nil {
		add("Details", plain(quotaDetails(e), textMost))
	}
	if r := e.Replication; r != nil {
		add("From", plain(r.Source.URL, nameMost))
		add("To", plain(r.Destination.URL, nameMost))
		add("Status", plain(r.Status, nameMost))
	}
	add("Digest", shortDigest(e.Digest))
	add("Before", shortDigest(e.Previous))
	add("Client", plain(e.Client.UserAgent, nameMost))
	return facts
}

// severities lists Harbor's severities from the worst to the least.
var severities = []string{"Critical", "High", "Medium", "Low", "Negligible", "Unknown", "None"}

func findingsText(s *detect.Summary) string {
	if s == nil {
		return ""
	}
	text, separator := fmt.Sprintf("%d, %d fixable", s.Total, s.Fixable), ": "
	for _, severity := range severities {
		if n := s.BySeverity[severity]; n > 0 {
			text += fmt.Sprintf("%s%d %s", separator, n, severity)
			separator = ", "
		}
	}
	return text
}

// plain makes a name that a client chose safe for a chat. The result is one line of at most limit
// characters without mentions: a zero-width space follows each @ that a chat could read as one.
func plain(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r < ' ', r >= 0x7f && r < 0xa0, r == utf8.RuneError, r == '\u2028', r == '\u2029':
			return ' '
		// These change the direction of the text that follows.
		case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
			return -1
		}
		return r
	}, s)
	// The last is Google Chat's.
	for _, mention := range []string{"@everyone", "@here", "@channel", "@all", "<users/"} {
		s = strings.ReplaceAll(s, mention, mention[:1]+"\u200b"+mention[1:])
	}
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	runes := []rune(s)
	return string(runes[:limit-1]) + "…"
}

func shortDigest(digest string) string {
	const shown = len("sha256:") + 12
	return plain(digest[:min(len(digest), shown)], nameMost)
}

// humanSize formats a size; "" if it is unknown.
func humanSize(n int64) string {
	if n <= 0 {
		return ""
	}
	return bytesText(n)
}

// bytesText formats a number of bytes as Harbor does.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, units := float64(n)/unit, "KMGTPE"
	i := 0
	for ; value >= unit && i < len(units)-1; i++ {
		value /= unit
	}
	return fmt.Sprintf("%.1f %ciB", value, units[i])
}

// chatJSON encodes without HTML escapes, which would make some characters six times as long.
func chatJSON(v any) (Body, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return Body{ContentType: "application/json", Bytes: bytes.TrimSuffix(b.Bytes(), []byte("\n"))}, err
}
