package media

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// difference is a path of the point, of the folder, or of both.
type difference struct {
	path string
	want *archive.Entry // nil: the point has no such thing
	have *found         // nil: the folder has no such thing
}

// same says whether there is nothing to write. Of a file it takes size and
// time for it.
func (d *difference) same() bool {
	w, h := d.want, d.have
	if w == nil || h == nil || h.odd != "" || h.gone || w.Kind != h.Kind {
		return false
	}
	switch w.Kind {
	case archive.KindFile:
		return w.Size == h.Size && sameTime(w.Modified, h.Modified)
	case archive.KindLink:
		return w.Target == h.Target
	}
	return true
}

// sameTime says whether a file system has a time, as far as it can keep it: some
// cut it to 100 ns (NTFS, SMB), a microsecond, a second (ext2 and ext3 with
// inodes of 128 bytes) or two (FAT).
func sameTime(want, have time.Time) bool {
	if want.Equal(have) {
		return true
	}
	for _, unit := range []time.Duration{100, time.Microsecond, time.Millisecond, time.Second, 2 * time.Second} {
		if have.Truncate(unit).Equal(have) && want.Truncate(unit).Equal(have) {
			return true
		}
	}
	return false
}

// scope is what of a point is restored.
type scope struct {
	paths   []string // files, folders, classes; in order, none below another
	other   bool     // the class that has no folder, too; with no paths and without it: everything
	classes []string // that the point has
}

func newScope(m *archive.Media, paths []string) scope {
	var s scope
	for _, c := range m.Classes {
		s.classes = append(s.classes, c.Name)
	}
	for _, p := range paths {
		switch p = strings.Trim(p, "/"); p {
		case "":
		case synapse.OtherMedia:
			s.other = true
		default:
			s.paths = append(s.paths, p)
		}
	}
	slices.SortFunc(s.paths, archive.ComparePaths)
	s.paths = slices.CompactFunc(s.paths, func(a, b string) bool { return under(a, b) || under(b, a) })
	return s
}

func under(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// has says whether a path is restored: of classes that the point does not have
// nothing is, whatever else lies in the folder.
func (s *scope) has(path string) bool {
	class := ClassOf(path)
	switch {
	case !slices.Contains(s.classes, class):
		return false
	case len(s.paths) == 0 && !s.other, s.other && class == synapse.OtherMedia:
		return true
	}
	return slices.ContainsFunc(s.paths, func(p string) bool { return under(path, p) })
}

// skip says whether neither a path nor what is below it is restored.
func (s *scope) skip(path string) bool {
	return path == "lost+found" || !s.has(path) && !slices.ContainsFunc(s.paths, func(p string) bool { return under(p, path) })
}

// entries yields those of the point, and calls seen with each path of the
// scope that it has.
func (f *Filler) entries(ctx context.Context) iter.Seq2[archive.Entry, error] {
	if f.scope.other {
		return f.scattered(ctx)
	}
	paths := f.scope.paths
	if len(paths) == 0 {
		paths = []string{""}
	}
	return func(yield func(archive.Entry, error) bool) {
		for _, p := range paths {
			n := 0
			for e, err := range archive.EntriesUnder(ctx, f.opt.Reader, f.opt.Media, p) {
				n++
				if !yield(e, err) {
					return
				}
			}
			if n == 0 && p != "" && !yield(archive.Entry{}, notThere(p)) {
				return
			}
		}
	}
}

// scattered yields the entries of a scope with the class other, which lie
// between those of all classes.
func (f *Filler) scattered(ctx context.Context) iter.Seq2[archive.Entry, error] {
	return func(yield func(archive.Entry, error) bool) {
		missing := append([]string{synapse.OtherMedia}, f.scope.paths...)
		for e, err := range archive.Entries(ctx, f.opt.Reader, f.opt.Media) {
			switch {
			case err != nil:
				missing = nil // they may be what can't be read
			case !f.scope.has(e.Path):
				continue
			}
			missing = slices.DeleteFunc(missing, func(p string) bool { return under(e.Path, p) || p == ClassOf(e.Path) })
			if !yield(e, err) {
				return
			}
		}
		for _, p := range missing {
			if !yield(archive.Entry{}, notThere(p)) {
				return
			}
		}
	}
}

func notThere(path string) error { return fmt.Errorf("%w: %s", errNotThere, printable(path)) }

// errNotThere says that the point has no such path.
var errNotThere = errors.New("the point's media have no such file or folder")

// compare yields what the point and the folder have, in order. The errors of
// damaged pages of the listing come between; every other error is the last.
// t is nil where there is no folder yet.
func (f *Filler) compare(ctx context.Context, t *tree) iter.Seq2[difference, error] {
	return func(yield func(difference, error) bool) {
		have := func(yield func(found, error) bool) {}
		if t != nil {
			w := &walker{tree: t, skip: f.scope.skip}
			have = w.walk(ctx, "")
		}
		next, stop := iter.Pull2(have)
		defer stop()
		h, err, more := next()
		// before yields what the folder alone has before a path.
		before := func(path string) bool {
			for more && err == nil && (path == "" || archive.ComparePaths(h.Path, path) < 0) {
				one := h
				if f.scope.has(one.Path) && !yield(difference{path: one.Path, have: &one}, nil) {
					return false
				}
				h, err, more = next()
			}
			return err == nil || !yield(difference{}, err)
		}
		for e, bad := range f.entries(ctx) {
			if bad != nil {
				if !yield(difference{}, bad) || !errors.Is(bad, archive.ErrCorrupt) && !errors.Is(bad, errNotThere) {
					return
				}
				continue
			}
			if !before(e.Path) || err != nil {
				return
			}
			d := difference{path: e.Path, want: &e}
			if more && h.Path == e.Path {
				one := h
				d.have = &one
				h, err, more = next()
			}
			if !yield(d, nil) {
				return
			}
		}
		before("")
	}
}

// holds says whether a file of the folder has the bytes that the point has.
func holds(ctx context.Context, t *tree, e *archive.Entry) bool {
	s := &folder{tree: t}
	c, err := s.open(ctx, &found{Entry: *e})
	if err != nil {
		return false
	}
	defer c.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, c)
	return err == nil && archive.ID(sum.Sum(nil)) == e.SHA256
}
