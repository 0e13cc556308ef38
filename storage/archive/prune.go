package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
)

// PruneOptions say what to drop.
type PruneOptions struct {
	Drop     []string                // IDs of the points that go
	Grace    time.Duration           // how long what is unused stays; 0 is 24 hours, which backups count on
	Now      func() time.Time        // nil: time.Now
	DryRun   bool                    // only say what would be
	Program  string                  // name and version of who prunes
	Retain   time.Duration           // object lock of what is written; 0 is none
	Progress func(done, total int64) // points looked at; may be nil
}

// PruneReport is what a prune did, or would do. Bytes are those in the store.
type PruneReport struct {
	Dropped       []string `json:"dropped"`
	Locked        []string `json:"locked,omitempty"` // keys that the store does not let go: object lock, or no right to delete
	Deleted       int64    `json:"deleted"`          // packs: marked by an earlier prune, deleted now
	DeletedBytes  int64    `json:"deleted_bytes"`
	Marked        int64    `json:"marked"` // packs: to be deleted after the grace
	MarkedBytes   int64    `json:"marked_bytes"`
	Waiting       int64    `json:"waiting"` // packs: marked earlier, the grace is not over
	WaitingBytes  int64    `json:"waiting_bytes"`
	Repacked      int64    `json:"repacked"` // packs of which little was needed: that was stored anew
	RepackedBytes int64    `json:"repacked_bytes"`
	Freed         int64    `json:"freed"`  // what all of it frees in the end, about
	Merged        int      `json:"merged"` // index objects that others replace
}

// pruning is one prune.
type pruning struct {
	a *Archive
	PruneOptions
	report PruneReport

	x       *index
	objects map[ID]storage.Object
	marked  []tombstone
	locks   []lockRecord
	keep    []Point
	drop    []Point
	use     *packUse
}

