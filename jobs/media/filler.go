package media

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// FillOptions say what of a point's media is restored, and to where.
type FillOptions struct {
	Reader *archive.Reader
	Media  *archive.Media // the point's
	Dir    string         // the media store's folder; made if it is not there
	Paths  []string       // files, folders or classes; empty: everything
	// CheckAll compares the bytes of files whose size and time are right.
	CheckAll bool
	// DeleteExtra deletes what the folder has and the point has not: of the
	// classes that are restored, never beside Synapse's own folders.
	DeleteExtra bool
	// Jobs is how many files are written at once; 0: twice as many as CPUs, at
	// least 4. While some wait for the store the others keep the CPUs at work.
	Jobs int
}

// Filler restores a point's media. It implements restore.Filler. It writes what
// is missing or differs, each file whole and under its name at once, so that it
// can be killed and repeated.
type Filler struct {
	opt   FillOptions
	scope scope
	tally *tally // of the last look; nil before
}

// NewFiller returns the filler of one restore.
func NewFiller(o FillOptions) *Filler {
	if o.Jobs <= 0 {
		o.Jobs = max(4, 2*runtime.NumCPU())
	}
	return &Filler{opt: o, scope: newScope(o.Media, o.Paths)}
}

// Name is the part's.
func (*Filler) Name() string { return archive.PartMedia }

// tally is what a look at point and folder found.
type tally struct {
	missing, differing, same int64           // files
	bytes                    int64           // of those to be written
	extra, extraBytes        int64           // files, links and the like to be deleted
	needs                    map[string]need // of each class
	damaged                  *archive.Findings
	entries                  int64
	unknown                  []string          // paths that the point does not have
	lost                     *archive.Findings // of those to be written: the archive has their data no more
}

// Plan looks, and touches nothing.
func (f *Filler) Plan(ctx context.Context) (synapse.FillPlan, error) {
	p := synapse.FillPlan{Part: archive.PartMedia, Where: f.opt.Dir}
	t, err := openTree(f.opt.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t = nil
	case err != nil:
		p.Problems = append(p.Problems, fmt.Sprintf("media can't be restored: %v", err))
		return p, nil
	default:
		defer t.close()
		p.Problems = append(p.Problems, f.links(t)...)
	}
	n, err := f.look(ctx, t)
	if err != nil {
		return p, err
	}
	p.Files, p.Bytes, p.Same, p.Replaces, p.Deletes = n.missing+n.differing, n.bytes, n.same, n.differing, n.extra
	p.Lines = f.lines(n)
	for _, u := range n.unknown {
		p.Problems = append(p.Problems, u+"; show lists the point's classes")
	}
	if d := n.damaged; d != nil {
		p.Warnings = append(p.Warnings, fmt.Sprintf("the point's list of media is damaged: %s can't be restored (%s)", jobs.Count(d.Count, "page"), strings.Join(d.First, "; ")))
	}
	switch lost := n.lost.Number(); {
	case lost == 0:
	case lost == n.missing+n.differing:
		p.Problems = append(p.Problems, fmt.Sprintf("none of the %s to be written can be: their data are missing in the archive; restore from another store (--from) or point", jobs.Count(lost, "file")))
	default:
		p.Warnings = append(p.Warnings, fmt.Sprintf("%s of media can't be restored, whose data are missing in the archive%s", jobs.Count(lost, "file"), named(n.lost)))
	}
	if text := f.room(n); text != "" {
		p.Problems = append(p.Problems, text)
	}
	return p, nil
}

// links refuses classes that are links: a restore, which follows none, would
// put a folder in the place of each, and what is on the other volume would be
// Synapse's no more.
func (f *Filler) links(t *tree) (problems []string) {
	for _, class := range f.scope.classes {
		var st unix.Stat_t
		if f.scope.skip(class) || unix.Fstatat(t.fd, class, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
			continue
		}
		problems = append(problems, fmt.Sprintf("%s in %s is a link, in whose place a folder would come: mount the volume it leads to there (mount --bind), or take the link away", class, f.opt.Dir))
	}
	return problems
}

