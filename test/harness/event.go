package harness

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Yes returns a pointer to true, for Event.Changed and Event.Complete.
func Yes() *bool { return new(true) }

// No returns a pointer to false.
func No() *bool { return new(false) }

// of returns an event with the fields that every event of an artifact in a repository has.
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

// Pushed returns the event of a first push of tags; without tags, of a push by digest.
func Pushed(repository string, a Artifact, tags ...string) Event {
	e := of("PUSH_ARTIFACT", repository, a)
	e.Tags, e.Changed = sortedTags(tags), Yes()
	return e
}

// Pulled returns the event of a pull of a tag with its layers. others are further tags of the
// digest.
func Pulled(repository string, a Artifact, tag string, others ...string) Event {
	e := of("PULL_ARTIFACT", repository, a)
	e.Tags, e.TagAsked, e.Moved = sortedTags(append(others, tag)), tag, "layers"
	return e
}

// Deleted returns the event of a delete by digest, with the known tags. No client has listed the
// tags of the repository, so there may be more.
func Deleted(repository string, a Artifact, tags ...string) Event {
	e := of("DELETE_ARTIFACT", repository, a)
	e.Tags, e.Complete = sortedTags(tags), No()
	return e
}

// AllTags returns e, of a delete in a repository whose tags a client has listed: all are known.
func (e Event) AllTags() Event {
	e.Complete = Yes()
	return e
}

// Untagged returns the event of a delete of a tag.
func Untagged(repository string, a Artifact, tag string) Event {
	e := of("DELETE_TAG", repository, a)
	e.Tags = []string{tag}
	return e
}

// Charted returns an event of a chart in a ChartMuseum; tenant is "" if there is only one.
func Charted(kind, tenant, name, version string, archive []byte) Event {
	e := Event{Type: kind, Name: name, Namespace: tenant, Kind: "chart", Tags: []string{version}, Chart: &Chart{Name: name, Version: version}}
	if tenant == "" {
		e.Namespace = "library"
	}
	e.Repository = e.Namespace + "/" + name
	e.Digest, e.Size = digest.FromBytes(archive).String(), int64(len(archive))
	return e
}

// By returns e with an operator.
func (e Event) By(operator string) Event {
	e.Operator = operator
	return e
}

// Unchanged returns e, of a push that changed nothing.
func (e Event) Unchanged() Event {
	e.Changed = No()
	return e
}

// ManifestRead returns e, of a pull that read only the manifest.
func (e Event) ManifestRead() Event {
	e.Moved = "manifest"
	return e
}

// AsInferred returns e, of a write whose outcome was looked up.
func (e Event) AsInferred() Event {
	e.Inferred = true
	return e
}

// Chosen returns e, of a pull of an index that read these platforms.
func (e Event) Chosen(platforms ...string) Event {
	e.Platforms = platforms
	return e
}

var somePlatforms = []string{"some"}

// ChosenSome returns e, of a pull of an index by a client that reads several children at once: when
// the pull is decided, it may have read any number of them.
func (e Event) ChosenSome() Event { return e.Chosen(somePlatforms...) }

// ByDigest returns e, of a pull that names no tag.
func (e Event) ByDigest() Event {
	e.TagAsked = ""
	return e
}

// Moving returns e, of a push of a tag that stood on another artifact before.
func (e Event) Moving(from Artifact) Event {
	e.Previous = from.Digest.String()
	return e
}

// With returns e as changed by a function.
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
