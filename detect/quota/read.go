package quota

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Usages are what projects use, in order of upstream and project, at most limit of them; also of
// projects that have a quota no longer, as it was when they had.
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

// page is how many rows are read at once.
const page = 1000

// Counted calls yield with the digests of the manifests that are counted in a repository, some at a
// time, each once.
func Counted(v detect.View, upstream, repository string, yield func(digests []string) error) error {
	return counted(v, key(rowManifest, upstream, repository, "").ID, "", yield)
}

// counted calls yield with the digests that begin with some characters. Where these are too many,
// one more character is put behind them: rows can be read by their beginning only.
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
