package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// tree is a folder and what is below it, reached from its descriptor and
// never through a link: whoever may write to the tree can't lead us out.
type tree struct {
	path   string
	fd     int
	id     unix.Stat_t // of the folder itself
	walked atomic.Bool // openat2 is not to be had: go name by name
}

// openTree opens a folder, which may be a link to one.
func openTree(path string) (*tree, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	t := &tree{path: path, fd: fd}
	if err := unix.Fstat(fd, &t.id); err != nil {
		_ = unix.Close(fd)
		return nil, &fs.PathError{Op: "look at", Path: path, Err: err}
	}
	return t, nil
}

func (t *tree) close() { _ = unix.Close(t.fd) }

// still says whether the path leads to the same folder as at the beginning: no
// volume was mounted or unmounted over it, nobody replaced it.
func (t *tree) still() error {
	var now unix.Stat_t
	err := unix.Stat(t.path, &now)
	return stays(t.path, &t.id, &now, err)
}

// stays compares what a path led to with what it leads to now; err is why that
// could not be looked at.
func stays(path string, was, now *unix.Stat_t, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("%s disappeared meanwhile: %w", path, err)
	case now.Dev != was.Dev:
		return fmt.Errorf("%s was on another device at the end than at the beginning: a volume was mounted or unmounted meanwhile", path)
	case now.Ino != was.Ino:
		return fmt.Errorf("%s was replaced by another folder meanwhile", path)
	}
	return nil
}

// at opens what is below the tree.
func (t *tree) at(path string, flags int) (int, error) {
	if path == "" {
		path = "."
	}
	flags |= unix.O_NOFOLLOW | unix.O_CLOEXEC
	if !t.walked.Load() {
		for {
			fd, err := unix.Openat2(t.fd, path, &unix.OpenHow{
				Flags: uint64(flags), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
			})
			switch {
			case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
				continue
			case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM): // old kernels, sandboxes
				t.walked.Store(true)
			default:
				return fd, err
			}
			break
		}
	}
	return t.byName(path, flags)
}

// byName opens a path name by name.
func (t *tree) byName(path string, flags int) (int, error) {
	dir := t.fd
	for {
		name, rest, more := strings.Cut(path, "/")
		f := flags
		if more {
			f = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		}
		fd, err := openat(dir, name, f)
		if dir != t.fd {
			_ = unix.Close(dir)
		}
		if err != nil || !more {
			return fd, err
		}
		dir, path = fd, rest
	}
}

func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// dirent is a name in a folder.
type dirent struct {
	name string
	kind uint8 // unix.DT_*
}

// names reads a folder, in the order of the names' bytes.
func names(fd int, buf []byte) ([]dirent, error) {
	var list []dirent
	for {
		n, err := unix.Getdents(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return list, os.NewSyscallError("getdents", err)
		}
		if n <= 0 {
			break
		}
		for rest := buf[:n]; len(rest) > 0; {
			size := binary.NativeEndian.Uint16(rest[16:])
			name := rest[19:size]
			name = name[:bytes.IndexByte(name, 0)]
			if s := string(name); s != "." && s != ".." {
				list = append(list, dirent{s, rest[18]})
			}
			rest = rest[size:]
		}
	}
	slices.SortFunc(list, func(a, b dirent) int { return strings.Compare(a.name, b.name) })
	return list, nil
}

// entry makes a found thing of what stat says.
func entry(path string, st *unix.Stat_t) found {
	f := found{Entry: archive.Entry{
		Path: path, Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid),
		Modified: time.Unix(st.Mtim.Unix()).UTC(),
	}, allocated: st.Blocks * 512}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f.Kind, f.Size = archive.KindFile, st.Size
	case unix.S_IFDIR:
		f.Kind = archive.KindFolder
	case unix.S_IFLNK:
		f.Kind = archive.KindLink
	case unix.S_IFIFO:
		f.Kind = archive.KindFIFO
	case unix.S_IFSOCK:
		f.Kind = archive.KindSocket
	default:
		f.odd = "a device"
	}
	return f
}

// readlink reads a link in a folder.
func readlink(dir int, name string) (string, error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return "", err
		}
		if n < len(buf) {
			return string(buf[:n]), nil
		}
		buf = make([]byte, 2*len(buf))
	}
}
