package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect/quota"
)

// projectOf is a repository's project: its first segment; "library" where it has one segment only, or none.
func projectOf(repository string) string { return quota.Project(repository) }

// Magic numbers of file systems that forget (statfs(2)).
const (
	tmpfsMagic   = 0x01021994
	overlayMagic = 0x794c7630
)

// placeWarnings says what is wrong with the place of data_dir: everybody may write to it, or its content does not survive.
func placeWarnings(c *config.Config) (w config.Warnings) {
	if info, err := os.Stat(c.DataDir); err == nil && info.Mode().Perm()&0o002 != 0 {
		w = append(w, c.Warning("data_dir", fmt.Sprintf("everybody may write to %s: whoever can log in here can take bellbuoy's files away and put others in their place; chmod o-w", c.DataDir)))
	}
	if c.Database != "" {
		return w
	}
	var fs unix.Statfs_t
	if unix.Statfs(existing(c.DataDir), &fs) != nil {
		return w // opening the store will say what is wrong
	}
	switch uint32(fs.Type) {
	case tmpfsMagic:
		w = append(w, c.Warning("data_dir", fmt.Sprintf("%s is on tmpfs: events that are not yet delivered are gone when the machine stops", c.DataDir)))
	case overlayMagic:
		w = append(w, c.Warning("data_dir", fmt.Sprintf("%s is inside the container's own file system: events that are not yet delivered are gone when the container is replaced; mount a volume there", c.DataDir)))
	}
	return w
}

// existing is dir or the nearest directory above it that is there.
func existing(dir string) string {
	for dir != "" && dir != "/" && dir != "." {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil {
			return dir
		}
		i := strings.LastIndexByte(dir, '/')
		if i < 0 {
			return "."
		}
		dir = dir[:i]
	}
	if dir == "" {
		return "/"
	}
	return dir
}
