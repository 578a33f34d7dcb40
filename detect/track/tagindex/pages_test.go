package tagindex

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// pages has rows in the order of their IDs.
type pages []detect.Row

func (p pages) Page(_ context.Context, kind detect.RowKind, after string, limit int) ([]detect.Row, error) {
	rows := slices.DeleteFunc(slices.Clone(p), func(r detect.Row) bool { return r.Kind != kind || r.ID <= after })
	slices.SortFunc(rows, func(a, b detect.Row) int { return strings.Compare(a.ID, b.ID) })
	return rows[:min(len(rows), limit)], nil
}

// The pages together have every tag once, whatever its upstream's name, and none of a mirror or
// without a digest.
func TestPages(t *testing.T) {
	var rows pages
	put := func(upstream, hint, tag, digest string) {
		p := Place{Upstream: upstream, Hint: hint, Repository: "team/app"}
		rows = append(rows, NewRow(p.TagKey(tag), TagRow{Digest: digest}, time.Now()), NewRow(p.ManifestKey(digest), ManifestRow{}, time.Now()))
	}
	put("registry", "", "v1", "sha256:1")
	put("registry", "", "v2", "sha256:2")
	put("registry", "", "gone", "")
	put("registry", "docker.io", "v3", "sha256:3")
	put("réseau 100%", "", "v4", "sha256:4")
	for limit := 1; limit < 7; limit++ {
		var got []string
		for after, more := "", true; more; more = after != "" {
			page, next, err := Page(t.Context(), rows, after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("got %d tags, %v", len(page), err)
			}
			for _, s := range page {
				got = append(got, fmt.Sprint(s.Upstream, " ", s.Repository, ":", s.Tag, " ", s.Digest))
			}
			after = next
		}
		want := []string{"registry team/app:v1 sha256:1", "registry team/app:v2 sha256:2", "réseau 100% team/app:v4 sha256:4"}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("in pages of %d: %q, want %q", limit, got, want)
		}
	}
}
