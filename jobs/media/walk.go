package media

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

const (
	// splitAhead is how many folders beside each other are walked at once, on
	// each of these levels. It bounds what is held of the tree, and is enough to
	// keep a file server on a network busy.
	splitAhead = 3
	// chunk is how many entries go from one goroutine to the next at once.
	chunk = 128
)

// splits says whether what is in a folder is walked at once: Synapse's classes,
// the folders of two letters in them, the homeservers of remote media and
// theirs. Below, one goroutine walks a folder.
func splits(path string, depth int) bool {
	remote := strings.HasPrefix(path, synapse.RemoteContent) || strings.HasPrefix(path, synapse.RemoteThumbnails)
	return depth < 2 || remote && depth < 3
}

// walker walks a tree in parallel and yields it in order.
type walker struct {
	tree *tree
	skip func(path string) bool // true: neither it nor what is below it

	bufs sync.Pool // of *[]byte, for names
	all  sync.WaitGroup
}

// strand is the part of a walk that one goroutine does.
type strand struct {
	out  chan []found
	now  []found
	ends <-chan struct{}
	err  error // set before out is closed
}

// errLeft says that nobody wants the walk to go on.
var errLeft = errors.New("the walk was left")

func (s *strand) emit(f found) error {
	if s.now == nil {
		s.now = make([]found, 0, 16)
	}
	if s.now = append(s.now, f); len(s.now) >= chunk {
		return s.flush()
	}
	return nil
}

func (s *strand) flush() error {
	if len(s.now) == 0 {
		return nil
	}
	return s.pass(nil)
}

// pass hands on what was gathered and then a chunk of another strand.
func (s *strand) pass(more []found) error {
	for _, c := range [][]found{s.now, more} {
		if len(c) == 0 {
			continue
		}
		select {
		case s.out <- c:
		case <-s.ends:
			return errLeft
		}
	}
	s.now = nil
	return nil
}

// walk yields what is below a path of the tree, the path itself left out. An
// error is the last; the order is that of archive.ComparePaths.
func (w *walker) walk(ctx context.Context, path string) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer w.all.Wait()
		defer cancel()
		depth := 0
		if path != "" {
			depth = 1 + strings.Count(path, "/")
		}
		s := w.strand(ctx, path, depth)
		for c := range s.out {
			for i := range c {
				if !yield(c[i], nil) {
					return
				}
			}
		}
		if err := context.Cause(ctx); err != nil {
			yield(found{}, err)
		} else if s.err != nil {
			yield(found{}, s.err)
		}
	}
}

// strand begins to walk what is in a folder, in a goroutine of its own.
func (w *walker) strand(ctx context.Context, path string, depth int) *strand {
	s := &strand{out: make(chan []found, 2), ends: ctx.Done()}
	w.all.Go(func() {
		defer close(s.out)
		fd, err := w.tree.at(path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err == nil {
			err = w.folder(ctx, s, fd, path, depth)
		} else {
			err = w.closed(s, path, err)
		}
		if err == nil {
			err = s.flush()
		}
		s.err = err
	})
	return s
}

// folder walks an open folder, and closes it.
func (w *walker) folder(ctx context.Context, s *strand, fd int, path string, depth int) error {
	defer unix.Close(fd)
	list, err := w.names(fd)
	switch {
	case path != "" && errors.Is(err, unix.ENOENT):
		return w.closed(s, path, err) // it was removed when it was open already
	case err != nil:
		return fmt.Errorf("read %s/%s: %w", w.tree.path, path, err)
	}
	if path != "" {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fmt.Errorf("look at %s/%s: %w", w.tree.path, path, err)
		}
		if err := s.emit(entry(path, &st)); err != nil {
			return err
		}
	}
	if splits(path, depth) {
		return w.split(ctx, s, fd, path, list, depth)
	}
	for _, d := range list {
		if err := w.one(ctx, s, fd, join(path, d.name), d, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) names(fd int) ([]dirent, error) {
	buf, ok := w.bufs.Get().(*[]byte)
	if !ok {
		b := make([]byte, 16<<10)
		buf = &b
	}
	defer w.bufs.Put(buf)
	return names(fd, *buf)
}

// split walks some of a folder's folders at once.
func (w *walker) split(ctx context.Context, s *strand, fd int, path string, list []dirent, depth int) error {
	var ahead []*strand
	next := 0 // of list: not looked at yet
	for _, d := range list {
		for ; next < len(list) && len(ahead) < splitAhead; next++ {
			if p := join(path, list[next].name); list[next].kind == unix.DT_DIR && !w.skipped(p) {
				ahead = append(ahead, w.strand(ctx, p, depth+1))
			}
		}
		p := join(path, d.name)
		if d.kind != unix.DT_DIR {
			if err := w.one(ctx, s, fd, p, d, depth); err != nil {
				return err
			}
			continue
		}
		if w.skipped(p) {
			continue
		}
		first := ahead[0]
		ahead = ahead[1:]
		for c := range first.out {
			if err := s.pass(c); err != nil {
				return err
			}
		}
		if first.err != nil {
			return first.err
		}
	}
	return nil
}

// one emits a name of a folder and, if it is a folder, what is in it.
func (w *walker) one(ctx context.Context, s *strand, dir int, path string, d dirent, depth int) error {
	if w.skipped(path) {
		return nil
	}
	if d.kind == unix.DT_DIR {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fd, err := openat(dir, d.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
		if err != nil {
			return w.closed(s, path, err)
		}
		return w.folder(ctx, s, fd, path, depth+1)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, d.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return w.closed(s, path, err)
	}
	f := entry(path, &st)
	switch {
	case f.Kind == archive.KindFolder && f.odd == "": // its folder did not say so
		d.kind = unix.DT_DIR
		return w.one(ctx, s, dir, path, d, depth)
	case f.Kind == archive.KindLink:
		var err error
		if f.Target, err = readlink(dir, d.name); err != nil {
			return w.closed(s, path, err)
		}
	}
	return s.emit(f)
}

// closed is for what can't be opened: noted where that is its own matter.
func (w *walker) closed(s *strand, path string, err error) error {
	f := found{Entry: archive.Entry{Path: path}}
	switch {
	case path == "":
		return fmt.Errorf("read %s: %w", w.tree.path, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EINVAL):
		f.gone = true // or replaced by something else
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		f.odd = unreadable
	default:
		return fmt.Errorf("read %s/%s: %w", w.tree.path, path, err)
	}
	return s.emit(f)
}

// unreadable is what is odd about what permissions keep from being read.
const unreadable = "permission denied"

func (w *walker) skipped(path string) bool { return w.skip != nil && w.skip(path) }

func join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}
