package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bellbuoy/bellbuoy/config"
)

// Magic numbers of file systems whose content is temporary (statfs(2)).
const (
	tmpfsMagic   = 0x01021994
	overlayMagic = 0x794c7630
)

// dataDirWarnings warns if everybody may write to data_dir, or if its content is temporary.
func dataDirWarnings(c *config.Config) (w config.Warnings) {
	if info, err := os.Stat(c.DataDir); err == nil && info.Mode().Perm()&0o002 != 0 {
		w = append(w, c.Warning("data_dir", fmt.Sprintf("everybody may write to %s, so any user of this machine can replace bellbuoy's files; chmod o-w", c.DataDir)))
	}
	if c.Database != "" {
		return w
	}
	var fs unix.Statfs_t
	if unix.Statfs(nearestExisting(c.DataDir), &fs) != nil {
		return w // opening the store reports the problem
	}
	switch uint32(fs.Type) {
	case tmpfsMagic:
		w = append(w, c.Warning("data_dir", fmt.Sprintf("%s is on tmpfs: pending events are lost when the machine stops", c.DataDir)))
	case overlayMagic:
		w = append(w, c.Warning("data_dir", fmt.Sprintf("%s is inside the container's own file system: pending events are lost when the container is replaced; mount a volume there", c.DataDir)))
	}
	return w
}

// nearestExisting returns dir, or the nearest directory above it that exists.
func nearestExisting(dir string) string {
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
