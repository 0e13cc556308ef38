package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/synapse-maint/synapse-maint/storage"
)

// verbatim copies between archives that are the same.
type verbatim struct {
	from, to *Archive // to is nil for a preview of one that is not there
	opt      CopyOptions
	reader   *Reader        // of from
	target   *index         // of to
	listed   map[ID]int64   // packs in to, in the index or not
	pages    map[ID]packSet // what the entries of a page of a listing need
	needs    []packSet      // by point
	began    time.Time
	report   CopyReport

	mu  sync.Mutex
	bad map[uint32]error // packs of from that can't be read as they were
	// unseen are packs that to has acknowledged, and nobody has looked at.
	unseen []packRecord
	done   int64
	total  int64
}

// packSet is packs of from's index that are to be in to.
type packSet map[uint32]struct{}

func newVerbatim(from, to *Archive, points []CopiedPoint, o CopyOptions) *verbatim {
	return &verbatim{
		from: from, to: to, opt: o, target: newIndex(), pages: map[ID]packSet{}, bad: map[uint32]error{},
		report: CopyReport{Points: points}, began: time.Now(),
	}
}

func copyVerbatim(ctx context.Context, from, to *Archive, points []CopiedPoint, o CopyOptions) (CopyReport, error) {
	c := newVerbatim(from, to, points, o)
	if err := c.open(ctx); err != nil {
		return c.report, err
	}
	if err := to.mendIndex(ctx, c.target, o.Retain); err != nil {
		o.Warn(err)
	}
	all, err := c.needAll(ctx)
	if err != nil {
		return c.report, err
	}
	if err := c.packs(ctx, all); err != nil {
		return c.report, err
	}
	if err := c.to.seePacks(ctx, c.unseen, len(c.target.packs)); err != nil {
		return c.report, fmt.Errorf("copy: %w", err)
	}
	if err := c.indexes(ctx, all); err != nil {
		return c.report, err
	}
	c.report.Unlocked = c.to.extendLocks(ctx, c.target, c.opt.Retain, c.left(all))
	return c.report, c.points(ctx)
}

// needAll finds out which packs the points need that to does not have.
func (c *verbatim) needAll(ctx context.Context) (packSet, error) {
	all := packSet{}
	for i := range c.report.Points {
		p := &c.report.Points[i]
		need, err := c.need(ctx, p.ID)
		if err != nil && !lost(err) {
			return nil, fmt.Errorf("recovery point %s: %w", p.ID, err)
		}
		p.Err = err
		c.needs = append(c.needs, need)
		maps.Copy(all, need)
	}
	return all, nil
}

