package media

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// window is how many entries may be under way: found, and not listed yet as one
// before them is still being read.
const window = 2048

// item is an entry on its way to the listing.
type item struct {
	found
	done chan struct{} // closed when it was read; nil where it needs not be
	// What became of it: taken, unless gone or odd.
	unstable bool
	counted  int64 // bytes that the progress has already
	unread   bool  // it is a file, and can't be read
}

// taking is one attempt to take the media.
type taking struct {
	part     *Part
	src      source
	w        *archive.Writer
	m        *archive.Media
	since    time.Time // when the point before was begun
	progress *progress
	prover   *prover
	census   census
	damaged  error // of the listing of the point before
	// unread are files and folders that can't be read.
	unread      *archive.Findings
	unreadPaths []string // all of them
	unreadWhy   string   // of the first
}

// Take stores the files and lists them.
func (p *Part) Take(ctx context.Context, w *archive.Writer, previous, m *archive.Manifest, report func(jobs.Progress)) ([]string, error) {
	src, err := p.opt.source()
	if err != nil {
		return nil, err
	}
	defer src.close()
	t := &taking{
		part: p, src: src, w: w, progress: newProgress(report),
		m:      &archive.Media{Source: p.opt.name(), Left: p.opt.left()},
		prover: newProver(p.rows, m.Taken),
	}
	var old *archive.Media
	if previous != nil && previous.Media != nil {
		old, t.since = previous.Media, previous.Started
		t.progress.total = old.Bytes
	}
	if err := t.run(ctx, old); err != nil {
		return t.warnings(), err
	}
	if err := t.judge(old); err != nil {
		return t.warnings(), err
	}
	m.Media = t.m
	if err := t.prover.finish(m, t.unreadPaths); err != nil {
		m.Media = nil
		return t.warnings(), err
	}
	if text := t.unreadText(); text != "" {
		return t.warnings(), fmt.Errorf("%w: %s", jobs.ErrIncomplete, text)
	}
	return t.warnings(), nil
}

// unreadText says what can't be read, and what to do; empty if all can.
func (t *taking) unreadText() string {
	n := t.unread.Number()
	if n == 0 {
		return ""
	}
	advice := ""
	if t.unreadWhy == unreadable {
		advice = ": run this as Synapse's user or as root"
	}
	return fmt.Sprintf("%s can't be read (%s)%s%s", jobs.Count(n, "path"), t.unreadWhy, named(t.unread), advice)
}

// run walks, reads and lists: one goroutine finds the files and compares them
// with the point before, some read the new ones, and one lists all of them in
// the order in which they were found. When one of them fails the others end, but
// what is on its way into the archive is not cut off: the writer would be of no
// use to the parts that are there and to come.
func (t *taking) run(ctx context.Context, old *archive.Media) error {
	g, walk := errgroup.WithContext(ctx)
	order := make(chan *item, window)
	work := make(chan *item, window)
	g.Go(func() error {
		defer close(order)
		defer close(work)
		return t.find(walk, old, order, work)
	})
	for range t.part.opt.Jobs {
		g.Go(func() error { return t.readAll(ctx, walk.Done(), work) })
	}
	g.Go(func() error { return t.list(ctx, walk.Done(), order) })
	return g.Wait()
}

func (t *taking) readAll(ctx context.Context, ended <-chan struct{}, work <-chan *item) error {
	r := reader{taking: t}
	for it := range work {
		select {
		case <-ended:
			return context.Cause(ctx)
		default:
		}
		if err := r.read(ctx, it); err != nil {
			return err
		}
		close(it.done)
	}
	return nil
}

