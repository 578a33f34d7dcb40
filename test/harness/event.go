package harness

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Yes is a pointer to true, for Event.Changed and Event.Complete.
func Yes() *bool { return new(true) }

// No is a pointer to false.
func No() *bool { return new(false) }

// of is what every event of an artifact in a repository has.
func of(kind, repository string, a Artifact) Event {
	e := Event{Repository: repository, Digest: a.Digest.String(), Kind: "image", Size: a.TotalSize(), Type: kind}
	e.Namespace, e.Name = "library", repository
	if namespace, name, ok := strings.Cut(repository, "/"); ok {
		e.Namespace, e.Name = namespace, name
	}
	if len(a.Children) > 0 {
		e.Kind = "index"
		for _, child := range a.Children {
			e.Platforms = append(e.Platforms, child.Platform.OS+"/"+child.Platform.Architecture)
		}
		slices.Sort(e.Platforms)
	}
	return e
}

// Pushed is a first push of tags; none: by digest.
func Pushed(repository string, a Artifact, tags ...string) Event {
	e := of("PUSH_ARTIFACT", repository, a)
	e.Tags, e.Changed = sortedTags(tags), Yes()
	return e
}

// Pulled is a pull of a tag with its layers. The digest has the other tags too.
func Pulled(repository string, a Artifact, tag string, others ...string) Event {
	e := of("PULL_ARTIFACT", repository, a)
	e.Tags, e.TagAsked, e.Moved = sortedTags(append(others, tag)), tag, "layers"
	return e
}

// Deleted is a delete by digest that takes tags with it, in a repository whose tags nobody has
// listed: there may be more of them.
func Deleted(repository string, a Artifact, tags ...string) Event {
	e := of("DELETE_ARTIFACT", repository, a)
	e.Tags, e.Complete = sortedTags(tags), No()
	return e
}

// AllTags is e of a delete in a repository whose tags a client has listed, all of them known.
func (e Event) AllTags() Event {
	e.Complete = Yes()
	return e
}

// Untagged is a delete of a tag.
func Untagged(repository string, a Artifact, tag string) Event {
	e := of("DELETE_TAG", repository, a)
	e.Tags = []string{tag}
	return e
}

// Charted is an event of a chart in a ChartMuseum; tenant is "" for the only one.
func Charted(kind, tenant, name, version string, archive []byte) Event {
	e := Event{Type: kind, Name: name, Namespace: tenant, Kind: "chart", Tags: []string{version}, Chart: &Chart{Name: name, Version: version}}
	if tenant == "" {
		e.Namespace = "library"
	}
	e.Repository = e.Namespace + "/" + name
	e.Digest, e.Size = digest.FromBytes(archive).String(), int64(len(archive))
	return e
}

// By is e by an operator.
func (e Event) By(operator string) Event {
	e.Operator = operator
	return e
}

// Unchanged is e of a push that changed nothing.
func (e Event) Unchanged() Event {
	e.Changed = No()
	return e
}

// ManifestRead is e of a pull that read the manifest alone.
func (e Event) ManifestRead() Event {
	e.Moved = "manifest"
	return e
}

// AsInferred is e of an outcome that was looked up afterwards.
func (e Event) AsInferred() Event {
	e.Inferred = true
	return e
}

// Chosen is e of a pull of an index that took these platforms.
func (e Event) Chosen(platforms ...string) Event {
	e.Platforms = platforms
	return e
}

var somePlatforms = []string{"some"}

// ChosenSome is e of a pull of an index by a client that reads several children at once: chance
// decides how many of them it has read when the pull is decided.
func (e Event) ChosenSome() Event { return e.Chosen(somePlatforms...) }

// ByDigest is e of a pull that names no tag.
func (e Event) ByDigest() Event {
	e.TagAsked = ""
	return e
}

// Moving is e of a push of a tag that stood elsewhere before.
func (e Event) Moving(from Artifact) Event {
	e.Previous = from.Digest.String()
	return e
}

// With is e as changed by a function.
func (e Event) With(change func(*Event)) Event {
	change(&e)
	return e
}

func sortedTags(tags []string) []string {
	out := slices.Clone(tags)
	slices.Sort(out)
	if out == nil {
		out = []string{}
	}
	return slices.Compact(out)
}
