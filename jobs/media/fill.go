package media

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Filled is the note of a restore of media. It names no files: the journal is
// not encrypted. Stored data.
type Filled struct {
	Dir      string   `json:"dir"`
	Files    int64    `json:"files"` // written
	Bytes    int64    `json:"bytes"` // of these
	Same     int64    `json:"same"`  // were there already
	Deleted  int64    `json:"deleted,omitempty"`
	Skipped  int64    `json:"skipped,omitempty"` // could not be written
	Wrong    int64    `json:"wrong,omitempty"`   // were not right afterwards, beside those skipped
	Warnings []string `json:"warnings,omitempty"`
}

// filling is one attempt to fill the folder.
type filling struct {
	*Filler
	place    *place
	progress *progress
	note     Filled
	tally    tally // of this attempt: what of the listing is damaged
	unsynced atomic.Int64
	due      chan struct{} // a sync is

	mu      sync.Mutex // what follows, and the counts of note
	skipped *archive.Findings
	why     string // of the first that was skipped
}

// Fill writes what is missing or differs, and looks afterwards whether all is
// there.
func (f *Filler) Fill(ctx context.Context, report func(jobs.Progress)) (any, error) {
	if f.tally == nil {
		if _, err := f.Plan(ctx); err != nil {
			return nil, err
		}
	}
	p, fresh, err := openPlace(f.opt.Dir, strings.ToLower(rand.Text()[:8]))
	if err != nil {
		return nil, err
	}
	defer p.close()
	g := &filling{Filler: f, place: p, progress: newProgress(report), note: Filled{Dir: f.opt.Dir}, due: make(chan struct{}, 1)}
	if f.tally != nil {
		g.progress.total = f.tally.bytes
	}
	if err := g.adopt(ctx, fresh); err != nil {
		return nil, err
	}
	end := g.syncOften()
	if err = g.write(ctx); err == nil {
		g.syncSoon() // while it is looked at
		err = g.check(ctx)
	}
	if failed := end(); err == nil {
		err = failed
	}
	if err != nil {
		return g.note, g.explain(ctx, err)
	}
	if err := g.sync(); err != nil {
		return g.note, g.explain(ctx, err)
	}
	if err := g.place.still(); err != nil {
		return g.note, fmt.Errorf("what was written is not there: %w", err)
	}
	return g.note, g.verdict()
}

// adopt gives a folder that is nobody's to whom what is restored belongs, and
// warns where Synapse could make no folder in it.
func (g *filling) adopt(ctx context.Context, fresh bool) error {
	first, err := g.first(ctx)
	if err != nil || first == nil {
		return err
	}
	dir := g.opt.Dir
	switch {
	case fresh && first.UID >= 0:
		return g.place.adopt(first)
	case fresh && g.place.root: // from a bucket
		g.warn("the point does not know whose the media were, which came from a bucket, and they belong to root: chown -R %s to Synapse's user", dir)
	case first.UID >= 0 && g.place.root && !g.place.letsIn(first):
		g.warn("%s belongs to user %d, and what is restored in it to user %d, who can make no folder there: chown %d:%d %s", dir, g.place.id.Uid, first.UID, first.UID, first.GID, dir)
	}
	return nil
}

// first is the first entry that can be read; nil if there is none.
func (g *filling) first(ctx context.Context) (*archive.Entry, error) {
	for e, err := range g.entries(ctx) {
		switch {
		case err == nil:
			return &e, nil
		case !errors.Is(err, errNotThere) && !errors.Is(err, archive.ErrCorrupt):
			return nil, err
		}
	}
	return nil, nil
}

func (g *filling) warn(format string, args ...any) {
	g.note.Warnings = append(g.note.Warnings, fmt.Sprintf(format, args...))
}

