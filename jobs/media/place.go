package media

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// place is the folder that media are restored to. It is safe for concurrent
// use.
type place struct {
	*tree
	run     string // makes the names of temporary files this run's
	files   atomic.Int64
	root    bool         // may give files to others
	unowned atomic.Int64 // paths whose owner could not be set
	cached  atomic.Bool  // the page cache can't be passed by
}

// folderMode is that of folders that no entry describes, and of all until they
// are filled.
const folderMode = 0o750

// openPlace opens the folder, and makes it unless it is there. fresh says that
// it is nobody's yet: as this run made it or one that was killed, or, as a new
// volume is, empty and root's, where Synapse could make no folder.
func openPlace(dir, run string) (p *place, fresh bool, err error) {
	if err := makePlace(dir); err != nil {
		return nil, false, err
	}
	t, err := openTree(dir)
	if err != nil {
		return nil, false, err
	}
	p = &place{tree: t, run: run, root: os.Geteuid() == 0}
	if int(t.id.Uid) != os.Geteuid() || !p.root && t.id.Mode&0o7777 != folderMode {
		return p, false, nil
	}
	names, err := os.ReadDir(dir)
	empty := !slices.ContainsFunc(names, func(d os.DirEntry) bool { return d.Name() != "lost+found" })
	return p, empty, err
}

// makePlace makes the folder unless it is there, and what it lies in, where
// Synapse's user has to get through: this process's umask would not let it.
func makePlace(dir string) error {
	var missing []string
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append(missing, at)
	}
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return err
	}
	mode := os.FileMode(folderMode)
	for _, at := range missing {
		if err := os.Chmod(at, mode); err != nil {
			return err
		}
		mode = 0o755 // what it lies in
	}
	return nil
}

// adopt gives the folder to whom the first of the entries belongs, and its mode
// if that is a folder: the point has no entry for the media folder itself, and
// root's own would keep Synapse out.
func (p *place) adopt(e *archive.Entry) error {
	p.own(p.fd, ".", e)
	if e.Kind == archive.KindFolder {
		if err := unix.Fchmod(p.fd, e.Mode); err != nil {
			return err
		}
	}
	return unix.Fstat(p.fd, &p.id) // folders that have no entry get its owner
}

// letsIn says whether the owner of an entry may make files in the folder.
func (p *place) letsIn(e *archive.Entry) bool {
	mode := p.id.Mode
	return int(p.id.Uid) == e.UID || e.UID == 0 || int(p.id.Gid) == e.GID && mode&0o020 != 0 || mode&0o002 != 0
}

// split cuts a path into folder and name.
func split(p string) (folder, name string) {
	folder, name = path.Split(p)
	return strings.TrimSuffix(folder, "/"), name
}

// in opens a folder, and makes it if it is not there or something else is in
// its place: a link there leads nobody out.
func (p *place) in(folder string) (int, error) { return p.enter(folder, false) }

// make makes a folder that an entry describes, unless it is there. Its mode is
// set in the end.
func (p *place) make(folder string) error {
	fd, err := p.enter(folder, true)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func (p *place) enter(folder string, described bool) (int, error) {
	fd, err := p.at(folder, unix.O_RDONLY|unix.O_DIRECTORY)
	if err == nil || folder == "" || !replaceable(err) {
		return fd, err
	}
	up, name := split(folder)
	dir, err := p.in(up)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	if err := makeFolder(dir, name); err != nil {
		return -1, err
	}
	if !described {
		if err := chmod(dir, name, folderMode); err != nil { // whatever the umask
			return -1, err
		}
	}
	p.own(dir, name, &archive.Entry{UID: -1, GID: -1})
	return openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
}

// replaceable says whether an error means that there is no folder of the name.
func replaceable(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR)
}

// makeFolder makes a folder, in the place of what is none.
func makeFolder(dir int, name string) error {
	for try := 1; ; try++ {
		err := unix.Mkdirat(dir, name, folderMode)
		if !errors.Is(err, unix.EEXIST) || try > 3 {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return nil
		}
		// ENOENT, EISDIR: another goroutine has done so.
		if err := unix.Unlinkat(dir, name, 0); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EISDIR) {
			return err
		}
	}
}

// fresh is a name for a temporary file.
func (p *place) fresh() string { return fmt.Sprintf("%s%s-%x", temporary, p.run, p.files.Add(1)) }

