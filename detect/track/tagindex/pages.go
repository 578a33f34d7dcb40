package tagindex

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Pager reads rows in pages.
type Pager interface {
	// Page returns the rows of a kind, ordered by ID, beginning behind after.
	Page(ctx context.Context, kind detect.RowKind, after string, limit int) ([]detect.Row, error)
}

// TagStanding is a tag and the digest on which it stands.
type TagStanding struct{ Upstream, Repository, Tag, Digest string }

// Page returns tags behind a cursor, at most limit, and the cursor behind them. The first cursor
// is "", and so is the one behind the last tag. Tags of mirrors, and those on which nothing stands,
// are left out.
func Page(ctx context.Context, rows Pager, after string, limit int) (page []TagStanding, next string, err error) {
	all, err := rows.Page(ctx, rowTag, after, limit)
	if err != nil {
		return nil, after, err
	}
	for _, row := range all {
		parts := split(row.ID)
		var value TagRow
		if len(parts) == 4 && parts[1] == "" && json.Unmarshal(row.Value, &value) == nil && value.Digest != "" {
			page = append(page, TagStanding{Upstream: parts[0], Repository: parts[2], Tag: parts[3], Digest: value.Digest})
		}
	}
	if len(all) == limit {
		next = all[limit-1].ID
	}
	return page, next, nil
}

// split undoes what RowKey does.
func split(id string) []string {
	parts := strings.Split(id, Separator)
	for i, p := range parts {
		if plain, err := url.PathUnescape(p); err == nil {
			parts[i] = plain
		}
	}
	return parts
}
