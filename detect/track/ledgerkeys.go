package track

import (
	"strings"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/detect"
)

// The kinds of row that the tracker keeps, and the parts of their IDs. The parts are joined with an
// information separator, which no part can hold. After the colon: what the row stands for, and how
// long it lives.
const (
	// upstream, hint, repository, reference, client, intent: a write; until its outcome is
	// known, or 7 days
	rowIntent detect.RowKind = "intent"
	// upstream, hint, repository, reference, digest, action, client: a write that was settled
	// without an answer, so that a retry joins it; 10 min. With an intent instead of the
	// client: one that was given up
	rowSettled detect.RowKind = "done"
	// upstream, hint, repository, reference, digest, client: a push whose answer the client may
	// not have got; 10 min at most
	rowAnswer detect.RowKind = "answer"
	// upstream, hint, repository, digest[, tag]: an event that waits: of a push by digest; with
	// a tag, of what may be a dummy of regctl
	rowHeld detect.RowKind = "held"
	// upstream, hint, repository, tag, client: the DELETE of a tag that the upstream refused;
	// 60 s
	rowRefused detect.RowKind = "refused"
	// upstream, hint, repository, client: a push that is under way at some replica; as long as
	// it is
	rowBusy detect.RowKind = "busy"
	// upstream, hint, repository, tag: the digest that it stands on
	rowTag detect.RowKind = "tag"
	// upstream, hint, repository, digest, tag: a tag that stands on the digest
	rowTagged detect.RowKind = "tagged"
	// upstream, hint, repository, digest: what bellbuoy knows of a manifest
	rowManifest   detect.RowKind = "manifest"
	rowRepository detect.RowKind = "repository" // upstream, repository: when it was first seen
	// upstream, repository: every tag was read by bellbuoy index, and writes have been seen
	// since
	rowIndexed detect.RowKind = "indexed"
	// upstream, tenant, file: the chart in the file. upstream, path: the chart in an archive
	// that lies elsewhere, without a name if the archive is no chart
	rowChart detect.RowKind = "chart"
)

// BoundedKinds returns the kinds of row that form the tag index: their least recently seen rows may
// be dropped. The rows of all other kinds end by themselves.
func BoundedKinds() []detect.RowKind {
	return []detect.RowKind{rowTag, rowTagged, rowManifest, rowRepository, rowIndexed, rowChart}
}

const separator = "\x1f"

// rowKey makes the key of a row of its parts.
func rowKey(kind detect.RowKind, parts ...string) detect.Key {
	for _, p := range parts {
		if !plain(p) {
			return detect.Key{Kind: kind, ID: joinEscaped(parts)}
		}
	}
	return detect.Key{Kind: kind, ID: strings.Join(parts, separator)}
}

// plain reports whether a part can stand in an ID as it is.
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

// scope returns the scope of the commits of a repository: the ledger runs one of them at a time.
func scope(upstream, repository string) string { return upstream + "/" + repository }

// scopeOf is the scope of a row whose ID begins with upstream, hint and repository.
func scopeOf(k detect.Key) string {
	parts := strings.SplitN(k.ID, separator, 4)
	if len(parts) < 3 {
		return k.ID
	}
	return scope(parts[0], parts[2])
}

// place is where the manifests of a repository are. The tenant of a chart is a place too.
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

// archiveKey is the key of a chart by the path of its archive. A path begins with a slash, and no
// tenant does.
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

// tagOf returns the tag in the key of a row of kind tagged.
func tagOf(k detect.Key) string { return k.ID[strings.LastIndex(k.ID, separator)+1:] }
