package track

import (
	"strings"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/detect"
)

// The kinds of row that the Tracker keeps, and how their IDs are built. Parts are joined with an information separator, which no part can hold.
const (
	rowIntent     detect.RowKind = "intent"     // upstream, hint, repository, reference, client, intent: a write; until its outcome is known, or 7 days
	rowSettled    detect.RowKind = "done"       // upstream, hint, repository, reference, digest, action, client: a write that was settled without an answer; 10 min, so that a retry joins it; with an intent for client: one that was given up
	rowAnswer     detect.RowKind = "answer"     // upstream, hint, repository, reference, digest, client: a push whose answer the client may not have got; 10 min at most
	rowHeld       detect.RowKind = "held"       // upstream, hint, repository, digest[, tag]: an event that waits: a push by digest; with a tag: of what may be regctl's dummy
	rowRefused    detect.RowKind = "refused"    // upstream, hint, repository, tag, client: a tag's DELETE that the upstream refused; 60 s
	rowBusy       detect.RowKind = "busy"       // upstream, hint, repository, client: a push that goes on at some replica; while it does
	rowTag        detect.RowKind = "tag"        // upstream, hint, repository, tag: the digest that it stands on
	rowTagged     detect.RowKind = "tagged"     // upstream, hint, repository, digest, tag: the same, the other way round
	rowManifest   detect.RowKind = "manifest"   // upstream, hint, repository, digest: what bellbuoy knows of a manifest
	rowRepository detect.RowKind = "repository" // upstream, repository: when it was first seen
	rowIndexed    detect.RowKind = "indexed"    // upstream, repository: every tag was read by bellbuoy index, and writes have been seen since
	rowChart      detect.RowKind = "chart"      // upstream, tenant, file: the chart that the file holds; upstream, path: an archive that lies elsewhere, with no name where it is none
)

// BoundedKinds are the kinds of row of which the least recently seen may be dropped: the tag index. All others end by themselves.
func BoundedKinds() []detect.RowKind {
	return []detect.RowKind{rowTag, rowTagged, rowManifest, rowRepository, rowIndexed, rowChart}
}

const separator = "\x1f"

// rowKey names a row by its parts.
func rowKey(kind detect.RowKind, parts ...string) detect.Key {
	for _, p := range parts {
		if !plain(p) {
			return detect.Key{Kind: kind, ID: joinEscaped(parts)}
		}
	}
	return detect.Key{Kind: kind, ID: strings.Join(parts, separator)}
}

// plain tells whether a part can stand in an ID as it is.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == '%' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

func joinEscaped(parts []string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteString(separator)
		}
		for j := 0; j < len(p); j++ {
			if c := p[j]; c < ' ' || c == '%' || c >= 0x7f {
				b.WriteByte('%')
				b.WriteByte(digits[c>>4])
				b.WriteByte(digits[c&15])
			} else {
				b.WriteByte(c)
			}
		}
	}
	return b.String()
}

// scope names what commits must exclude each other in: an upstream's repository.
func scope(upstream, repository string) string { return upstream + "/" + repository }

// scopeOf is the scope of a row whose ID begins with upstream, hint and repository.
func scopeOf(k detect.Key) string {
	parts := strings.SplitN(k.ID, separator, 4)
	if len(parts) < 3 {
		return k.ID
	}
	return scope(parts[0], parts[2])
}

// place is where a registry's manifests live. A chart's tenant is a place too.
type place struct {
	Upstream   string `json:"up"`
	Hint       string `json:"ns,omitempty"`
	Repository string `json:"repo"`
}

func (p place) scope() string { return scope(p.Upstream, p.Repository) }

func (p place) key(kind detect.RowKind, parts ...string) detect.Key {
	return rowKey(kind, append([]string{p.Upstream, p.Hint, p.Repository}, parts...)...)
}

func (p place) repositoryKey() detect.Key { return rowKey(rowRepository, p.Upstream, p.Repository) }
func (p place) chartKey(file string) detect.Key {
	return rowKey(rowChart, p.Upstream, p.Repository, file)
}

// archiveKey is the chart that lies at a path. It begins with a slash, and no tenant does.
func (p place) archiveKey(path string) detect.Key { return rowKey(rowChart, p.Upstream, path) }

func (p place) tagKey(tag string) detect.Key {
	return rowKey(rowTag, p.Upstream, p.Hint, p.Repository, tag)
}
func (p place) manifestKey(d string) detect.Key {
	return rowKey(rowManifest, p.Upstream, p.Hint, p.Repository, d)
}
func (p place) taggedPrefix(d string) detect.Key {
	return rowKey(rowTagged, p.Upstream, p.Hint, p.Repository, d, "")
}
func (p place) taggedKey(d, tag string) detect.Key { return p.key(rowTagged, d, tag) }
func (p place) heldKey(digest string) detect.Key   { return p.key(rowHeld, digest) }

// tagOf is the tag of a row of kind tagged.
func tagOf(k detect.Key) string { return k.ID[strings.LastIndex(k.ID, separator)+1:] }
