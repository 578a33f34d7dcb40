package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// eventWords are the types of events in Harbor's words, as its console lists them.
var eventWords = map[detect.Type]string{
	detect.DeleteArtifact: "Artifact deleted", detect.PullArtifact: "Artifact pulled", detect.PushArtifact: "Artifact pushed",
	detect.DeleteChart: "Chart deleted", detect.DownloadChart: "Chart downloaded", detect.UploadChart: "Chart uploaded",
	detect.QuotaExceed: "Quota exceed", detect.QuotaWarning: "Quota near threshold", detect.Replication: "Replication finished",
	detect.ScanningFailed: "Scanning failed", detect.ScanningCompleted: "Scanning finished", detect.DeleteTag: "Tag deleted",
}

// eventTypes are all types, sorted by their words.
var eventTypes = []detect.Type{
	detect.DeleteArtifact, detect.PullArtifact, detect.PushArtifact, detect.DeleteChart, detect.DownloadChart, detect.UploadChart,
	detect.QuotaExceed, detect.QuotaWarning, detect.Replication, detect.ScanningFailed, detect.ScanningCompleted, detect.DeleteTag,
}

// eventWord is the word for a type of event.
func eventWord(t string) string {
	if word, ok := eventWords[detect.Type(t)]; ok {
		return word
	}
	return t
}

// badge is a state: a word, and a colour by its kind.
type badge struct{ Word, Kind string }

// statusOfWebhook is whether it is enabled, and what is wrong with it.
func statusOfWebhook(w manage.Webhook) []badge {
	switch w.Health.State {
	case "disabled":
		return []badge{{"Disabled", "off"}}
	case "gone":
		return []badge{{"Disabled", "off"}, {"Answered 410", "bad"}}
	case "off":
		if !w.Definition.Enabled {
			return []badge{{"Disabled", "off"}}
		}
		return []badge{{"Off", "off"}}
	}
	all := []badge{{"Enabled", "good"}}
	if w.Health.State == "failing" {
		all = append(all, badge{"Failing", "bad"})
	}
	if w.Health.CircuitOpen {
		all = append(all, badge{"Circuit open", "warn"})
	}
	return all
}

// stateBadges are the states of a delivery.
var stateBadges = map[string]badge{
	"pending": {"Pending", "warn"}, "delivered": {"Delivered", "good"}, "dead": {"Dead", "bad"}, "parked": {"Parked", "off"},
}

func stateBadge(state string) badge {
	if b, ok := stateBadges[state]; ok {
		return b
	}
	return badge{state, "off"}
}

