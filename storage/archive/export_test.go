package archive

import "bytes"

// PackOf returns the key of the pack a blob is read from.
func PackOf(r *Reader, id ID) string {
	p, _ := first(r.index.places(id))
	return packKey(r.index.packs[p.pack].sum)
}

// EntryForms writes an entry in both ways and reads the first in both ways.
func EntryForms(e Entry) (fast, slow string, scanned, decoded Entry, ok bool, err error) {
	b, err := encodeEntry(nil, &e)
	if err != nil {
		return
	}
	c, err := marshalEntry(nil, &e)
	if err != nil {
		return
	}
	line := bytes.TrimSuffix(b, []byte("\n"))
	scanned, ok = scanEntry(line, string(line), new([]ID))
	decoded, err = decodeEntry(line)
	return string(b), string(c), scanned, decoded, ok, err
}
