package replay

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
)

// A Score compares the webhooks of a scenario with what happened, as lines: one for each tag.
type Score struct {
	Missing, Extra []string
	Looked         []string // inspections, which only webhooks with manifest_reads get
}

// Exact reports whether exactly the expected events came.
func (s Score) Exact() bool { return len(s.Missing)+len(s.Extra) == 0 }

// Score compares both webhooks. A weak pull may be missing. A pull that moved no layer may come
// only to the webhook with manifest_reads.
func (p *Played) Score() (s Score) {
	for _, at := range []struct {
		name  string
		posts []format.BellbuoyEvent
		looks bool
	}{{"plain", p.Plain, false}, {"reads", p.Reads, true}} {
		one := compare(p.Want, at.posts)
		s.Missing = append(s.Missing, label(at.name, one.Missing)...)
		s.Extra = append(s.Extra, label(at.name, one.Extra)...)
		if at.looks {
			s.Looked = one.Looked
		} else {
			s.Extra = append(s.Extra, label(at.name+", of no layer", one.Looked)...)
		}
	}
	return s
}

func label(webhook string, lines []string) (out []string) {
	for _, l := range lines {
		out = append(out, webhook+": "+l)
	}
	return out
}

func compare(want []Happening, got []format.BellbuoyEvent) (s Score) {
	var may []string
	for i := range want {
		switch h := &want[i]; {
		case h.Observable != nil && !*h.Observable:
		case h.Weak:
			may = append(may, h.lines()...)
		default:
			s.Missing = append(s.Missing, h.lines()...)
			may = append(may, h.lost()...)
		}
	}
	for i := range got {
		e := &got[i]
		for _, line := range lines(e) {
			switch looked := e.Moved != "" && e.Moved != string(detect.MovedLayers); {
			case !looked && take(&s.Missing, line), take(&may, line):
			case looked:
				s.Looked = append(s.Looked, line)
			default:
				s.Extra = append(s.Extra, line)
			}
		}
	}
	return s
}

func take(from *[]string, line string) bool {
	i := slices.Index(*from, line)
	if i >= 0 {
		*from = slices.Delete(*from, i, i+1)
	}
	return i >= 0
}

func (h *Happening) lines() []string {
	operator := ""
	if h.Operator != nil {
		operator = *h.Operator
	}
	if strings.HasPrefix(h.Type, "chart.") {
		return []string{chartLine(h.Type, h.Repository, h.Name, h.Version, operator)}
	}
	kind, tags := h.Type, h.Tags
	if kind == "delete" {
		tags = append(slices.Clone(tags), h.TagsNamed...)
		if h.InRequest != nil && !*h.InRequest {
			kind = "delete tag"
		}
	}
	return exploded(kind, h.Repository, tags, h.Digest, operator)
}

// lost returns the tags that a delete removed and the recording does not name. bellbuoy may know
// them.
func (h *Happening) lost() []string {
	var tags []string
	for _, tag := range h.TagsLost {
		if !slices.Contains(h.TagsNamed, tag) && !slices.Contains(h.Tags, tag) {
			tags = append(tags, tag)
		}
	}
	if len(tags) == 0 {
		return nil
	}
	operator := ""
	if h.Operator != nil {
		operator = *h.Operator
	}
	return exploded(h.Type, h.Repository, tags, h.Digest, operator)
}

func lines(e *format.BellbuoyEvent) []string {
	switch e.Type {
	case detect.UploadChart, detect.DownloadChart, detect.DeleteChart:
		kind := map[detect.Type]string{detect.UploadChart: "chart.push", detect.DownloadChart: "chart.pull", detect.DeleteChart: "chart.delete"}[e.Type]
		return []string{chartLine(kind, strings.TrimSuffix(e.Repository, "/"+e.Chart.Name), e.Chart.Name, e.Chart.Version, e.Operator)}
	case detect.PullArtifact:
		if e.TagAsked == "" {
			return exploded("pull", e.Repository, nil, e.Digest, e.Operator)
		}
		return exploded("pull", e.Repository, []string{e.TagAsked}, e.Digest, e.Operator)
	}
	kind := map[detect.Type]string{detect.PushArtifact: "push", detect.DeleteArtifact: "delete", detect.DeleteTag: "delete tag"}[e.Type]
	if kind == "" {
		kind = string(e.Type)
	}
	return exploded(kind, e.Repository, e.Tags, e.Digest, e.Operator)
}

func exploded(kind, repository string, tags []string, digest, operator string) (out []string) {
	if len(tags) == 0 {
		tags = []string{""}
	}
	for _, tag := range tags {
		out = append(out, fmt.Sprintf("%s %s:%s@%s by %q", kind, repository, tag, digest, operator))
	}
	return out
}

// chartLine names the tenant of a chart as payloads do: library if it has none.
func chartLine(kind, tenant, name, version, operator string) string {
	if tenant == "" {
		tenant = "library"
	}
	return fmt.Sprintf("%s %s/%s %s by %q", kind, tenant, name, version, operator)
}
