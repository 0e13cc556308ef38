package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

const (
	// mergeFrom is from how many index objects on they are merged: each is a
	// request of every command.
	mergeFrom = 32
	// indexBlobs is about how many blobs an index object that was merged names:
	// 12 MB of text.
	indexBlobs = 100_000
)

// liveIn returns the blobs that are needed in certain packs.
func (x *index) liveIn(packs map[uint32]bool, r *reach) map[uint32][]entry {
	live := map[uint32][]entry{}
	for i := range uint32(x.n) {
		if !r.has(i) {
			continue
		}
		id := x.at(i).id
		if p, ok := x.chosen(id); ok && packs[p.pack] {
			live[p.pack] = append(live[p.pack], entry{id, p})
		}
	}
	return live
}

// byOffset groups all places by pack, each in the order of its bytes: two
// million blobs take 100 MB.
func (x *index) byOffset() [][]entry {
	all := make([][]entry, len(x.packs))
	counts := make([]int, len(x.packs))
	each := func(yield func(ID, place)) {
		for i := range uint32(x.n) {
			e := x.at(i)
			yield(e.id, e.place)
		}
		for id, places := range x.more {
			for _, p := range places {
				yield(id, p)
			}
		}
	}
	each(func(_ ID, p place) { counts[p.pack]++ })
	for i, n := range counts {
		all[i] = make([]entry, 0, n)
	}
	each(func(id ID, p place) { all[p.pack] = append(all[p.pack], entry{id, p}) })
	for _, list := range all {
		slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.offset, b.offset) })
	}
	return all
}

// lost says whether a pack that no point needs is not in the store. A list is
// not enough to say so: some stores list late.
func (p *pruning) lost(ctx context.Context, pack int) (bool, error) {
	info := p.x.packs[pack]
	if _, there := p.objects[info.sum]; there || p.use.live[pack] > 0 {
		return false, nil
	}
	_, err := p.a.store.Stat(ctx, packKey(info.sum))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look at %s: %w", packKey(info.sum), err)
	}
	return err != nil, nil
}

// rewriteIndex puts new index objects of all packs but those that are gone, and
// deletes those that they replace: all says whether the store let it. Killed in
// between, both are there, which say the same.
func (p *pruning) rewriteIndex(ctx context.Context, gone map[ID]bool) (all bool, err error) {
	blobs := p.x.byOffset()
	var records []packRecord
	var written []string
	put := func() error {
		key, _, err := p.a.putIndex(ctx, records, p.Retain)
		written, records = append(written, key), nil
		return err
	}
	n := 0
	for i, info := range p.x.packs {
		if gone[info.sum] {
			continue
		}
		if lost, err := p.lost(ctx, i); err != nil || lost {
			if err != nil {
				return false, err
			}
			continue
		}
		rec := packRecord{Pack: info.sum, Size: info.size}
		for _, b := range blobs[i] {
			rec.Blobs = append(rec.Blobs, blobRecord{ID: b.id, Offset: int64(b.offset), Stored: int64(b.stored), Size: int64(b.size)})
		}
		blobs[i] = nil
		records = append(records, rec)
		if n += len(rec.Blobs); n >= indexBlobs {
			if err := put(); err != nil {
				return false, err
			}
			n = 0
		}
	}
	if err := put(); err != nil {
		return false, err
	}
	all = true
	for _, key := range p.x.files {
		if slices.Contains(written, key) {
			continue
		}
		gone, err := p.removeIndex(ctx, key)
		if err != nil {
			return false, err
		}
		all = all && gone
		if gone {
			p.report.Merged++
		}
	}
	return all, nil
}

// removeIndex deletes an index object, its copy first: who has listed it finds it
// as it was, or neither, and looks again. Killed in between, an object is left
// that lacks its copy, and of which others name all that is there: see settle.
// Where the copy is locked both stay.
func (p *pruning) removeIndex(ctx context.Context, key string) (gone bool, err error) {
	if gone, err = p.remove(ctx, indexCopy(key)); err != nil || !gone {
		return false, err
	}
	return p.remove(ctx, key)
}
