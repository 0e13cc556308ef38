package archive

import (
	"context"
	"fmt"
)

// reach is the set of blobs that points need: a bit for each entry of the
// index, so that two million files take 250 KB. Pages of media listings, which
// the points of many nights share, are read once.
type reach struct {
	a     *Archive
	x     *index
	need  []uint64
	pages map[ID]struct{} // that were read
}

func (a *Archive) newReach(x *index) *reach {
	return &reach{a: a, x: x, need: make([]uint64, (x.n+63)/64), pages: map[ID]struct{}{}}
}

// entryOf returns the number of a blob's entry.
func (x *index) entryOf(id ID) (uint32, bool) {
	n := x.table[x.slot(id)]
	return n - 1, n > 0
}

func (r *reach) has(entry uint32) bool { return r.need[entry/64]&(1<<(entry%64)) != 0 }

// blob adds a blob. One that no index object names is an error: whoever decides
// by this set what goes has to know all of it.
func (r *reach) blob(id ID) error {
	n, ok := r.x.entryOf(id)
	if !ok {
		return r.x.absent(id)
	}
	r.need[n/64] |= 1 << (n % 64)
	return nil
}

// point adds what a point needs.
func (r *reach) point(ctx context.Context, id string, m *Manifest) error {
	for part, blobs := range m.parts() {
		for _, b := range blobs {
			if err := r.blob(b.ID); err != nil {
				return fmt.Errorf("point %s, %s: %w", id, part, err)
			}
		}
	}
	if m.Media == nil {
		return nil
	}
	err := r.a.eachFile(ctx, r.x, m.Media, r.pages, r.blob, func(e *Entry) error {
		for _, b := range e.Blobs {
			if err := r.blob(b); err != nil {
				return fmt.Errorf("media %q: %w", e.Path, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("point %s: %w", id, err)
	}
	return nil
}

// eachFile gives page every page of a listing, and file the entries of those
// that are not in seen, which it adds them to. It needs an identity that opens
// metadata, no more.
func (a *Archive) eachFile(ctx context.Context, x *index, m *Media, seen map[ID]struct{}, page func(ID) error, file func(*Entry) error) error {
	src := a.reading(x)
	pages, err := ListingPages(ctx, src, m)
	if err != nil {
		return err
	}
	var ids []ID
	for _, p := range pages {
		if err := page(p.ID); err != nil {
			return err
		}
		if _, ok := seen[p.ID]; !ok {
			seen[p.ID] = struct{}{}
			ids = append(ids, p.ID)
		}
	}
	for text, err := range src.Blobs(ctx, src.Near(ids)) {
		if err != nil {
			return fmt.Errorf("the media listing: %w", err)
		}
		entries, err := PageEntries(text)
		if err != nil {
			return err
		}
		for i := range entries {
			if err := file(&entries[i]); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}
