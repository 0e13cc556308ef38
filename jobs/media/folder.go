package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// folder is a media store on a file system.
type folder struct {
	*tree
	classes []string
	// begun are the folders of the classes as they were at the beginning, open.
	begun map[string]int
}

func openFolder(o *Options) (*folder, error) {
	t, err := openTree(o.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the media folder %s does not exist: is its volume mounted?", o.Dir)
	case err != nil:
		return nil, fmt.Errorf("the media folder can't be read: %w", err)
	}
	s := &folder{tree: t, classes: o.Classes, begun: map[string]int{}}
	for _, class := range o.Classes {
		if class == synapse.OtherMedia {
			continue
		}
		if fd, err := openat(t.fd, class, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC); err == nil {
			s.begun[class] = fd // what else it may be is the walk's to say
		}
	}
	return s, nil
}

func (s *folder) close() {
	for _, fd := range s.begun {
		_ = unix.Close(fd)
	}
	s.tree.close()
}

// temporary begins the names of files that a restore is writing. The rest is
// random.
const temporary = ".synapse-maint-restore-"

func isTemporary(path string) bool {
	return strings.HasPrefix(path[strings.LastIndexByte(path, '/')+1:], temporary)
}

// skip leaves out classes that are not wanted, what file systems keep for
// themselves, and what a killed restore left.
func (s *folder) skip(path string) bool {
	if !strings.Contains(path, "/") && (path == "lost+found" || !slices.Contains(s.classes, ClassOf(path))) {
		return true
	}
	return isTemporary(path)
}

func (s *folder) walk(ctx context.Context) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		w := &walker{tree: s.tree, skip: s.skip}
		for f, err := range w.walk(ctx, "") {
			if err == nil && f.Kind == archive.KindLink && !strings.Contains(f.Path, "/") && ClassOf(f.Path) == f.Path {
				err = fmt.Errorf("%s/%s is a link, and links are not followed: mount the folder there instead", s.path, f.Path)
			}
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// verdict: a folder that went away meanwhile has files that vanished, one by
// one. A class may be a volume of its own.
func (s *folder) verdict() error {
	if err := s.still(); err != nil {
		return err
	}
	for class, fd := range s.begun {
		var was, now unix.Stat_t
		err := unix.Fstat(fd, &was)
		if err == nil {
			err = unix.Fstatat(s.fd, class, &now, unix.AT_SYMLINK_NOFOLLOW)
		}
		if err := stays(join(s.path, class), &was, &now, err); err != nil {
			return err
		}
	}
	return nil
}

// open never waits, as for the other end of a FIFO.
func (s *folder) open(_ context.Context, f *found) (content, error) {
	fd, err := s.at(f.Path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOATIME)
	if errors.Is(err, unix.EPERM) { // O_NOATIME is for a file's owner
		fd, err = s.at(f.Path, unix.O_RDONLY|unix.O_NONBLOCK)
	}
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENXIO):
		return nil, fs.ErrNotExist // replaced by something else
	case err != nil:
		return nil, err
	}
	c := &file{fd: fd}
	if err := unix.Fstat(fd, &c.st); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	if c.st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd)
		return nil, fs.ErrNotExist
	}
	return c, nil
}

// file is a file of a folder that is being read.
type file struct {
	fd int
	st unix.Stat_t
}

// Read does without the os package's poller, which tens of thousands of small
// files would go through.
func (f *file) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(f.fd, p)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

func (f *file) Close() error { return unix.Close(f.fd) }

func (f *file) now() (size int64, modified time.Time, err error) {
	if err := unix.Fstat(f.fd, &f.st); err != nil {
		return 0, time.Time{}, err
	}
	return f.st.Size, time.Unix(f.st.Mtim.Unix()).UTC(), nil
}

// sparse asks only where the file takes less room than it has bytes: a file
// system that compresses does that without holes.
func (f *file) sparse() bool {
	if f.st.Blocks*512 >= f.st.Size {
		return false
	}
	at, err := unix.Seek(f.fd, 0, unix.SEEK_HOLE)
	_, back := unix.Seek(f.fd, 0, unix.SEEK_SET)
	return err == nil && back == nil && at < f.st.Size
}
