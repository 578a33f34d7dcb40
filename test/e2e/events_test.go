package e2e

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// The events that tests expect, from what was pushed. With changes them.

func yes() *bool { return new(true) }
func no() *bool  { return new(false) }

// of is what every event of an artifact in a repository has.
func of(kind, repository string, a harness.Artifact) event {
	e := event{Repository: repository, Digest: a.Digest.String(), Kind: "image", Size: a.TotalSize(), Type: kind}
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

// pushed is a first push of tags; none: by digest.
func pushed(repository string, a harness.Artifact, tags ...string) event {
	e := of("PUSH_ARTIFACT", repository, a)
	e.Tags, e.Changed = sortedTags(tags), yes()
	return e
}

// pulled is a pull of a tag with its layers. The digest has the other tags too.
func pulled(repository string, a harness.Artifact, tag string, others ...string) event {
	e := of("PULL_ARTIFACT", repository, a)
	e.Tags, e.TagAsked, e.Moved = sortedTags(append(others, tag)), tag, "layers"
	return e
}

// deleted is a delete by digest that takes tags with it, in a repository that was never indexed: there may be more of them.
func deleted(repository string, a harness.Artifact, tags ...string) event {
	e := of("DELETE_ARTIFACT", repository, a)
	e.Tags, e.Complete = sortedTags(tags), no()
	return e
}

// untagged is a delete of a tag.
func untagged(repository string, a harness.Artifact, tag string) event {
	e := of("DELETE_TAG", repository, a)
	e.Tags = []string{tag}
	return e
}

// charted is an event of a chart in a ChartMuseum; tenant is "" for the only one.
func charted(kind, tenant, name, version string, archive []byte) event {
	e := event{Type: kind, Name: name, Namespace: tenant, Kind: "chart", Tags: []string{version}, Chart: &chart{Name: name, Version: version}}
	if tenant == "" {
		e.Namespace = "library"
	}
	e.Repository = e.Namespace + "/" + name
	e.Digest, e.Size = digest.FromBytes(archive).String(), int64(len(archive))
	return e
}

func (e event) by(operator string) event {
	e.Operator = operator
	return e
}

func (e event) unchanged() event {
	e.Changed = no()
	return e
}

func (e event) manifest() event {
	e.Moved = "manifest"
	return e
}

func (e event) inferred() event {
	e.Inferred = true
	return e
}

// chosen are the platforms that a pull of an index took.
func (e event) chosen(platforms ...string) event {
	e.Platforms = platforms
	return e
}

// with changes an event.
func (e event) with(change func(*event)) event {
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

func sortedStrings(s []string) []string {
	slices.Sort(s)
	return s
}
