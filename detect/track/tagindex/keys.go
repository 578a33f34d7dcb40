package tagindex

import (
	"strings"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/detect"
)

// The kinds of row of the tag index, and the parts of their IDs. After the colon: what the row
// stands for.
const (
	// upstream, hint, repository, tag: the digest on which it stands
	rowTag detect.RowKind = "tag"
	// upstream, hint, repository, digest, tag: a tag that stands on the digest
	rowTagged detect.RowKind = "tagged"
	// upstream, hint, repository, digest: what bellbuoy knows of a manifest
	rowManifest detect.RowKind = "manifest"
	// upstream, repository: when it was first seen
	rowRepository detect.RowKind = "repository"
	// upstream, repository: every tag of it is known
	rowIndexed detect.RowKind = "indexed"
	// upstream, tenant, file: the chart in the file. upstream, path: the chart in an archive
	// that is not where ChartMuseum has it, without a name if the archive is no chart
	rowChart detect.RowKind = "chart"
)

// Kinds returns the kinds of row of the tag index. The ledger may drop their least recently seen
// rows.
func Kinds() []detect.RowKind {
	return []detect.RowKind{rowTag, rowTagged, rowManifest, rowRepository, rowIndexed, rowChart}
}

// Separator joins the parts of an ID. No part can hold it.
const Separator = "\x1f"

// RowKey makes the key of a row of its parts.
func RowKey(kind detect.RowKind, parts ...string) detect.Key {
	for _, p := range parts {
		if !plain(p) {
			return detect.Key{Kind: kind, ID: joinEscaped(parts)}
		}
	}
	return detect.Key{Kind: kind, ID: strings.Join(parts, Separator)}
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
			b.WriteString(Separator)
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

// ScopeOf returns the scope of a row whose ID begins with upstream, hint and repository.
func ScopeOf(k detect.Key) string {
	parts := strings.SplitN(k.ID, Separator, 4)
	if len(parts) < 3 {
		return k.ID
	}
	return scope(parts[0], parts[2])
}

// Place is where the manifests of a repository are. The tenant of a chart is a place too.
type Place struct {
	Upstream   string `json:"up"`
	Hint       string `json:"ns,omitempty"`
	Repository string `json:"repo"`
}

// PlaceOf returns the place that a request names.
func PlaceOf(op *detect.Operation) Place { return Place{op.Upstream, op.Hint, op.Repository} }

// Scope returns the scope of the commits of the place.
func (p Place) Scope() string { return scope(p.Upstream, p.Repository) }

// Key makes the key of a row whose ID begins with the place.
func (p Place) Key(kind detect.RowKind, parts ...string) detect.Key {
	return RowKey(kind, append([]string{p.Upstream, p.Hint, p.Repository}, parts...)...)
}

// RepositoryKey returns the key of a RepositoryRow.
func (p Place) RepositoryKey() detect.Key { return RowKey(rowRepository, p.Upstream, p.Repository) }

func (p Place) indexedKey() detect.Key { return RowKey(rowIndexed, p.Upstream, p.Repository) }

// ChartKey returns the key of the ChartRow of a file.
func (p Place) ChartKey(file string) detect.Key {
	return RowKey(rowChart, p.Upstream, p.Repository, file)
}

// ArchiveKey returns the key of a ChartRow by the path of its archive. A path begins with a slash,
// and no tenant does.
func (p Place) ArchiveKey(path string) detect.Key { return RowKey(rowChart, p.Upstream, path) }

// TagKey returns the key of a TagRow.
func (p Place) TagKey(tag string) detect.Key {
	return RowKey(rowTag, p.Upstream, p.Hint, p.Repository, tag)
}

// ManifestKey returns the key of a ManifestRow.
func (p Place) ManifestKey(digest string) detect.Key {
	return RowKey(rowManifest, p.Upstream, p.Hint, p.Repository, digest)
}

// taggedPrefix is what the keys of all tags on a digest begin with. In the cache it is the key of
// the list of these tags.
func (p Place) taggedPrefix(digest string) detect.Key {
	return RowKey(rowTagged, p.Upstream, p.Hint, p.Repository, digest, "")
}

func (p Place) taggedKey(digest, tag string) detect.Key { return p.Key(rowTagged, digest, tag) }

// tagOf returns the tag in the key of a row of kind tagged.
func tagOf(k detect.Key) string { return k.ID[strings.LastIndex(k.ID, Separator)+1:] }
