package archive

import (
	"cmp"
	"slices"
)

// Near returns the IDs in the order in which their blobs lie in the packs: that
// in which [Reader.Blobs] reads them with the fewest requests. Blobs that are
// nowhere come first.
func (r *Reader) Near(ids []ID) []ID { return r.index.near(ids) }

func (x *index) near(ids []ID) []ID {
	type placed struct {
		id ID
		place
	}
	all := make([]placed, len(ids))
	for i, id := range ids {
		all[i].id = id
		all[i].place, _ = first(x.places(id))
	}
	slices.SortStableFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.pack, b.pack), cmp.Compare(a.offset, b.offset))
	})
	out := make([]ID, len(all))
	for i, p := range all {
		out[i] = p.id
	}
	return out
}
