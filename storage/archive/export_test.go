package archive

// PackOf returns the key of the pack a blob is read from.
func PackOf(r *Reader, id ID) string {
	p, _ := first(r.index.places(id))
	return packKey(r.index.packs[p.pack].sum)
}