// find yields what there is to order, and what is to be read to work, too.
func (t *taking) find(ctx context.Context, old *archive.Media, order, work chan<- *item) error {
	earlier := t.earlier(ctx, old)
	defer earlier.stop()
	for f, err := range t.src.walk(ctx) {
		if err != nil {
			return err
		}
		it := &item{found: f}
		if f.Kind == archive.KindFile && f.odd == "" && !f.gone && !t.unchanged(it, earlier.at(f.Path)) {
			it.done = make(chan struct{})
			if err := send(ctx, work, it); err != nil {
				return err
			}
		}
		if err := send(ctx, order, it); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

func send(ctx context.Context, to chan<- *item, it *item) error {
	select {
	case to <- it:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// unchanged says whether a file is that of the point before, and takes over
// what that knows. A file that was written while that point was taken may have
// been written twice within one tick of the clock.
func (t *taking) unchanged(it *item, b *archive.Entry) bool {
	if b == nil || t.part.opt.ReadAll || b.Kind != archive.KindFile || b.Size != it.Size || !b.Modified.Equal(it.Modified) || !settled(it.Modified, t.since) {
		return false
	}
	for _, id := range b.Blobs {
		if !t.w.Has(id) {
			return false // its pack is damaged or gone: this run makes it good
		}
	}
	it.SHA256, it.Blobs, it.Sparse = b.SHA256, b.Blobs, b.Sparse
	return true
}

// list adds the entries to the listing, in order.
func (t *taking) list(ctx context.Context, ended <-chan struct{}, order <-chan *item) error {
	l := t.w.Listing()
	for it := range order {
		if it.done != nil {
			select {
			case <-it.done:
			case <-ended:
				return context.Cause(ctx)
			}
		}
		if err := t.note(ctx, l, it); err != nil {
			return err
		}
	}
	select {
	case <-ended:
		return context.Cause(ctx)
	default:
	}
	var err error
	t.m.Listing, err = l.Close(ctx)
	t.m.Files, t.m.Bytes = t.census.files, t.census.bytes
	t.m.Classes = t.census.list(t.part.opt.Classes)
	return err
}

func (t *taking) note(ctx context.Context, l *archive.ListingWriter, it *item) error {
	switch {
	case it.gone:
		t.m.Vanished = t.m.Vanished.Note(it.Path, it.Size)
		return nil
	case it.odd != "":
		t.m.Odd = t.m.Odd.Note(it.Path, it.Size)
		if it.unread || it.odd == unreadable {
			t.unread = t.unread.Note(it.Path, it.Size)
			t.unreadPaths = append(t.unreadPaths, it.Path)
			t.unreadWhy = cmp.Or(t.unreadWhy, it.odd)
		}
		return nil
	case it.unstable:
		t.m.Unstable = t.m.Unstable.Note(it.Path, it.Size)
	}
	if it.Kind == archive.KindFile {
		t.census.count(it.Path, it.Size)
		t.prover.file(&it.Entry)
		t.progress.file(it.Size-it.counted, it.done == nil)
	}
	return l.Add(ctx, it.Entry)
}

// judge says why what was found is no backup of a media store: better none than
// a point that says that there were no files.
func (t *taking) judge(old *archive.Media) error {
	if err := t.src.verdict(); err != nil {
		return err
	}
	if n := t.m.Odd.Number(); n > t.m.Files {
		return fmt.Errorf("most of %s can't be read%s: run this as Synapse's user or as root", t.part.opt.name(), named(t.m.Odd))
	}
	err := t.absent(old)
	if text := t.unreadText(); err != nil && text != "" {
		return errors.New(text) // which may be all that seems to be absent
	}
	return err
}

// absent says why files that ought to be there seem not to be.
func (t *taking) absent(old *archive.Media) error {
	if t.part.opt.AllowEmpty {
		return nil
	}
	name := t.part.opt.name()
	if known, found := t.prover.local(); known >= emptied && found == 0 {
		return fmt.Errorf("%s has none of the %s of local content that the database knows: is it the right folder, and its volume mounted? If that is right, say so with --allow-empty-media",
			name, jobs.Count(known, "file"))
	}
	if old == nil {
		return nil
	}
	had := map[string]int64{}
	for _, c := range old.Classes {
		had[c.Name] = c.Files
	}
	var before int64
	for _, c := range t.m.Classes {
		before += had[c.Name]
	}
	if before > 0 && t.m.Files == 0 {
		return fmt.Errorf("%s is empty, and the point before has %s: is its volume mounted? If that is right, say so with --allow-empty-media",
			name, jobs.Count(before, "file"))
	}
	for _, c := range t.m.Classes {
		if had[c.Name] > 0 && c.Files == 0 && c.Name == synapse.LocalContent {
			return fmt.Errorf("%s has no %s, of which the point before has %s: is its volume mounted? If that is right, say so with --allow-empty-media",
				name, c.Name, jobs.Count(had[c.Name], "file"))
		}
	}
	return nil
}

// emptied is of how many local files in the database it is no accident of a
// small homeserver that none is found. Fewer make the point degraded.
const emptied = 10

// warnings are a line each.
func (t *taking) warnings() (lines []string) {
	add := func(f *archive.Findings, what string) {
		if n := f.Number(); n > 0 {
			lines = append(lines, fmt.Sprintf("media: %s %s%s", jobs.Count(n, "file"), what, named(f)))
		}
	}
	add(t.m.Odd, "can't be read or are no files, and are not in the point")
	add(t.m.Unstable, "changed while being read, twice: the point has what was read last")
	add(t.m.Vanished, "vanished before being read")
	if t.damaged != nil {
		lines = append(lines, fmt.Sprintf("media: the listing of the point before can't be used in full, so that more files were read than changed: %v", t.damaged))
	}
	return lines
}

// earlierFiles is the listing of the point before, read along.
type earlierFiles struct {
	next func() (archive.Entry, error, bool)
	stop func()
	now  archive.Entry
	has  bool
	bad  func(error)
}

func (t *taking) earlier(ctx context.Context, old *archive.Media) *earlierFiles {
	e := &earlierFiles{stop: func() {}, next: func() (archive.Entry, error, bool) { return archive.Entry{}, nil, false }}
	if old == nil {
		return e
	}
	e.next, e.stop = iter.Pull2(archive.Entries(ctx, t.w, old))
	e.bad = func(err error) {
		if t.damaged == nil {
			t.damaged = err
		}
	}
	e.advance()
	return e
}

func (e *earlierFiles) advance() {
	for {
		var err error
		e.now, err, e.has = e.next()
		if err == nil || !e.has {
			return
		}
		e.bad(err) // those of its page are read again; those after it follow
	}
}

// at returns the entry of a path, until it is asked for the next; paths have to
// ascend.
func (e *earlierFiles) at(path string) *archive.Entry {
	for e.has {
		switch c := archive.ComparePaths(e.now.Path, path); {
		case c == 0:
			return &e.now
		case c > 0:
			return nil
		}
		e.advance()
	}
	return nil
}

// gone says whether an error means that a file is not there any more.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
