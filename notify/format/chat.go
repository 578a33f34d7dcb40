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

// What messages for people show of a name that a client chose, far below any service's limits.
const (
	nameMost = 120 // characters of a repository, tag or operator
	tagsMost = 10  // tags that are listed
	textMost = 300 // characters of a sentence that somebody else wrote
)

// message is an event as people read it, before a chat's own markup.
type message struct {
	who   string // who did it
	verb  string // what
	what  string // to which artifact
	tail  string // what came of it, where the headline alone does not say that
	facts []fact // those that are known
}

type fact struct{ name, value string }

// verbs say what happened.
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

// line is the message as one line of plain text.
func (m message) line() string { return m.who + " " + m.verb + " " + m.what + m.end() }

// end is the tail as it stands behind the headline.
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

// shownReference is what the message is about: all of its tags, as far as they fit.
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

// factsOf are what is known besides the headline.
func factsOf(e *detect.Event) []fact {
	var facts []fact
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, fact{name, value})
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

// severities from the worst to the most harmless, in Harbor's words.
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

// plain makes a name that a client chose harmless for a chat: one line, at most limit characters,
// and no @everyone (a zero-width space behind each @ that a chat could take for a mention).
func plain(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r < ' ', r >= 0x7f && r < 0xa0, r == utf8.RuneError, r == '\u2028', r == '\u2029':
			return ' '
		case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069': // turns the direction of what follows
			return -1
		}
		return r
	}, s)
	for _, mention := range []string{"@everyone", "@here", "@channel", "@all", "<users/"} { // the last is Google Chat's
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

// humanSize is a size, "" where it is not known.
func humanSize(n int64) string {
	if n <= 0 {
		return ""
	}
	return bytesText(n)
}

// bytesText is a number of bytes in Harbor's words.
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
