package tagindex

import (
	"github.com/bellbuoy/bellbuoy/detect"
)

// lesson makes rows of the observations of one scope, within a transaction.
type lesson struct {
	*Transaction
	decided map[detect.Key]bool // the keys of the rows that a newer observation has decided
}

// Learn makes rows of observations of one scope. The newest decides its rows, and older ones leave
// these alone.
func (tx *Transaction) Learn(list []Observation) error {
	l := lesson{tx, map[detect.Key]bool{}}
	for i := len(list) - 1; i >= 0; i-- {
		if err := l.learn(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// decides reports whether no newer observation has decided a row.
func (tx lesson) decides(k detect.Key) bool {
	if tx.decided[k] {
		return false
	}
	tx.decided[k] = true
	return true
}

// learn makes rows of one observation. Later writes win over it.
func (tx lesson) learn(o *Observation) error {
	p := o.place()
	if k := p.RepositoryKey(); tx.decides(k) {
		if _, ok, err := tx.Get(k); err != nil {
			return err
		} else if !ok {
			tx.Store(NewRow(k, RepositoryRow{First: o.At}, tx.Now))
		}
	}
	if o.Tag != "" && tx.decides(p.TagKey(o.Tag)) {
		if err := tx.learnTag(p, o); err != nil {
			return err
		}
	}
	if k := p.ManifestKey(o.Digest); tx.decides(k) {
		return tx.learnManifest(p, o, k)
	}
	return nil
}

func (tx lesson) learnTag(p Place, o *Observation) error {
	row, ok, err := Read[TagRow](tx, p.TagKey(o.Tag))
	if err != nil {
		return err
	}
	if ok && row.At.After(o.At) {
		return nil
	}
	if ok && o.Read && row.Digest != "" && row.Digest != o.Digest {
		stood, known, err := Read[ManifestRow](tx, p.ManifestKey(row.Digest))
		if err != nil || known && stood.Artifact.IsIndex() && !o.isIndex() {
			return err // some registries answer with an image instead of an index, by Accept
		}
	}
	_, err = tx.PutTag(p, o.Tag, TagRow{Digest: o.Digest, At: o.At})
	return err
}

func (o *Observation) isIndex() bool {
	if o.Manifest != nil {
		return o.Manifest.IsIndex()
	}
	return detect.IsIndexType(o.MediaType)
}

func (tx lesson) learnManifest(p Place, o *Observation, k detect.Key) error {
	known, ok, err := Read[ManifestRow](tx, k)
	if err != nil {
		return err
	}
	_, suffix, fallback := detect.FallbackTag(o.Tag)
	book := o.isIndex() && fallback && suffix == "" && (!ok || known.Book)
	if o.Tag == "" {
		book = known.Book
	}
	switch {
	case o.Manifest != nil:
		known = *RowOf(o.Manifest)
		known.Book = book
	case ok && known.Artifact.Kind != "":
		// stored again: it was used
	default:
		known = ManifestRow{Artifact: detect.Artifact{MediaType: o.MediaType}, Book: book}
	}
	tx.PutManifest(p, o.Digest, &known, o.At, true)
	return nil
}
