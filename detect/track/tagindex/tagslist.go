package tagindex

import (
	"context"
	"encoding/json"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// relistAfter is how soon the tags of a repository are compared with a list again, if the last list
// named a tag that was not known.
const relistAfter = 10 * time.Second

// comparedList is cached under the key of a repository: whether every tag of its last list was
// known.
type comparedList bool

// observeTagsList compares a whole list of the tags of a repository, which an upstream has answered
// to a client, with the tags that are known. If each of them is known the repository counts as
// indexed, and if one is not it no longer does.
func (t *Index) observeTagsList(op *detect.Operation) {
	p, at, body := PlaceOf(op), op.At, op.Got.Bytes
	if body == nil || p.Hint != "" {
		return
	}
	k := p.indexedKey()
	last, compared, ok := get[comparedList](t.rows, k)
	if since := time.Since(compared); ok && (since < relistAfter || bool(last) && since < freshness) {
		return
	}
	if !t.laterWith(len(body), func(ctx context.Context) { t.compareList(ctx, p, body, at) }) {
		return
	}
	t.rows.set(k, comparedList(false)) // until it is compared
}

// compareList stores whether every tag of a list is known. at is when the list was asked for. If
// the store fails, nothing changes.
func (t *Index) compareList(ctx context.Context, p Place, body []byte, at time.Time) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var list struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	if json.Unmarshal(body, &list) != nil || list.Name == "" || len(list.Tags) > MaxTags {
		return
	}
	complete, indexed := false, false
	err := t.ledger.View(ctx, func(v detect.View) (err error) {
		if _, indexed, err = v.Get(p.indexedKey()); err != nil {
			return err
		}
		complete, err = knowsAll(v, p, list.Tags, at)
		return err
	})
	if err != nil {
		return
	}
	t.rows.set(p.indexedKey(), comparedList(complete))
	if complete == indexed {
		return
	}
	_ = t.ledger.Commit(ctx, p.Scope(), func(detect.View) (c detect.Changes, _ error) {
		if complete {
			c.Put = []detect.Row{{Key: p.indexedKey(), Seen: time.Now()}}
		} else {
			c.Delete = []detect.Key{p.indexedKey()}
		}
		return c, nil // a list that is not stored is compared again later
	})
}

// knowsAll reports whether the rows say of every tag of a list on which digest it stands, or that
// it was written after the list was asked for.
func knowsAll(v detect.View, p Place, tags []string, at time.Time) (bool, error) {
	rows, err := v.Scan(rowTag, p.TagKey("").ID, MaxTags)
	if err != nil {
		return false, err
	}
	known := make(map[string]bool, len(rows))
	for _, row := range rows {
		var tag TagRow
		known[row.ID] = json.Unmarshal(row.Value, &tag) == nil && (tag.Digest != "" || tag.At.After(at))
	}
	for _, tag := range tags {
		if !known[p.TagKey(tag).ID] {
			return false, nil
		}
	}
	return true, nil
}
