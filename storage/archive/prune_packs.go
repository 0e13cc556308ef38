package archive

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/synapse-maint/synapse-maint/storage"
)

// packUse is how many stored bytes of each pack are needed. A blob that several
// packs have is needed in one of them.
type packUse struct {
	live []int64
	read *reach
}

// usage chooses for each blob that is needed the pack it is needed in: one that
// is there and not marked, if there is one. Of a blob that can be read nowhere it
// is every pack that has had it: what is left of them, and what the index says of
// them, is for who brings them back.
func (x *index) usage(r *reach) *packUse {
	u := &packUse{live: make([]int64, len(x.packs)), read: r}
	for i := range uint32(x.n) {
		if !r.has(i) {
			continue
		}
		id := x.at(i).id
		if p, ok := x.chosen(id); ok {
			u.live[p.pack] += int64(p.stored)
			continue
		}
		for p := range x.allPlaces(id) {
			u.live[p.pack] += int64(p.stored)
		}
	}
	return u
}

// chosen is the place that a blob is needed in: the same for every prune, in
// whatever order the index was read, or each would find another of two packs unused.
// The smaller pack has what an earlier prune has stored anew of the larger one.
func (x *index) chosen(id ID) (best place, ok bool) {
	for p := range x.places(id) {
		a, b := &x.packs[best.pack], &x.packs[p.pack]
		if !ok || a.state == b.state && (b.size < a.size || b.size == a.size && bytes.Compare(b.sum[:], a.sum[:]) < 0) {
			best, ok = p, true
		}
	}
	return best, ok
}

// due returns the packs that were marked longer than the grace ago and are
// unused still, and the tombstones that are settled with them. It counts those
// that wait.
func (p *pruning) due() (packs []doomedPack, settled []tombstone) {
	p.report.Waiting, p.report.WaitingBytes = 0, 0
	for _, t := range p.marked {
		if len(t.packs) > 0 && p.Now().Sub(t.time) < p.Grace+2*lateListing {
			for _, d := range t.packs {
				p.report.Waiting++
				p.report.WaitingBytes += d.Size
			}
			continue
		}
		settled = append(settled, t)
		for _, d := range t.packs {
			if n, ok := p.x.byPack[d.Pack]; ok && p.use.live[n] > 0 {
				continue // a point needs it after all
			}
			if o, there := p.objects[d.Pack]; there && !o.Modified.After(t.time) {
				packs = append(packs, d) // put again since: a run that is under way counts on it
			}
		}
	}
	return packs, settled
}

// unused returns the packs that are to be marked: those of which nothing is
// needed, and, apart, those of which less than half is. Young ones are left
// alone: a backup may be about to name what is in them.
func (p *pruning) unused() (none, sparse []doomedPack) {
	marked := map[ID]bool{}
	for _, t := range p.marked {
		for _, d := range t.packs {
			marked[d.Pack] = true
		}
	}
	for sum, o := range p.objects {
		if marked[sum] || p.Now().Sub(o.Modified) < p.Grace {
			continue
		}
		d := doomedPack{sum, o.Size}
		n, indexed := p.x.byPack[sum]
		switch {
		case !indexed || p.use.live[n] == 0:
			none = append(none, d)
		case p.use.live[n] < o.Size/2 && p.x.packs[n].state == packThere:
			sparse = append(sparse, d)
		}
	}
	order := func(a, b doomedPack) int { return slices.Compare(a.Pack[:], b.Pack[:]) }
	slices.SortFunc(none, order)
	slices.SortFunc(sparse, order)
	return none, sparse
}

// sweep deletes what is due. The index is written first, so that it never names
// a pack that a prune has deleted.
func (p *pruning) sweep(ctx context.Context) error {
	packs, settled := p.due()
	rewrite := len(packs) > 0 || p.Retain == 0 && (len(p.x.files) > mergeFrom || len(p.x.leftover) > 0)
	if rewrite {
		// The packs were listed before the index: what a backup has put in
		// between, the new index has to name.
		var err error
		if p.objects, err = p.a.packObjects(ctx); err != nil {
			return err
		}
		packs, settled = p.due()
		if packs, err = p.notPutAgain(ctx, packs); err != nil {
			return err
		}
	}
	gone := map[ID]bool{}
	for _, d := range packs {
		gone[d.Pack] = true
	}
	unnamed := !slices.ContainsFunc(p.x.packs, func(i packInfo) bool { return i.state == packPruned })
	if rewrite {
		var err error
		if unnamed, err = p.rewriteIndex(ctx, gone); err != nil {
			return err
		}
	}
	for _, d := range packs {
		again, err := p.putAgain(ctx, d.Pack)
		if err != nil {
			return err
		}
		if again {
			continue
		}
		deleted, err := p.remove(ctx, packKey(d.Pack))
		if err != nil {
			return err
		}
		if deleted {
			p.report.Deleted++
			p.report.DeletedBytes += d.Size
			delete(p.objects, d.Pack)
		}
	}
	if !unnamed {
		return nil // the tombstones say why packs that an index object names are missing
	}
	for _, t := range settled {
		if _, err := p.remove(ctx, t.key); err != nil {
			return err
		}
	}
	p.marked = slices.DeleteFunc(p.marked, func(t tombstone) bool {
		return slices.ContainsFunc(settled, func(s tombstone) bool { return s.key == t.key })
	})
	return nil
}