// open loads both indexes.
func (c *verbatim) open(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		x, err := c.from.openIndex(gctx)
		c.reader = c.from.reading(x)
		return err
	})
	if c.to != nil {
		g.Go(func() (err error) {
			c.target, err = c.to.openIndex(gctx)
			return err
		})
		g.Go(func() (err error) {
			c.listed, err = c.to.listPacks(gctx)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, err := range slices.Concat(c.reader.index.problems(), c.target.problems()) {
		c.opt.Warn(err)
	}
	return nil
}

// need finds out which packs a point needs that to does not have.
func (c *verbatim) need(ctx context.Context, point string) (packSet, error) {
	m, err := c.from.readManifest(ctx, point)
	if err != nil {
		return nil, err
	}
	need := packSet{}
	for part, blobs := range m.parts() {
		for _, b := range blobs {
			if err := c.pick(b.ID, need); err != nil {
				return nil, fmt.Errorf("%s: %w", part, err)
			}
		}
	}
	if m.Media == nil {
		return need, nil
	}
	pages, err := ListingPages(ctx, c.reader, m.Media)
	if err != nil {
		return nil, err
	}
	return need, c.needPages(ctx, pages, need)
}

// needPages adds what the pages of a listing and their entries need. Pages that
// several points have are read once.
func (c *verbatim) needPages(ctx context.Context, pages []Blob, need packSet) error {
	var fresh []ID
	for _, p := range pages {
		if err := c.pick(p.ID, need); err != nil {
			return fmt.Errorf("media listing: %w", err)
		}
		if known, ok := c.pages[p.ID]; ok {
			maps.Copy(need, known)
		} else {
			fresh = append(fresh, p.ID)
		}
	}
	i := 0
	for text, err := range c.reader.Blobs(ctx, fresh) {
		if err != nil {
			return fmt.Errorf("media listing: %w", err)
		}
		entries, err := PageEntries(text)
		if err != nil {
			return err
		}
		of := packSet{}
		for _, e := range entries {
			for _, id := range e.Blobs {
				if err := c.pick(id, of); err != nil {
					return fmt.Errorf("media file %q: %w", e.Path, err)
				}
			}
		}
		c.pages[fresh[i]] = of
		maps.Copy(need, of)
		i++
	}
	return ctx.Err()
}

// pick adds the pack that a blob is to be copied with, if to does not have the
// blob: of several one that is copied anyway, or whose bytes are there already.
func (c *verbatim) pick(id ID, need packSet) error {
	if c.target.has(id) {
		return nil
	}
	best, found := uint32(0), false
	for p := range c.reader.index.places(id) {
		if _, ok := need[p.pack]; ok {
			return nil
		}
		if !found || !c.there(best) && c.there(p.pack) {
			best, found = p.pack, true
		}
	}
	if !found {
		return c.reader.index.absent(id)
	}
	need[best] = struct{}{}
	return nil
}

// there says whether a pack of from is in to, though no index object may say so:
// a copy that was killed has left it.
func (c *verbatim) there(pack uint32) bool {
	info := c.reader.index.packs[pack]
	if n, ok := c.target.byPack[info.sum]; ok && c.target.packs[n].state != packThere || c.target.marked[info.sum] {
		return false // what is marked is put again, so that a prune leaves it
	}
	size, ok := c.listed[info.sum]
	return ok && size == info.size
}

// left are packs that a copy that was killed has left in to.
func (c *verbatim) left(all packSet) (sums []ID) {
	for p := range all {
		if c.there(p) {
			sums = append(sums, c.reader.index.packs[p].sum)
		}
	}
	return sums
}

// packMemory bounds the packs in memory, in bytes: four of the usual size, which
// is more than the largest that there can be ([storage.MaxObject]).
const packMemory = 4 * defaultPack

// packs copies packs that are not there. One that is not what its name says is
// kept in bad.
func (c *verbatim) packs(ctx context.Context, all packSet) error {
	var missing []uint32
	for _, p := range slices.Sorted(maps.Keys(all)) {
		if !c.there(p) {
			missing = append(missing, p)
			c.total += c.reader.index.packs[p].size
		}
	}
	memory := semaphore.NewWeighted(packMemory)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.opt.Jobs)
	for n, p := range missing {
		size := c.reader.index.packs[p].size
		if memory.Acquire(gctx, size) != nil {
			break // Wait says why
		}
		g.Go(func() error {
			defer memory.Release(size)
			return c.pack(gctx, p, n%proofEvery == 0)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// pack copies one pack.
func (c *verbatim) pack(ctx context.Context, p uint32, whole bool) error {
	info := c.reader.index.packs[p]
	body, err := c.from.packBytes(ctx, info)
	if err == nil {
		seen, perr := putPack(ctx, c.to.store, info.sum, body, storage.PutOptions{RetainUntil: lockUntil(c.opt.Retain)}, whole)
		if perr != nil {
			return perr
		}
		if !seen {
			c.mu.Lock()
			c.unseen = append(c.unseen, packRecord{Pack: info.sum, Size: info.size})
			c.mu.Unlock()
		}
	}
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.bad[p] = err
	} else {
		c.report.Packs++
		c.report.Bytes += info.size
	}
	c.done += info.size
	c.opt.Progress(c.done, c.total)
	return nil
}

// indexPacks is from how many packs on an index object is closed: about 8 MiB of
// plain bytes for packs of small files.
const indexPacks = 256

// indexes writes what from's index says of the packs that were copied, and that
// to's does not say yet.
func (c *verbatim) indexes(ctx context.Context, all packSet) error {
	want := map[ID]bool{}
	for p := range all {
		info := c.reader.index.packs[p]
		// One that was put again may have been taken out of the index meanwhile.
		_, named := c.target.byPack[info.sum]
		if c.bad[p] == nil && (!named || !c.there(p)) {
			want[info.sum] = true
		}
	}
	sources := map[string]bool{}
	for p := range all {
		sources[c.reader.index.packs[p].source] = true
	}
	var records []packRecord
	for _, key := range slices.Sorted(maps.Keys(sources)) {
		sum, _ := keySum(key, indexPrefix)
		f, err := c.from.readIndex(ctx, key, sum)
		if err != nil {
			return err
		}
		for _, p := range f.packs {
			if want[p.Pack] {
				delete(want, p.Pack)
				records = append(records, p)
			}
		}
		if len(records) >= indexPacks {
			if _, _, err := c.to.putIndex(ctx, records, c.opt.Retain); err != nil {
				return err
			}
			records = nil
		}
	}
	if len(records) == 0 {
		return nil
	}
	_, _, err := c.to.putIndex(ctx, records, c.opt.Retain)
	return err
}

// points puts the manifests, oldest first, each if all that it needs is there.
func (c *verbatim) points(ctx context.Context) error {
	var put []ID
	for _, need := range c.needs {
		for n := range need {
			if c.bad[n] == nil {
				put = append(put, c.reader.index.packs[n].sum)
			}
		}
	}
	if err := c.to.stillThere(ctx, c.target, put); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	for i := range c.report.Points {
		p := &c.report.Points[i]
		for n := range c.needs[i] {
			if p.Err == nil {
				p.Err = c.bad[n]
			}
		}
		if p.Err != nil {
			p.Err = fmt.Errorf("recovery point %s: %w", p.ID, p.Err)
			continue
		}
		if err := inTime(c.began); err != nil {
			return fmt.Errorf("copy %s: %w", p.ID, err)
		}
		if err := c.point(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (c *verbatim) point(ctx context.Context, p *CopiedPoint) error {
	key := pointPrefix + p.ID
	sum, _ := keySum(key, pointPrefix)
	there, err := fetch(ctx, c.to.store, key)
	if err == nil {
		err = checkSum(key, there, sum)
	}
	switch {
	case err == nil:
		p.As, p.There = p.ID, true
		return nil
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrCorrupt):
		return err
	}
	body, err := fetch(ctx, c.from.store, key)
	if err == nil {
		err = checkSum(key, body, sum)
	}
	if err != nil {
		return fmt.Errorf("recovery point %s: %w", p.ID, err)
	}
	// Not IfAbsent: the name is the bytes', and one that is damaged there is to
	// be replaced.
	if err := putVerified(ctx, c.to.store, key, body, storage.PutOptions{RetainUntil: retainUntil(c.opt.Retain)}); err != nil {
		if dropErr := c.to.dropDamaged(ctx, key); dropErr != nil {
			err = fmt.Errorf("%w; %w", err, dropErr)
		}
		return fmt.Errorf("recovery point %s: %w", p.ID, err)
	}
	p.As = strings.TrimPrefix(key, pointPrefix)
	return nil
}
