package media

import (
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/jobs"
)

// need is what a class takes that is restored.
type need struct {
	bytes int64 // of files without holes: how much of the others is none is not known
	made  int64 // files, folders, links and the like that are not there yet
}

// need counts what is to be written.
func (n *tally) need(d *difference, bytes int64) {
	if n.needs == nil {
		n.needs = map[string]need{}
	}
	class := ClassOf(d.path)
	c := n.needs[class]
	if !d.want.Sparse {
		c.bytes += bytes
	}
	if d.have == nil {
		c.made++
	}
	n.needs[class] = c
}

// room says which disk is too small; empty if none is, or nobody knows. A class
// may be a volume of its own.
func (f *Filler) room(n *tally) string {
	top, dev := nearest(f.opt.Dir)
	if top == "" {
		return ""
	}
	by := map[string]need{}
	for class, more := range n.needs {
		dir := top
		var st unix.Stat_t
		own := filepath.Join(f.opt.Dir, class)
		if unix.Lstat(own, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Dev != dev {
			dir = own
		}
		by[dir] = need{by[dir].bytes + more.bytes, by[dir].made + more.made}
	}
	dirs := make([]string, 0, len(by))
	for dir := range by {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	for _, dir := range dirs {
		if text := by[dir].tooMuch(dir); text != "" {
			return text
		}
	}
	return ""
}

// nearest is a folder or, where it is not there yet, what it will lie in, and
// the device.
func nearest(dir string) (string, uint64) {
	for {
		var st unix.Stat_t
		up := filepath.Dir(dir)
		switch {
		case unix.Stat(dir, &st) == nil:
			return dir, st.Dev
		case up == dir:
			return "", 0
		}
		dir = up
	}
}

// tooMuch says that a folder's disk has no room for what is needed.
func (c need) tooMuch(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return ""
	}
	free := int64(min(st.Bavail, 1<<40)) * st.Bsize
	switch {
	case c.bytes > free:
		return fmt.Sprintf("%s has room for %s, and the media to be written are %s: free %s, or choose another --media-path",
			dir, jobs.Size(free), jobs.Size(c.bytes), jobs.Size(c.bytes-free))
	case st.Files > 0 && uint64(c.made) > st.Ffree:
		return fmt.Sprintf("%s has room for %s, and %s are to be made: its file system has no more inodes",
			dir, jobs.Count(int64(st.Ffree), "file"), jobs.Count(c.made, ""))
	}
	return ""
}

// sync returns when what was written survives a loss of power: all at once, not
// file by file. A class may be a volume of its own.
func (p *place) sync(classes []string) error {
	for _, class := range classes {
		if err := p.syncClass(class); err != nil {
			return err
		}
	}
	return unix.Syncfs(p.fd)
}

func (p *place) syncClass(class string) error {
	fd, err := p.at(class, unix.O_RDONLY|unix.O_DIRECTORY)
	if replaceable(err) {
		return nil // nothing is in it
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Dev == p.id.Dev {
		return err
	}
	return unix.Syncfs(fd)
}