// Prune drops points and removes, in two steps, what no other point needs: what
// this prune finds unused it marks, and what an earlier one has marked longer
// than the grace ago, and is unused still, it deletes. It takes no lock and
// leaves none: a backup that begins after the mark does not count on what is
// marked, one that began before it has to commit within the grace, and the
// second look finds what it commits.
//
// It can be killed anywhere and be repeated. It refuses to delete anything when
// it can't read all there is, or when our clock is not the store's. What object
// lock keeps is left and reported.
func (a *Archive) Prune(ctx context.Context, o PruneOptions) (PruneReport, error) {
	if o.Grace <= 0 {
		o.Grace = pruneGrace
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	p := &pruning{a: a, PruneOptions: o, report: PruneReport{Dropped: []string{}}}
	if err := p.run(ctx); err != nil {
		return p.report, fmt.Errorf("prune: %w", err)
	}
	return p.report, nil
}

func (p *pruning) run(ctx context.Context) error {
	if err := p.look(ctx); err != nil {
		return err
	}
	if err := p.checkClock(ctx); err != nil {
		return err
	}
	if err := p.count(ctx, p.keep); err != nil {
		return err
	}
	if p.DryRun {
		return p.foresee(ctx)
	}
	if err := p.a.mendIndex(ctx, p.x, p.Retain); err != nil {
		return err
	}
	if err := p.dropPoints(ctx); err != nil {
		return err
	}
	if len(p.report.Dropped) < len(p.drop) { // the locked ones stay points like others
		if err := p.count(ctx, p.keep); err != nil {
			return err
		}
	}
	if err := p.sweep(ctx); err != nil {
		return err
	}
	if err := p.mark(ctx); err != nil {
		return err
	}
	return p.oldRecords(ctx)
}

// oldRecords deletes the records of checks and of object lock that nobody reads any
// more: the newest has what the others found. Those of the future would be the
// newest when their time comes.
func (p *pruning) oldRecords(ctx context.Context) error {
	keys, future, err := p.a.checkKeys(ctx, p.Now())
	if err != nil {
		return err
	}
	keys = append(keys[:max(0, len(keys)-lastChecks)], future...)
	for _, r := range p.locks[:max(0, len(p.locks)-lastLocks)] {
		keys = append(keys, r.key)
	}
	for _, key := range keys {
		if _, err := p.remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// look reads everything that decides. What can't be read is no reason to guess.
func (p *pruning) look(ctx context.Context) error {
	points, err := p.a.Points(ctx)
	if err != nil {
		return err
	}
	for _, pt := range points {
		if pt.Err != nil {
			return fmt.Errorf("nothing was deleted: %w", pt.Err)
		}
		if slices.Contains(p.Drop, pt.ID) {
			p.drop = append(p.drop, pt)
		} else {
			p.keep = append(p.keep, pt)
		}
	}
	if p.marked, p.locks, err = p.a.tombstones(ctx); err != nil {
		return err
	}
	if p.objects, err = p.a.packObjects(ctx); err != nil {
		return err
	}
	if p.x, err = p.a.openIndex(ctx); err != nil {
		return err
	}
	if len(p.x.broken) > 0 {
		return fmt.Errorf("nothing was deleted: %w; verify says what that touches, a backup stores it again", p.x.broken[0])
	}
	return nil
}

// checkClock compares our clock with the store's, and with what is to stay. A
// point that goes may be of the future: that is why.
func (p *pruning) checkClock(ctx context.Context) error {
	now := p.Now()
	for _, pt := range p.keep {
		if pt.OfFuture(now) {
			return fmt.Errorf("nothing was deleted: it is %s here, and point %s is of the future: the clock here is wrong, or it was when that was taken",
				now.UTC().Format(time.RFC3339), pt.ID)
		}
	}
	if p.DryRun {
		return nil
	}
	off, err := p.a.ClockOff(ctx, now)
	switch {
	case err != nil:
		return err
	case off != 0:
		return fmt.Errorf("nothing was deleted: it is %s for the store and %s here: set the clock",
			now.Add(off).UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// ClockOff is by how much the store's clock is ahead of ours, where it is now;
// 0 where they differ by no more than clocks may.
func (a *Archive) ClockOff(ctx context.Context, now time.Time) (time.Duration, error) {
	_, err := a.store.Put(ctx, probeKey, []byte(now.UTC().Format(time.RFC3339Nano)), storage.PutOptions{})
	if err != nil {
		return 0, fmt.Errorf("ask the store what time it is: %w", err)
	}
	o, err := a.store.Stat(ctx, probeKey)
	if err != nil {
		return 0, fmt.Errorf("ask the store what time it is: %w", err)
	}
	if off := o.Modified.Sub(now); off.Abs() > clockSkew {
		return off, nil
	}
	return 0, nil
}

// count finds out which packs the points need.
func (p *pruning) count(ctx context.Context, points []Point) error {
	r := p.a.newReach(p.x)
	for i, pt := range points {
		if err := r.point(ctx, pt.ID, pt.Manifest); err != nil {
			return fmt.Errorf("nothing was deleted: %w; see verify", err)
		}
		p.Progress(int64(i+1), int64(len(points)))
	}
	p.use = p.x.usage(r)
	return nil
}

// dropPoints deletes the manifests: from then on nothing counts on what only
// they needed. One that is locked stays a point like others.
func (p *pruning) dropPoints(ctx context.Context) error {
	for _, pt := range p.drop {
		gone, err := p.remove(ctx, pointPrefix+pt.ID)
		if err != nil {
			return err
		}
		if gone {
			p.report.Dropped = append(p.report.Dropped, pt.ID)
		} else {
			p.keep = append(p.keep, pt)
		}
	}
	return nil
}

// remove deletes an object, unless the store does not let it go.
func (p *pruning) remove(ctx context.Context, key string) (gone bool, err error) {
	err = p.a.store.Delete(ctx, key)
	if errors.Is(err, fs.ErrPermission) {
		p.report.Locked = append(p.report.Locked, key)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("delete %s: %w", key, err)
	}
	return true, nil
}

// foresee is what a run would do, without doing it.
func (p *pruning) foresee(ctx context.Context) error {
	for _, pt := range p.drop {
		p.report.Dropped = append(p.report.Dropped, pt.ID)
	}
	due, _ := p.due()
	for _, d := range due {
		p.report.Deleted++
		p.report.DeletedBytes += d.Size
	}
	unused, sparse := p.unused()
	for _, d := range slices.Concat(unused, sparse) {
		p.report.Marked++
		p.report.MarkedBytes += d.Size
	}
	p.report.Freed = p.frees()
	return ctx.Err()
}

// frees is what is not needed of the packs, young ones included, as far as it
// goes: a pack of which most is needed stays as it is.
func (p *pruning) frees() (bytes int64) {
	for i, info := range p.x.packs {
		_, there := p.objects[info.sum]
		if there && (p.use.live[i] == 0 || p.use.live[i] < info.size/2) {
			bytes += info.size - p.use.live[i]
		}
	}
	return bytes
}

// packObjects lists the packs as the store has them.
func (a *Archive) packObjects(ctx context.Context) (map[ID]storage.Object, error) {
	packs := map[ID]storage.Object{}
	for o, err := range a.store.List(ctx, packPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list the packs: %w", err)
		}
		if sum, ok := packSum(o.Key); ok {
			packs[sum] = o
		}
	}
	return packs, nil
}
