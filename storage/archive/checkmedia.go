package archive

import (
	"context"
	"errors"
	"fmt"
)

// maxFiles is how many damaged files of a point a report names.
const maxFiles = 20

// pageVerdict is what a check has found of a page of a media listing, for the
// next point that has it.
type pageVerdict struct {
	whole bool // every blob of its files was read
	bad   bool
}

// judgeMedia looks that the blobs of a point's files are there. whole says that
// all of them were read in this check. Points are judged one after the other
// here: they share nearly all of their pages.
func (c *checker) judgeMedia(ctx context.Context, r *PointReport, m *Media) (whole bool, err error) {
	c.media.Lock()
	defer c.media.Unlock()
	src := c.a.reading(c.index)
	pages, err := ListingPages(ctx, src, m)
	if err != nil {
		return true, c.lostListing(ctx, r, err)
	}
	whole = true
	var ids []ID
	for _, p := range pages {
		whole = c.judgeBlob(r, "media listing", p) && whole
		if v, ok := c.pages[p.ID]; ok && !v.bad {
			whole = whole && v.whole
			continue
		}
		ids = append(ids, p.ID)
	}
	n, lost := 0, 0
	for text, err := range src.Blobs(ctx, ids) {
		id := ids[n]
		n++
		if err == nil {
			var v pageVerdict
			if v, err = c.judgePage(r, text, &lost); err == nil {
				c.pages[id] = v
				whole = whole && v.whole
				continue
			}
		}
		if err := c.lostListing(ctx, r, err); err != nil {
			return false, err
		}
	}
	return whole, ctx.Err()
}

// lostListing notes that a part of the listing can't be read. It returns errors
// that are no damage.
func (c *checker) lostListing(ctx context.Context, r *PointReport, err error) error {
	if ctx.Err() != nil || !errors.Is(err, ErrCorrupt) && !errors.Is(err, errNoBlob) {
		return err
	}
	c.lost(r, "media listing", err)
	return nil
}

func (c *checker) judgePage(r *PointReport, text []byte, lost *int) (pageVerdict, error) {
	entries, err := PageEntries(text)
	if err != nil {
		return pageVerdict{}, err
	}
	v := pageVerdict{whole: true}
	for i := range entries {
		read, bad := c.judgeFile(r, &entries[i], *lost < maxFiles)
		v.whole = v.whole && read
		if bad {
			v.bad = true
			*lost++
		}
	}
	return v, nil
}

// judgeFile says whether a file's blobs were read in this check, and whether
// some can't be. Of the first few that are bad, the report has the name.
func (c *checker) judgeFile(r *PointReport, e *Entry, named bool) (read, bad bool) {
	read = true
	var size int64
	for _, id := range e.Blobs {
		p, ok := c.place(id)
		if !ok {
			r.OK = false
			if named {
				c.judgeBlob(r, fmt.Sprintf("media %q", e.Path), Blob{ID: id})
			}
			return true, true
		}
		size += int64(p.size)
		read = read && c.read[p.pack]
	}
	if size != e.Size {
		c.lost(r, fmt.Sprintf("media %q", e.Path), fmt.Errorf("its blobs have %d bytes, the listing says %d", size, e.Size))
		return read, true
	}
	return read, false
}

// place returns where a blob can be read from.
func (c *checker) place(id ID) (place, bool) {
	for p := range c.index.places(id) {
		if c.usable(id, p) {
			return p, true
		}
	}
	return place{}, false
}