// notPutAgain leaves out the packs that somebody has put anew though the list
// does not say so yet.
func (p *pruning) notPutAgain(ctx context.Context, packs []doomedPack) (rest []doomedPack, err error) {
	for _, d := range packs {
		again, err := p.putAgain(ctx, d.Pack)
		if err != nil {
			return nil, err
		}
		if !again {
			rest = append(rest, d)
		}
	}
	return rest, nil
}

// putAgain says whether somebody has put a pack anew since it was listed: a run
// that is under way counts on it. A prune with many packs takes a while.
func (p *pruning) putAgain(ctx context.Context, sum ID) (bool, error) {
	o, err := p.a.store.Stat(ctx, packKey(sum))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at %s once more: %w", packKey(sum), err)
	}
	return o.Modified.After(p.objects[sum].Modified), nil
}

// mark marks what is unused now, after it has stored anew what little is needed
// of it.
func (p *pruning) mark(ctx context.Context) error {
	none, sparse := p.unused()
	for i, d := range none { // what was refused just now is no news
		if slices.Contains(p.report.Locked, packKey(d.Pack)) {
			none[i].Pack = ID{}
		}
	}
	none = slices.DeleteFunc(none, func(d doomedPack) bool { return d.Pack == ID{} })
	if err := p.repack(ctx, sparse); err != nil {
		return err
	}
	all := append(none, sparse...)
	for _, d := range all {
		p.report.Marked++
		p.report.MarkedBytes += d.Size
	}
	p.report.Freed = p.report.DeletedBytes + p.report.MarkedBytes + p.report.WaitingBytes - p.report.RepackedBytes
	if len(all) == 0 {
		return nil
	}
	return p.a.putTombstone(ctx, all, &p.PruneOptions)
}

// repack stores what is needed of packs anew, byte for byte: no key is needed.
// It holds one pack that is read and one that is filled.
func (p *pruning) repack(ctx context.Context, packs []doomedPack) error {
	if len(packs) == 0 {
		return nil
	}
	r := repacker{p: p}
	numbers := map[uint32]bool{}
	for _, d := range packs {
		numbers[p.x.byPack[d.Pack]] = true
	}
	live := p.x.liveIn(numbers, p.use.read)
	for _, d := range packs {
		body, err := p.wholePack(ctx, d)
		if err != nil {
			return err
		}
		blobs := live[p.x.byPack[d.Pack]]
		slices.SortFunc(blobs, func(a, b entry) int { return cmp.Compare(a.offset, b.offset) })
		for _, b := range blobs {
			if err := r.add(ctx, b, body[b.offset:b.offset+b.stored]); err != nil {
				return err
			}
		}
		p.report.Repacked++
	}
	return r.end(ctx)
}

// wholePack reads a pack and proves that it is what its name says: what is
// damaged must not get a new name.
func (p *pruning) wholePack(ctx context.Context, d doomedPack) ([]byte, error) {
	key := packKey(d.Pack)
	body, err := fetch(ctx, p.a.store, key)
	if err != nil {
		return nil, err
	}
	if ID(sha256.Sum256(body)) != d.Pack {
		return nil, fmt.Errorf("nothing more was marked: %w; see verify", corrupt(key, "its bytes have another SHA-256 than the one in its name"))
	}
	return body, nil
}

// repacker fills new packs.
type repacker struct {
	p       *pruning
	body    []byte
	blobs   []blobRecord
	records []packRecord
}

func (r *repacker) add(ctx context.Context, e entry, stored []byte) error {
	if len(r.body) > 0 && len(r.body)+len(stored) > defaultPack {
		if err := r.ship(ctx); err != nil {
			return err
		}
	}
	r.blobs = append(r.blobs, blobRecord{ID: e.id, Offset: int64(len(r.body)), Stored: int64(len(stored)), Size: int64(e.size)})
	r.body = append(r.body, stored...)
	r.p.report.RepackedBytes += int64(len(stored))
	return nil
}

func (r *repacker) ship(ctx context.Context) error {
	if len(r.body) == 0 {
		return nil
	}
	sum := ID(sha256.Sum256(r.body))
	opt := storage.PutOptions{RetainUntil: lockUntil(r.p.Retain)}
	if _, err := putPack(ctx, r.p.a.store, sum, r.body, opt, true); err != nil {
		return err
	}
	r.records = append(r.records, packRecord{Pack: sum, Size: int64(len(r.body)), Blobs: r.blobs})
	r.body, r.blobs = r.body[:0], nil
	return nil
}

// end puts the last pack and the index of all of them.
func (r *repacker) end(ctx context.Context) error {
	if err := r.ship(ctx); err != nil {
		return err
	}
	_, _, err := r.p.a.putIndex(ctx, r.records, r.p.Retain)
	return err
}