func (f *Filler) lines(n *tally) []string {
	text := fmt.Sprintf("write %s of media, %s, to %s: %s missing, %s",
		jobs.Count(n.missing+n.differing, "file"), jobs.Size(n.bytes), f.opt.Dir, jobs.Count(n.missing, ""), differ(n.differing))
	if n.same > 0 {
		text += fmt.Sprintf("; %s there already", jobs.Count(n.same, "file"))
		if !f.opt.CheckAll { // a disk that went bad leaves size and time
			text += " by size and time (--check-all compares the bytes)"
		}
	}
	lines := []string{text}
	if f.opt.DeleteExtra && n.damaged != nil {
		lines = append(lines, "delete nothing: the point's list of media is damaged, so that nobody knows what is extra")
	}
	if n.extra > 0 {
		lines = append(lines, fmt.Sprintf("delete %s, %s, that the point does not have", jobs.Count(n.extra, "file"), jobs.Size(n.extraBytes)))
	}
	return lines
}

func differ(n int64) string {
	if n == 1 {
		return "1 differs"
	}
	return jobs.Count(n, "") + " differ"
}

// look compares point and folder. t is nil where there is no folder yet.
func (f *Filler) look(ctx context.Context, t *tree) (*tally, error) {
	n := &tally{}
	f.tally = nil
	err := f.each(ctx, t, n, func(d *difference) error {
		switch {
		case d.want == nil:
			f.countExtra(n, d)
		case d.want.Kind != archive.KindFile:
			if !d.same() {
				n.need(d, 0)
			}
		case d.same():
			n.same++
		default:
			if d.have == nil {
				n.missing++
			} else {
				n.differing++
			}
			n.bytes += d.want.Size
			n.need(d, d.want.Size)
			if !slices.ContainsFunc(d.want.Blobs, func(id archive.ID) bool { return !f.opt.Reader.Has(id) }) {
				return nil
			}
			n.lost = n.lost.Note(d.path, d.want.Size)
		}
		return nil
	})
	if err == nil && n.entries == 0 && n.damaged != nil {
		err = fmt.Errorf("the media listing is %w: %s", archive.ErrCorrupt, strings.Join(n.damaged.First, "; "))
	}
	if n.damaged != nil { // what is on the page looks extra
		n.extra, n.extraBytes = 0, 0
	}
	f.tally = n
	return n, err
}

func (f *Filler) countExtra(n *tally, d *difference) {
	if !f.deletes(d) || d.have.Kind == archive.KindFolder {
		return
	}
	n.extra++
	if d.have.Kind == archive.KindFile {
		n.extraBytes += d.have.Size
	}
}

// deletes says whether what only the folder has is to go: nothing where the plan
// has said so, whatever became of the list meanwhile.
func (f *Filler) deletes(d *difference) bool {
	if f.tally != nil && f.tally.damaged != nil {
		return false
	}
	return f.opt.DeleteExtra && ClassOf(d.path) != synapse.OtherMedia && !isTemporary(d.path)
}

// each calls do with every difference, in order, and counts in n what of the
// listing is damaged. With CheckAll files that look the same are read, some at
// once, and differ if their bytes do.
func (f *Filler) each(ctx context.Context, t *tree, n *tally, do func(*difference) error) error {
	const batch = 512
	var list []difference
	flush := func() error {
		if f.opt.CheckAll && t != nil {
			f.checkBytes(ctx, t, list)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for i := range list {
			if err := do(&list[i]); err != nil {
				return err
			}
		}
		list = list[:0]
		return context.Cause(ctx)
	}
	for d, err := range f.compare(ctx, t) {
		switch {
		case errors.Is(err, errNotThere):
			n.unknown = append(n.unknown, err.Error())
			continue
		case errors.Is(err, archive.ErrCorrupt):
			n.damaged = n.damaged.Note(err.Error(), 0)
			continue
		case err != nil:
			return err
		}
		if d.want != nil {
			n.entries++
		}
		if list = append(list, d); len(list) == batch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// checkBytes makes files differ whose bytes do.
func (f *Filler) checkBytes(ctx context.Context, t *tree, list []difference) {
	var g errgroup.Group
	g.SetLimit(f.opt.Jobs)
	for i := range list {
		d := &list[i]
		if ctx.Err() == nil && d.want != nil && d.want.Kind == archive.KindFile && d.same() {
			g.Go(func() error {
				if !holds(ctx, t, d.want) {
					d.have.odd = "other bytes"
				}
				return nil
			})
		}
	}
	_ = g.Wait() // none fails
}
