package quota

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Usages returns the usage of projects, ordered by upstream and project, at most limit of them. For
// a project that no longer has a quota it is the last recorded usage.
func Usages(v detect.View, limit int) ([]Usage, error) {
	rows, err := v.Scan(rowProject, "", limit)
	if err != nil {
		return nil, err
	}
	all := make([]Usage, 0, len(rows))
	for _, row := range rows {
		var u Usage
		if err := json.Unmarshal(row.Value, &u); err != nil {
			return nil, fmt.Errorf("reading the usage of a project: %w", err)
		}
		u.Upstream, u.Project, _ = strings.Cut(row.ID, separator)
		all = append(all, u)
	}
	return all, nil
}

// page is the number of rows in one read.
const page = 1000

// Counted calls yield with batches of the digests of the manifests that are counted in a
// repository, each once.
func Counted(v detect.View, upstream, repository string, yield func(digests []string) error) error {
	return counted(v, key(rowManifest, upstream, repository, "").ID, "", yield)
}

// counted calls yield with the digests that start with a prefix. If there are too many for one
// read, it calls itself with longer prefixes, because rows can only be read by prefix.
func counted(v detect.View, prefix, beginning string, yield func([]string) error) error {
	rows, err := v.Scan(rowManifest, prefix+beginning, page)
	if err != nil || len(rows) == 0 {
		return err
	}
	if len(rows) < page {
		digests := make([]string, 0, len(rows))
		for _, row := range rows {
			digests = append(digests, strings.TrimPrefix(row.ID, prefix))
		}
		return yield(digests)
	}
	for _, c := range "+.0123456789:=ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-" {
		if err := counted(v, prefix, beginning+string(c), yield); err != nil {
			return err
		}
	}
	return nil
}