// notifyType is what Harbor calls the notify type: how the receiver is addressed.
func notifyType(format string) string {
	switch format {
	case "slack", "teams", "discord":
		return format
	}
	return "http"
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if size == 0 || !unicode.IsLetter(r) {
		return s
	}
	s = string(unicode.ToUpper(r)) + s[size:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

// absolute is a time with its zone; "–" for none.
func absolute(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.Local().Format("2 Jan 2006 15:04:05 MST")
}

// relative is how long ago a time was, or how far ahead it is, in one unit.
func relative(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	d := time.Since(t)
	if d < 0 {
		return "in " + lengthOf(-d)
	}
	return lengthOf(d) + " ago"
}

// lengthOf is a duration in its largest unit.
func lengthOf(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return strconv.Itoa(int(d.Hours()/24)) + " d"
	case d >= 2*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	case d >= 2*time.Minute:
		return strconv.Itoa(int(d.Minutes())) + " min"
	}
	return strconv.Itoa(max(int(d.Seconds()), 0)) + " s"
}

// milliseconds is a latency.
func milliseconds(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return grouped(d.Milliseconds()) + " ms"
}

// percent is a share; "–" if it is not known.
func percent(f *float64) string {
	if f == nil {
		return "–"
	}
	if *f >= 0.9995 || *f <= 0 {
		return fmt.Sprintf("%.0f %%", *f*100)
	}
	return fmt.Sprintf("%.1f %%", min(*f*100, 99.9))
}

// grouped is a number with its thousands apart.
func grouped[N int | int64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// plural is a number with its noun.
func plural[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// answer is an HTTP status with its text; "–" for none.
func answer(status int) string {
	if status == 0 {
		return "–"
	}
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

// moment is a time in a page: relative, with the absolute one as its title.
func moment(t time.Time) template.HTML {
	if t.IsZero() {
		return `<span class="muted">–</span>`
	}
	return template.HTML(`<time datetime="` + t.UTC().Format(time.RFC3339) + `" title="` + absolute(t) + `">` + relative(t) + `</time>`)
}

// exact is a time in a page: absolute.
func exact(t time.Time) template.HTML {
	if t.IsZero() {
		return `<span class="muted">–</span>`
	}
	return template.HTML(`<time datetime="` + t.UTC().Format(time.RFC3339) + `">` + absolute(t) + `</time>`)
}

// functions are those that templates call.
var functions = template.FuncMap{
	"asset": asset, "moment": moment, "exact": exact, "relative": relative, "percent": percent, "answer": answer,
	"ms": milliseconds, "event": eventWord, "state": stateBadge, "status": statusOfWebhook, "notifyType": notifyType,
	"int": func(n int64) string { return grouped(n) }, "count": func(n int) string { return grouped(n) },
	"plural":    func(n int64, one, many string) string { return plural(n, one, many) },
	"pluralInt": func(n int, one, many string) string { return plural(n, one, many) },
	"join":      strings.Join, "sentence": sentence, "dict": dict, "query": withQuery,
	"notifyTypes": notifyTypes, "yesNo": yesNo, "severities": severities, "orders": orders, "overtaken": overtaken,
	"modes": modes, "specs": specs, "kinds": kinds, "samples": samples, "inc": func(i int) int { return i + 1 },
	"bytes": func(n int64) string { return bytesText(float64(n)) }, "fullName": fullName, "readable": readable, "base": filepath.Base, "lines": headerLines,
	"short": func(s string, n int) string {
		if r := []rune(s); len(r) > n {
			return string(r[:n]) + "…"
		}
		return s
	},
}

// dict makes a map of names and values, for parts that need several.
func dict(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return m
}

// withQuery returns the query with one more value; "" removes it.
func withQuery(q url.Values, name, value string) string {
	q = url.Values(http.Header(q).Clone())
	if q == nil {
		q = url.Values{}
	}
	q.Set(name, value)
	if value == "" {
		q.Del(name)
	}
	return "?" + q.Encode()
}

// notices are what actions have done, by the value of the query's "done".
var notices = map[string][2]string{
	"saved": {"The webhook is saved.", ""}, "deleted": {"1 webhook is deleted.", "%s webhooks are deleted."},
	"enabled": {"1 webhook is enabled.", "%s webhooks are enabled."}, "disabled": {"1 webhook is disabled.", "%s webhooks are disabled."},
	"takenover":   {"The webhook is taken over: the limits of the account that made it are lifted.", ""},
	"redelivered": {"1 delivery is due again.", "%s deliveries are due again."},
	"replayed":    {"1 delivery is made.", "%s deliveries are made."},
	"nodelivery":  {"Nothing is done: tick a delivery first.", ""},
	"none":        {"Nothing is done: tick a webhook first.", ""},
	"several":     {"Nothing is done: tick one webhook to edit it.", ""},
	"changed":     {"Nothing is changed: somebody else has changed this webhook meanwhile.", ""},
}

// noticeOf is the notice that a query asks for. Its words are the program's: a link cannot put
// others into the page.
func noticeOf(q url.Values) string {
	words, ok := notices[q.Get("done")]
	if !ok {
		return ""
	}
	n, err := strconv.ParseInt(q.Get("n"), 10, 64)
	if err != nil || n == 1 || words[1] == "" {
		return words[0]
	}
	return fmt.Sprintf(words[1], grouped(n))
}

// readable is a body as people read it: JSON is indented.
func readable(text string) string {
	var out bytes.Buffer
	if json.Indent(&out, []byte(text), "", "  ") != nil {
		return text
	}
	return out.String()
}
