package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/synapse-maint/synapse-maint/jobs"
)

// lockFile is in a folder that is being written. It marks the folder as ours
// to remove, and is locked for as long as its process lives.
const lockFile = ".synapse-maint-export"

// place is the folder to be made, and the one it is until then.
type place struct {
	dir, partial string
	lock         *os.File
	done         bool
}

// claim makes the folder to write to, beside dir.
func claim(dir string) (*place, error) {
	if err := empty(dir); err != nil {
		return nil, err
	}
	p := &place{dir: dir, partial: dir + ".partial"}
	if err := p.clear(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(p.partial, 0o700); err != nil {
		return nil, hint(err)
	}
	var err error
	if p.lock, err = lock(filepath.Join(p.partial, lockFile), os.O_CREATE|os.O_EXCL); err != nil {
		return nil, errors.Join(err, os.Remove(p.partial))
	}
	return p, nil
}

// empty refuses a folder with anything in it.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		return errors.New("there is a file of this name; choose another folder")
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("the folder is not empty (it has %s): choose a new one; nothing was written", entries[0].Name())
	}
	return nil
}

// clear removes what a killed export left.
func (p *place) clear() error {
	if _, err := os.Lstat(p.partial); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	old, err := lock(filepath.Join(p.partial, lockFile), 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p.clearRest()
	case errors.Is(err, syscall.EWOULDBLOCK):
		return fmt.Errorf("%w: another export is writing %s", jobs.ErrLocked, p.partial)
	case err != nil:
		return err
	}
	defer old.Close() //nolint:errcheck // nothing was written through it
	return os.RemoveAll(p.partial)
}

// written are the files that exports write.
var written = regexp.MustCompile(`^([0-9]+\.dat(\.gz|\.zst)?|toc\.dat|database\.dump)$`)

// clearRest removes what has no lock file: one was killed when it had just made
// the folder, or while it removed it. What else is there is somebody's.
func (p *place) clearRest() error {
	entries, err := os.ReadDir(p.partial)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !written.MatchString(e.Name()) {
			return fmt.Errorf("%s is in the way and not the rest of an export: move it", p.partial)
		}
	}
	return os.RemoveAll(p.partial)
}

func lock(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close() //nolint:errcheck // nothing was written
		return nil, err
	}
	return f, nil
}

// room refuses what can't fit.
func room(path string, least int64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return nil //nolint:nilerr // unknown: a full disk is noticed later
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < least {
		return fmt.Errorf("the disk has %d MiB free, at least %d MiB are needed: %w", free>>20, (least>>20)+1, syscall.ENOSPC)
	}
	return nil
}

// Reachable says why a folder can't be made and filled with some bytes, as far as
// that is known without trying.
func Reachable(dir string, least int64) error {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at):
			continue
		case errors.Is(err, syscall.ENOTDIR):
			continue // the file is found above
		case err != nil:
			return hint(err)
		case !info.IsDir():
			return fmt.Errorf("%s is a file: choose another folder", at)
		}
		const write, enter = 2, 1 // access(2)
		if err := syscall.Access(at, write|enter); err != nil {
			return fmt.Errorf("%s may not be written to (%w): choose a folder below one that you can write to", at, err)
		}
		return room(at, least)
	}
}

// publish gives the folder its name. Everything in it must be on the disk.
func (p *place) publish() error {
	if err := syncDir(p.partial); err != nil {
		return err
	}
	// Unlike os.Rename this replaces a folder, if it still is empty.
	if err := syscall.Rename(p.partial, p.dir); err != nil {
		return hint(&os.LinkError{Op: "rename", Old: p.partial, New: p.dir, Err: err})
	}
	p.done = true
	// Only now: without it nobody would know the folder for an export's, should
	// this process be killed in between.
	if err := os.Remove(filepath.Join(p.dir, lockFile)); err != nil {
		return err
	}
	return errors.Join(syncDir(p.dir), syncDir(filepath.Dir(p.dir)))
}

// discardAfter removes what was written, unless it was published.
func (p *place) discardAfter(err error) error {
	if !p.done {
		if rerr := os.RemoveAll(p.partial); rerr != nil {
			err = fmt.Errorf("%w; and what was written stays: %w", err, rerr)
		}
	}
	p.lock.Close() //nolint:errcheck // nothing was written through it
	return err
}

// hint says what to do where a folder can't be made or renamed in its parent.
func hint(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w (it is made beside its final place: choose a new folder below one that you can write to)", err)
	}
	return err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}
