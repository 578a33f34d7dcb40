package detect

import (
	"slices"
	"strings"
)

// wireManifest is what is read of images, artifacts and indexes alike.
type wireManifest struct {
	jsonReader
	schemaVersion int64
	mediaType     string
	artifactType  string
	config        *descriptor
	subject       *descriptor
	layers        blobList
	blobs         blobList // of the withdrawn OCI artifact manifest, still in registries
	manifests     childList
	annotations   annotations
}

// descriptor is what is read of a descriptor.
type descriptor struct {
	mediaType, artifactType, digest, platform string
	size                                      int64
}

// blobList is what is kept of a list of descriptors of blobs.
type blobList struct {
	there     bool // the manifest has the list, even if it is empty
	digests   []string
	sizes     []int64
	firstType string // media type of the first one
	count     int
	size      int64
}

// childList is what is kept of a list of manifests.
type childList struct {
	there  bool
	list   []Child
	bytes  int
	others []string
	lost   bool // there are more children than list and others can hold
	size   int64
}

type annotations struct {
	kept      map[string]string // nil if they are more or longer than an event may carry
	bytes     int
	over      bool
	predicate string // what a Sigstore bundle attests
}

// read reads the members of a manifest.
func (w *wireManifest) read() {
	if !w.enter('{') {
		return
	}
	for w.more() {
		switch name := w.text(maxType); {
		case is(name, "schemaVersion"):
			w.schemaVersion = w.integer()
		case is(name, "mediaType"):
			w.mediaType = w.typeName()
		case is(name, "artifactType"):
			w.artifactType = w.typeName()
		case is(name, "config"):
			w.config = w.optional()
		case is(name, "subject"):
			w.subject = w.optional()
		case is(name, "layers"):
			w.layers = w.readBlobs()
		case is(name, "blobs"):
			w.blobs = w.readBlobs()
		case is(name, "manifests"):
			w.manifests = w.readChildren()
		case is(name, "annotations"):
			w.annotations = w.readAnnotations()
		default:
			w.skip()
		}
	}
}

// is compares the name of a member without regard to case, as encoding/json does: registries read
// manifests with it.
func is(name, field string) bool { return strings.EqualFold(name, field) }

// typeName reads a media type. It returns "" for what cannot be one.
func (w *wireManifest) typeName() string { return plainText(w.text(maxType)) }

// plainText returns s, or "" if it has characters that no type, platform or digest has.
func plainText(s string) string {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '<' || c == '>' || c == '&' || c == '"' || c == '\\' {
			return ""
		}
	}
	return s
}

// optional reads a descriptor that may be null.
func (w *wireManifest) optional() *descriptor {
	if w.next() == 'n' {
		w.skip()
		return nil
	}
	var d descriptor
	w.descriptor(&d, true)
	return &d
}

// descriptor reads a descriptor: all of it with details, else its digest and size.
func (w *wireManifest) descriptor(d *descriptor, details bool) {
	*d = descriptor{}
	if !w.enter('{') {
		return
	}
	for w.more() {
		switch name := w.text(maxType); {
		case is(name, "digest"):
			if s := plainText(w.text(MaxDigest)); s == "" || IsDigest(s) {
				d.digest = s
			}
		case is(name, "size"):
			d.size = max(w.integer(), 0)
		case details && is(name, "mediaType"):
			d.mediaType = w.typeName()
		case details && is(name, "artifactType"):
			d.artifactType = w.typeName()
		case details && is(name, "platform"):
			d.platform = w.platform()
		default:
			w.skip()
		}
	}
}

// platform returns os/arch[/variant].
func (w *wireManifest) platform() string {
	if !w.enter('{') {
		return ""
	}
	var system, architecture, variant string
	for w.more() {
		switch name := w.text(maxType); {
		case is(name, "os"):
			system = plainText(w.text(maxPlatform))
		case is(name, "architecture"):
			architecture = plainText(w.text(maxPlatform))
		case is(name, "variant"):
			variant = plainText(w.text(maxPlatform))
		default:
			w.skip()
		}
	}
	switch {
	case system == "" && architecture == "":
		return ""
	case variant != "":
		return system + "/" + architecture + "/" + variant
	}
	return system + "/" + architecture
}

func (w *wireManifest) readBlobs() (l blobList) {
	if !w.enter('[') {
		return l
	}
	l.there = true
	var d descriptor
	for w.more() {
		w.descriptor(&d, l.count == 0)
		if l.count == 0 {
			l.firstType = d.mediaType
		}
		if l.count++; l.count <= maxLayers {
			l.digests, l.sizes = append(l.digests, d.digest), append(l.sizes, d.size)
		}
		l.size = addSize(l.size, d.size)
	}
	return l
}

func (w *wireManifest) readChildren() (l childList) {
	if !w.enter('[') {
		return l
	}
	l.there = true
	var d descriptor
	for w.more() {
		room := len(l.list) < maxChildren && l.bytes < maxChildBytes && len(l.others) == 0
		w.descriptor(&d, room)
		l.size = addSize(l.size, d.size)
		switch {
		case room:
			l.bytes += len(d.digest) + len(d.mediaType) + len(d.artifactType) + len(d.platform)
			l.list = append(l.list, Child{d.digest, d.mediaType, d.artifactType, d.platform, d.size})
		case d.digest == "":
		case len(l.others) < maxOthers:
			l.others = append(l.others, d.digest)
		default:
			l.lost = true
		}
	}
	slices.Sort(l.others)
	return l
}

// readAnnotations returns all annotations, or none.
func (w *wireManifest) readAnnotations() (a annotations) {
	if !w.enter('{') {
		return a
	}
	for w.more() {
		name, long := w.textOrLonger(maxAnnotations)
		value, longer := w.textOrLonger(maxAnnotations)
		if name == "dev.sigstore.bundle.predicateType" {
			a.predicate = value
		}
		a.bytes += len(name) + len(value)
		if a.over = a.over || long || longer || a.bytes > maxAnnotations || len(a.kept) >= maxNotes; a.over {
			a.kept = nil
			continue
		}
		if a.kept == nil {
			a.kept = map[string]string{}
		}
		a.kept[name] = value
	}
	return a
}
