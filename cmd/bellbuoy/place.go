package main

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bellbuoy/bellbuoy/config"
)

// projectOf is a repository's project: its first segment; "library" where it has one segment only, or none.
func projectOf(repository string) string {
	project, _, ok := strings.Cut(repository, "/")
	if !ok {
		return "library"
	}
	return project
}

// Magic numbers of file systems that forget (statfs(2)).
const (
	tmpfsMagic   = 0x01021994
	overlayMagic = 0x794c7630
)

// placeWarnings tells of a data_dir whose content does not survive what bellbuoy is there to survive.
func placeWarnings(c *config.Config) config.Warnings {
	if c.Database != "" {
		return nil
	}
	var fs unix.Statfs_t
	if unix.Statfs(existing(c.DataDir), &fs) != nil {
		return nil // opening the store will say what is wrong
	}
	switch uint32(fs.Type) {
	case tmpfsMagic:
		return config.Warnings{c.Warning("data_dir", fmt.Sprintf("%s is on tmpfs: events that are not yet delivered are gone when the machine stops", c.DataDir))}
	case overlayMagic:
		return config.Warnings{c.Warning("data_dir", fmt.Sprintf("%s is inside the container's own file system: events that are not yet delivered are gone when the container is replaced; mount a volume there", c.DataDir))}
	}
	return nil
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