// finish gives a temporary file its attributes and its name.
func (p *place) finish(dir int, tmp, name string, e *archive.Entry) error {
	p.own(dir, tmp, e)
	if e.Kind != archive.KindLink {
		if err := chmod(dir, tmp, e.Mode); err != nil {
			return err
		}
	}
	if err := setTime(dir, tmp, e); err != nil {
		return err
	}
	err := unix.Renameat(dir, tmp, dir, name)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		// A folder is in its place: it goes if it is empty.
		if unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) != nil {
			return fmt.Errorf("%w: a folder that is not empty has its name", errRefused)
		}
		err = unix.Renameat(dir, tmp, dir, name)
	}
	return err
}

// chmod sets the mode of what is in a folder, and never that of what a link
// leads to: who may write to the folder could put one there just before.
func chmod(dir int, name string, mode uint32) error {
	err := unix.Fchmodat(dir, name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) { // a link, Linux before 6.6, sandboxes
		return chmodOpened(dir, name, mode)
	}
	return err
}

func chmodOpened(dir int, name string, mode uint32) error {
	fd, err := openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return unix.ELOOP
	}
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
}

func setTime(dir int, name string, e *archive.Entry) error {
	modified, err := unix.TimeToTimespec(e.Modified) // nanoseconds alone end in 2262
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, name, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, modified}, unix.AT_SYMLINK_NOFOLLOW)
}

// own gives a file that was made to its owner; one that nobody knows to that of
// the media store. Who is not root can do it rarely, and the files serve all the
// same.
func (p *place) own(dir int, name string, e *archive.Entry) {
	uid, gid := p.owner(e)
	if p.root || uid != os.Geteuid() || gid != os.Getegid() {
		p.give(dir, name, uid, gid)
	}
}

// give says whether it gave a file to somebody.
func (p *place) give(dir int, name string, uid, gid int) bool {
	if unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW) != nil {
		p.unowned.Add(1)
		return false
	}
	return true
}

func (p *place) owner(e *archive.Entry) (uid, gid int) {
	uid, gid = e.UID, e.GID
	if uid < 0 {
		uid = int(p.id.Uid)
	}
	if gid < 0 {
		gid = int(p.id.Gid)
	}
	if !p.root && (e.UID < 0 || e.GID < 0) {
		return os.Geteuid(), os.Getegid()
	}
	return uid, gid
}

// special makes a link, FIFO or socket.
func (p *place) special(e *archive.Entry) error {
	folder, name := split(e.Path)
	dir, err := p.in(folder)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	tmp := p.fresh()
	switch e.Kind {
	case archive.KindLink:
		err = unix.Symlinkat(e.Target, dir, tmp)
	case archive.KindFIFO:
		err = unix.Mknodat(dir, tmp, unix.S_IFIFO|0o600, 0)
	default:
		err = unix.Mknodat(dir, tmp, unix.S_IFSOCK|0o600, 0)
	}
	if err != nil {
		return err
	}
	if err := p.finish(dir, tmp, name, e); err != nil {
		_ = unix.Unlinkat(dir, tmp, 0)
		return err
	}
	return nil
}

// adjust gives what is there the attributes that the point has, where they
// differ.
func (p *place) adjust(e *archive.Entry, have *found) error {
	uid, gid := p.owner(e)
	wrongOwner := have.UID != uid || have.GID != gid
	wrongMode := e.Kind != archive.KindLink && have.Mode != e.Mode
	wrongTime := !sameTime(e.Modified, have.Modified)
	if !wrongOwner && !wrongMode && !wrongTime {
		return nil
	}
	folder, name := split(e.Path)
	dir, err := p.at(folder, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	given := wrongOwner && p.give(dir, name, uid, gid)
	if wrongMode || given && e.Kind != archive.KindLink { // a new owner costs the set-ID bits
		if err := chmod(dir, name, e.Mode); err != nil {
			return err
		}
	}
	if wrongTime {
		return setTime(dir, name, e)
	}
	return nil
}

// remove deletes a file or an empty folder. One that is gone is fine.
func (p *place) remove(path string, flags int) error {
	folder, name := split(path)
	dir, err := p.at(folder, unix.O_RDONLY|unix.O_DIRECTORY)
	if err == nil {
		err = unix.Unlinkat(dir, name, flags)
		_ = unix.Close(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