// write makes what is missing. Folders, links and the like are made as they
// come; files are gathered, so that their blobs are read in the order in which
// they lie in the packs. While a batch of them is written the next is gathered.
func (g *filling) write(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	runs := make(chan run)
	for range g.opt.Jobs {
		group.Go(func() error {
			w := &writer{filling: g}
			defer w.leave()
			for r := range runs {
				if err := w.run(ctx, r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	batches := make(chan *gathered)
	group.Go(func() error {
		defer close(runs)
		for b := range batches {
			if err := b.send(ctx, runs); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error {
		defer close(batches)
		return g.gather(ctx, batches)
	})
	return group.Wait()
}

// gather looks for what is missing, and sends batches of files. Folders are made
// by several goroutines: Synapse has more of them than files, and a writer that
// comes before them makes its own.
func (g *filling) gather(ctx context.Context, to chan<- *gathered) error {
	batch := &gathered{reader: g.opt.Reader, share: 8} // the workers wait for the first
	send := func() error {
		select {
		case to <- batch:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		batch = &gathered{reader: g.opt.Reader, share: 1}
		return nil
	}
	folders, fctx := errgroup.WithContext(ctx) // a disk that fails ends the look, too
	folders.SetLimit(g.opt.Jobs)
	err := g.each(fctx, g.place.tree, &g.tally, func(d *difference) error {
		if want := d.want; want != nil && want.Kind == archive.KindFolder && !d.same() {
			folders.Go(func() error { return g.skip(want, g.place.make(want.Path)) })
			return nil
		}
		if err := g.one(d, batch); err != nil {
			return err
		}
		if batch.full() {
			return send()
		}
		return nil
	})
	if failed := folders.Wait(); failed != nil {
		err = failed
	}
	if err != nil {
		return err
	}
	return send()
}

func (g *filling) sync() error { return g.place.sync(g.scope.classes) }

// syncEvery is after how many bytes written the file system is told to write
// them to the disk, while more are written: at the end there is little left.
const syncEvery = 256 << 20

// wrote counts bytes, and says now and then that it is time to sync.
func (g *filling) wrote(bytes int64) {
	if g.unsynced.Add(bytes) < syncEvery {
		return
	}
	g.syncSoon()
}

// syncSoon says that it is time to sync.
func (g *filling) syncSoon() {
	g.unsynced.Store(0)
	select {
	case g.due <- struct{}{}:
	default: // the last one is not done yet
	}
}

// syncOften syncs whenever it is due. The function it returns ends that and
// says what went wrong.
func (g *filling) syncOften() (end func() error) {
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-g.due:
				if err := g.sync(); err != nil {
					done <- err
					return
				}
			case <-stop:
				done <- nil
				return
			}
		}
	}()
	return func() error { close(stop); return <-done }
}

// one does what a difference takes, or puts it aside.
func (g *filling) one(d *difference, batch *gathered) error {
	switch {
	case d.want == nil:
		if isTemporary(d.path) && d.have.Kind == archive.KindFile { // of a restore that was killed
			return g.place.remove(d.path, 0)
		}
		return nil
	case d.same():
		if d.want.Kind == archive.KindFile {
			g.note.Same++
		}
		return nil
	case d.want.Kind == archive.KindFile:
		batch.add(*d.want)
		return nil
	}
	return g.skip(d.want, g.place.special(d.want))
}

// skip notes an entry that could not be written and goes on; nil is fine. It
// returns what ends everything.
func (g *filling) skip(e *archive.Entry, err error) error {
	if err == nil || hopeless(err) {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.skipped == nil {
		g.why = err.Error()
	}
	g.skipped = g.skipped.Note(e.Path, e.Size)
	g.note.Skipped++
	return nil
}

// hopeless says whether an error concerns more than a file.
func hopeless(err error) bool {
	for _, known := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, unix.EMFILE, unix.ENFILE, archive.ErrNoKey, context.Canceled} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// explain says of an error what to do.
func (g *filling) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		left := ""
		if g.Filler.tally != nil {
			left = fmt.Sprintf(": %s are still to be written", jobs.Size(max(0, g.Filler.tally.bytes-g.note.Bytes)))
		}
		return fmt.Errorf("the disk of %s is full%s; make room and run the same restore again: %w", g.opt.Dir, left, err)
	}
	return err
}

// check looks at all that was to be restored once more, and sets what can only
// be set at the end: the times of folders.
func (g *filling) check(ctx context.Context) error {
	if g.opt.DeleteExtra {
		if err := g.deleteExtra(ctx); err != nil {
			return err
		}
	}
	g.place.unowned.Store(0) // of what was just written as well: it is all looked at
	var n tally
	folders, fctx := errgroup.WithContext(ctx) // a disk that fails ends the look, too
	folders.SetLimit(g.opt.Jobs)
	absent := int64(0)
	err := g.each(fctx, g.place.tree, &n, func(d *difference) error {
		switch {
		case d.want == nil:
			return nil
		case d.have == nil || d.want.Kind != d.have.Kind || d.want.Kind == archive.KindFile && !d.same():
			absent++
			return nil
		}
		want, have := d.want, d.have
		if want.Kind == archive.KindFolder { // most of them have to be adjusted
			folders.Go(func() error { return g.skip(want, g.place.adjust(want, have)) })
			return nil
		}
		return g.skip(want, g.place.adjust(want, have))
	})
	if failed := folders.Wait(); failed != nil {
		err = failed
	}
	if g.tally.damaged == nil {
		g.tally.damaged = n.damaged
	}
	g.note.Wrong = max(0, absent-g.note.Skipped)
	if n := g.place.unowned.Load(); n > 0 {
		g.warn("%s could not be given to the owner the point has: run the restore as root, or chown -R %s to Synapse's user", jobs.Count(n, "path"), g.opt.Dir)
	}
	return err
}

// deleteExtra deletes what the point does not have. Where pages of the listing
// are damaged nobody knows what that is.
func (g *filling) deleteExtra(ctx context.Context) error {
	if g.tally.damaged != nil {
		g.warn("nothing was deleted: the point's list of media is damaged, so that nobody knows what is extra")
		return nil
	}
	var folders []string
	var now tally
	err := g.each(ctx, g.place.tree, &now, func(d *difference) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case now.damaged != nil: // a page that could be read a moment ago: its files look extra
			return nil
		case d.want != nil || !g.deletes(d) || d.have.gone || d.have.odd != "":
			return nil
		case d.have.Kind == archive.KindFolder:
			folders = append(folders, d.path)
			return nil
		}
		g.note.Deleted++
		if err := g.place.remove(d.path, 0); err != nil {
			return fmt.Errorf("delete %s, which the point does not have: %w", printable(d.path), err)
		}
		return nil
	})
	if g.tally.damaged = now.damaged; err != nil || now.damaged != nil {
		return err
	}
	for _, path := range slices.Backward(folders) {
		_ = g.place.remove(path, unix.AT_REMOVEDIR) // somebody may have put something there
	}
	return err
}

// verdict is nil where everything is there.
func (g *filling) verdict() error {
	var texts []string
	if n := g.skipped.Number(); n > 0 {
		texts = append(texts, fmt.Sprintf("%s could not be restored (%s)%s", jobs.Count(n, "file"), g.why, named(g.skipped)))
	}
	if n := g.tally.damaged.Number(); n > 0 {
		texts = append(texts, fmt.Sprintf("the list of media is damaged: %s", strings.Join(g.tally.damaged.First, "; ")))
	}
	if n := g.note.Wrong; n > 0 {
		texts = append(texts, fmt.Sprintf("%s not right afterwards: somebody else writes to %s", jobs.Count(n, "file"), g.opt.Dir))
	}
	if n := g.tally.unknown; len(n) > 0 {
		texts = append(texts, strings.Join(n, "; "))
	}
	if len(texts) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", jobs.ErrIncomplete, strings.Join(texts, "; "))
}
